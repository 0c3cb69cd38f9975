/** 63 bytes are the most that DNS allows in a label; the rest is room for a number. */
const MAX_LABEL_LENGTH = 63 - '-99'.length;
const MAX_NUMBER = 99;
/** Names that boards have before somebody gives them one: they name nothing. */
const NO_NAMES = ['', 'localhost', 'none'];
const DEFAULT_LABEL = 'zeroforce';

/** The name of this machine as one label that is a host name, too: `beamer.lan` → `beamer`, `My Box` → `My-Box`. */
export function labelOf(hostname: string): string {
  const label = (hostname.split('.')[0] ?? '')
    .replace(/[^A-Za-z0-9-]+/g, '-')
    .slice(0, MAX_LABEL_LENGTH)
    .replace(/^-+|-+$/g, '');
  return NO_NAMES.includes(label.toLowerCase()) ? DEFAULT_LABEL : label;
}

/** The name at the `number`-th try: `beamer`, `beamer-2`, `beamer-3` (RFC 6762 9). */
export function numbered(label: string, number: number): string {
  return number === 1 ? label : `${label}-${number}`;
}

/** After the last number the names start over: the first may be free by then. */
export const nextNumber = (number: number) => (number % MAX_NUMBER) + 1;
