import { MASK } from '../../config/secret.ts';
import { UNSAFE } from '../../support/text.ts';
import { isSecret, maskNamed } from './secret-names.ts';
import { lowerCase, spellingsOf } from './spellings.ts';

/** What is shorter is taken out only where it is a word of its own. */
const MIN_INSIDE_WORDS = 4;
const UNSAFE_BUT_LINES = new RegExp(`(?![\\n\\t])${UNSAFE.source}`, 'gu');
/** Where a long line was wrapped, by whatever did that. */
const LINE_BREAK = /[=\\]?\n[ \t]*/g;

/** Takes secrets out: those that are known in whatever spelling, and what looks like one by its name or its shape. */
export class Redactor {
  readonly #spellings: readonly string[];
  readonly #words: RegExp | null;

  /** @param secrets that are known, in any order */
  constructor(secrets: readonly string[]) {
    const short = secrets.filter((secret) => secret !== '' && secret.length < MIN_INSIDE_WORDS);
    this.#spellings = [...new Set(secrets.filter(({ length }) => length >= MIN_INSIDE_WORDS).flatMap(spellingsOf))];
    const words = short.map((secret) => secret.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|');
    this.#words = words === '' ? null : new RegExp(`(?<![a-z0-9])(?:${words})(?![a-z0-9])`, 'gi');
  }

  /** The text in printable characters, tabs and line ends, without secrets. */
  text(input: string): string {
    const lines = input.replace(/\r\n?/g, '\n').replace(UNSAFE_BUT_LINES, '');
    const known = this.#withoutKnown(lines);
    return withoutShapes(maskNamed(this.#words === null ? known : known.replace(this.#words, MASK), MASK));
  }

  /** The same for a value that is to become JSON; the names of its fields tell secrets, too. */
  json(value: unknown, name = ''): unknown {
    if (Array.isArray(value)) return value.map((each) => this.json(each, name));
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(
        Object.entries(value).map(([key, each]) => [this.text(key), this.json(each, key)] as const),
      );
    }
    if (typeof value !== 'string' && typeof value !== 'number') return value;
    if (isSecret(name, String(value))) return MASK;
    const shown = this.text(String(value));
    return typeof value === 'number' && shown === String(value) ? value : shown;
  }

  /** In place, and over the end of a line. */
  #withoutKnown(text: string): string {
    const flat = flattened(lowerCase(text));
    const found = [
      ...this.#find(lowerCase(text)),
      ...this.#find(flat.text).map(({ start, end }) => ({ start: flat.origin(start), end: flat.origin(end - 1) + 1 })),
    ].toSorted((a, b) => a.start - b.start);
    let out = '';
    let done = 0;
    for (const { start, end } of found) {
      if (start >= done) out += `${text.slice(done, start)}${MASK}`;
      if (end > done && text.slice(Math.max(start, done), end).includes('\n')) out += '\n';
      done = Math.max(done, end);
    }
    return out + text.slice(done);
  }

  #find(text: string): { start: number; end: number }[] {
    return this.#spellings.flatMap((spelling) => {
      const found = [];
      for (let start = text.indexOf(spelling); start !== -1; start = text.indexOf(spelling, start + 1)) {
        found.push({ start, end: start + spelling.length });
      }
      return found;
    });
  }
}

/** The text without its line breaks, and where a character of it stood before. */
function flattened(text: string): { text: string; origin: (index: number) => number } {
  const pieces: { at: number; from: number }[] = [{ at: 0, from: 0 }];
  let flat = '';
  let from = 0;
  for (const { index, 0: gap } of text.matchAll(LINE_BREAK)) {
    flat += text.slice(from, index);
    from = index + gap.length;
    pieces.push({ at: flat.length, from });
  }
  flat += text.slice(from);
  const origin = (index: number) => {
    let [low, high] = [0, pieces.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((pieces[middle]?.at ?? 0) <= index) low = middle;
      else high = middle - 1;
    }
    const { at = 0, from: start = 0 } = pieces[low] ?? {};
    return start + index - at;
  };
  return { text: flat, origin };
}

const PEM_END = '-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----';
const SHAPES: readonly [RegExp, string][] = [
  // Keys: whole, cut at either end, and the lines of base64 that they are made of.
  [new RegExp(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY[\\s\\S]{0,20000}?${PEM_END}`, 'g'), '[private key]'],
  [new RegExp(`[A-Za-z0-9+/=]{1,100}[ \\t]*\\n[^\\n]{0,200}${PEM_END}`, 'g'), '[private key]'],
  [/-----BEGIN [A-Z0-9 ]*PRIVATE KEY[^\n]*(?:\n[^\n]*[A-Za-z0-9+/=]{16,}[ \t]*(?=\n|$))*/g, '[private key]'],
  [/b3BlbnNzaC1rZXktdjE[A-Za-z0-9+/=]*/g, '[private key]'],
  // Headers, to the end of their line or of the quotes that they stand in.
  [
    /((?:x-token-code|(?:proxy-)?authorization|(?:set-)?cookie|x-api-key|x-auth-token)\\*["']?[ \t]*[:=][ \t]*\\*["']?)[^\n"']+/gi,
    `$1${MASK}`,
  ],
  // Tokens of the SSH entry (wire 5): 32 bytes in base32, as a user, in an address, anywhere.
  [/[A-Z2-7]{52,}|[a-z2-7]{52,}/g, MASK],
  [/(\b[a-z][a-z0-9+.-]{0,30}:\/\/[^\s/@:"'<>]*:)[^\s/@"'<>]+@/gi, `$1${MASK}@`],
  [/(\b[a-z][a-z0-9+.-]{0,30}:\/\/)[^\s/@:"'<>]{16,}@/gi, `$1${MASK}@`],
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)?/g, MASK],
  [/\$(?:1|2[abxy]|5|6|7|y|gy|argon2(?:id|i|d))\$[^\s:"']+/g, MASK],
];

function withoutShapes(text: string): string {
  return SHAPES.reduce((rest, [shape, by]) => rest.replace(shape, by), text).replace(
    /[A-Za-z0-9+/]{64,}={0,2}|[A-Za-z0-9_-]{64,}/g,
    (run) => (looksRandom(run) ? `[base64, ${run.length} characters]` : run),
  );
}

/** Base64, and no path, no fingerprint in hex and no rule of a table: those have no capital letters, or many slashes. */
function looksRandom(run: string): boolean {
  const slashes = run.split('/').length - 1;
  return /[A-Z]/.test(run) && /[a-z]/.test(run) && /[0-9]/.test(run) && slashes * 10 < run.length;
}
