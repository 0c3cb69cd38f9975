/**
 * Control characters, line separators, marks that reverse the writing direction, and halves of surrogate pairs: none of
 * them may reach a log, a terminal or a page from the network.
 */
export const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]/u;
const ALL_UNSAFE = new RegExp(`${UNSAFE.source}+`, 'gu');

export function replaceUnsafe(text: string, by: string): string {
  return text.replace(ALL_UNSAFE, by);
}

/** A text of the peer made fit for a log line: one line, no control characters, at most `maxCharacters` long. */
export function cleanText(text: string, maxCharacters = 200): string {
  const cleaned = replaceUnsafe(text.slice(0, maxCharacters), ' ').trim();
  return text.length > maxCharacters ? `${cleaned}…` : cleaned;
}

/** `127.0.0.1:13240` or `[::1]:13240`. */
export function hostAndPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** `1 stream`, `2 streams`. */
export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}
