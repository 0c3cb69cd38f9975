/**
 * Whether a key was set by pairing and not taken away again, out of the two halves of the audit record; null where it
 * does not say. Pure.
 */
export function wasPaired(audit: string): boolean | null {
  const events = [...audit.matchAll(/"what":"(key-set|reset)"/g)].map((match) => match[1]);
  const last = events.at(-1);
  return last === undefined ? null : last === 'key-set';
}
