import { replaceUnsafe } from '../support/text.ts';

const MASK = '[secret]';
const EXCERPT_CHARACTERS = 160;

/** `text` without the token, in whatever case and spelling a server is likely to send it back. */
export function masked(text: string, token: string): string {
  if (token === '') return text;
  const spellings = [token, encodeURIComponent(token), JSON.stringify(token).slice(1, -1)];
  const pattern = spellings.map((spelling) => spelling.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|');
  return text.replace(new RegExp(pattern, 'gi'), MASK);
}

/** What a server said, fit for a log line: short, printable, in one line, without the token. */
export function excerpt(text: string, token: string): string {
  const words = replaceUnsafe(masked(sayingOf(text), token), ' ')
    .replace(/ {2,}/g, ' ')
    .trim();
  // A second time: what stood between its parts may be gone now. And before the cut, which would leave a part of it.
  const safe = masked(words, token);
  return safe.length > EXCERPT_CHARACTERS ? `${safe.slice(0, EXCERPT_CHARACTERS)}…` : safe;
}

/** Servers put what they have to say into one of these; else the text speaks for itself. */
const SAYINGS = ['error', 'message', 'detail', 'reason'];

function sayingOf(text: string): string {
  try {
    const parsed: unknown = JSON.parse(text);
    const fields = typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {};
    const saying = SAYINGS.map((name) => fields[name]).find((value) => typeof value === 'string');
    return saying ?? JSON.stringify(parsed);
  } catch {
    return text.replace(/<[^<>]*>/g, ' ');
  }
}
