import type { Clock } from './clock.ts';
import type { FailureCode } from './failures.ts';

/** A peer that says something else each time cannot fill the memory: then all is forgotten, and told again. */
const REMEMBERED = 64;

/** Tells the first of several equal reports from its repetitions. */
export class Repeats {
  readonly #clock: Clock;
  readonly #remindMs: number;
  readonly #told = new Map<string, { atMs: number; repeated: number }>();
  /** The code of the last report. */
  last: FailureCode | null = null;

  /** @param remindMs after this time a repetition is told again */
  constructor(clock: Clock, remindMs: number) {
    this.#clock = clock;
    this.#remindMs = remindMs;
  }

  /**
   * How to log a report now, and how many equal ones were passed over since the last that was loud. Reports are equal
   * when code and sentence are; the number of a stream makes no difference.
   */
  next(code: FailureCode, sentence: string): { level: 'warn' | 'debug'; repeated: number } {
    const nowMs = this.#clock.nowMs();
    this.last = code;
    const key = `${code} ${sentence.replaceAll(/\bstream \d+/g, 'stream')}`;
    const told = this.#told.get(key);
    if (told !== undefined && nowMs - told.atMs < this.#remindMs) {
      told.repeated += 1;
      return { level: 'debug', repeated: told.repeated };
    }
    if (told === undefined && this.#told.size === REMEMBERED) this.#told.clear();
    this.#told.set(key, { atMs: nowMs, repeated: 0 });
    return { level: 'warn', repeated: told?.repeated ?? 0 };
  }

  /** All is well again: what comes next is news. */
  forget(): void {
    this.#told.clear();
    this.last = null;
  }
}
