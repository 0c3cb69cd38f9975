/** The types of those keys that stand in both outputs of ssh-keyscan; null where one of them has none. */
export function sharedKeys(here: string, there: string): string[] | null {
  const [own, other] = [keysOf(here), keysOf(there)];
  if (own.length === 0 || other.length === 0) return null;
  return own.filter((key) => other.includes(key)).map((key) => key.split(' ')[0] ?? '');
}

/** `type base64` of each line, without the name of the host in front. */
function keysOf(output: string): string[] {
  return [...output.matchAll(/^(?!#)\S+ ((?:ssh|ecdsa|sk)-\S+ [A-Za-z0-9+/=]+)/gm)].map(([, key = '']) => key);
}
