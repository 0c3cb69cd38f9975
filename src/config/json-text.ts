/** Where and why a text is not JSON; line and column count from 1. The sentence quotes nothing: it may be a secret. */
export interface JsonFault {
  readonly line: number;
  readonly column: number;
  readonly expected: string;
}

const DEEPEST = 32;
const BLANKS = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.+-])/y;

/**
 * JSON.parse with a place for every fault, and with repeated keys refused. The messages of JSON.parse serve neither:
 * some have no position, and they quote the text around the fault.
 */
export function parseJson(text: string): { value: unknown } | { fault: JsonFault } {
  try {
    new Scanner(text).document();
  } catch (error) {
    if (error instanceof Expected) return { fault: { ...position(text, error.at), expected: error.what } };
    throw error;
  }
  return { value: JSON.parse(text) };
}

class Expected extends Error {
  readonly at: number;
  readonly what: string;

  constructor(at: number, what: string) {
    super(what);
    this.at = at;
    this.what = what;
  }
}

/** Walks over a JSON text and throws `Expected` at the first fault. */
class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): void {
    this.#value(0);
    if (this.#at < this.#text.length) this.#expected('nothing more after the end of the object');
  }

  #value(depth: number): void {
    if (depth > DEEPEST) this.#expected(`at most ${DEEPEST} levels of nesting`);
    this.#take(BLANKS);
    if (this.#skip('{')) this.#members(depth, '}', new Set());
    else if (this.#skip('[')) this.#members(depth, ']', null);
    else if (this.#take(STRING) === null && this.#take(SCALAR) === null) this.#expected(this.#wantedValue());
    this.#take(BLANKS);
  }

  /** The rest of an object (`keys` is a set) or of a list (`keys` is null). */
  #members(depth: number, end: string, keys: Set<unknown> | null): void {
    this.#take(BLANKS);
    if (this.#skip(end)) return;
    do {
      if (keys !== null) this.#key(keys);
      this.#value(depth + 1);
    } while (this.#skip(','));
    if (!this.#skip(end)) this.#expected(`"," or "${end}"`);
  }

  #key(keys: Set<unknown>): void {
    this.#take(BLANKS);
    const start = this.#at;
    const written = this.#take(STRING);
    if (written === null) this.#expected('a key in double quotes');
    const key: unknown = JSON.parse(written ?? '""');
    if (keys.has(key)) throw new Expected(start, 'a key that does not stand in this object already');
    keys.add(key);
    this.#take(BLANKS);
    if (!this.#skip(':')) this.#expected('":"');
  }

  #wantedValue(): string {
    return this.#text[this.#at] === '"'
      ? 'a text that ends in a double quote on its own line, with known escapes only'
      : 'a value (text in double quotes, a number, true, false, null, { or [)';
  }

  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? null;
    if (found !== null) this.#at += found.length;
    return found;
  }

  #skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #expected(what: string): never {
    throw new Expected(this.#at, what);
  }
}

function position(text: string, at: number): { line: number; column: number } {
  const before = text.slice(0, at).split('\n');
  return { line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}
