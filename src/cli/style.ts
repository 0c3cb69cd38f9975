/** How text stands out on a terminal; each gives the text unchanged where nothing is to stand out. */
export interface Style {
  good(text: string): string;
  warn(text: string): string;
  bad(text: string): string;
  strong(text: string): string;
}

const plain = (text: string) => text;
export const PLAIN: Style = { good: plain, warn: plain, bad: plain, strong: plain };

/** Select Graphic Rendition of ECMA-48, and back to the terminal's own: 39 is the colour, 22 the weight. */
const rendition = (on: number, off: number) => (text: string) => `\u001b[${on}m${text}\u001b[${off}m`;
const COLOURED: Style = {
  good: rendition(32, 39),
  warn: rendition(33, 39),
  bad: rendition(31, 39),
  strong: rendition(1, 22),
};

/**
 * Colours only for a terminal that knows them, and only where nobody refused: `--no-color`, or NO_COLOR with any value
 * but the empty one (no-color.org).
 */
export function styleFor(
  stream: { isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
  wanted: boolean,
): Style {
  const refused = !wanted || (env.NO_COLOR ?? '') !== '';
  const capable = stream.isTTY === true && (env.TERM ?? 'dumb') !== 'dumb';
  return capable && !refused ? COLOURED : PLAIN;
}
