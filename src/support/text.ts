// Control characters, line separators, marks that reverse the writing direction, and halves of surrogate pairs: none
// of them may reach a log or a terminal from the network.
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+/gu;

/** A text of the peer made fit for a log line: one line, no control characters, at most `maxCharacters` long. */
export function cleanText(text: string, maxCharacters = 200): string {
  const cleaned = text.slice(0, maxCharacters).replace(UNSAFE, ' ').trim();
  return text.length > maxCharacters ? `${cleaned}…` : cleaned;
}
