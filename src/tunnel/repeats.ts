import type { Clock } from '../support/clock.ts';
import type { FailureCode } from '../support/failures.ts';

/** Tells the first of several equal reports from its repetitions. */
export class Repeats {
  readonly #clock: Clock;
  readonly #remindMs: number;
  readonly #told = new Map<FailureCode, { atMs: number; repeated: number }>();
  /** The code of the last report. */
  last: FailureCode | null = null;

  /** @param remindMs after this time a repetition is told again */
  constructor(clock: Clock, remindMs: number) {
    this.#clock = clock;
    this.#remindMs = remindMs;
  }

  /** How to log a report now, and how many equal ones were passed over since the last that was loud. */
  next(code: FailureCode): { level: 'warn' | 'debug'; repeated: number } {
    const nowMs = this.#clock.nowMs();
    this.last = code;
    const told = this.#told.get(code);
    if (told !== undefined && nowMs - told.atMs < this.#remindMs) {
      told.repeated += 1;
      return { level: 'debug', repeated: told.repeated };
    }
    this.#told.set(code, { atMs: nowMs, repeated: 0 });
    return { level: 'warn', repeated: told?.repeated ?? 0 };
  }

  /** All is well again: what comes next is news. */
  forget(): void {
    this.#told.clear();
    this.last = null;
  }
}
