import type { Cancel, Clock } from '../support/clock.ts';
import { asFailure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';

/** How often it is looked whether a copy is due: a day passes between two of them. */
const LOOK_MS = 60 * 60_000;
/** Not in the crowd of a start, when the whole fleet comes back. */
const FIRST_MS = 60_000;

/** Keeps a copy of the database that is at most a day older than it. */
export class Copies {
  readonly #keepCopy: () => Promise<boolean>;
  readonly #clock: Clock;
  readonly #log: Log;
  #cancel: Cancel = () => undefined;
  #work: Promise<void> = Promise.resolve();

  /** @param keepCopy makes a copy where one is due, and tells whether it did */
  constructor({ keepCopy, clock, log }: { keepCopy: () => Promise<boolean>; clock: Clock; log: Log }) {
    this.#keepCopy = keepCopy;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    this.#lookIn(FIRST_MS);
  }

  /** A copy under way is waited for: the store is closed next. */
  async stop(): Promise<void> {
    this.#cancel();
    await this.#work;
    this.#cancel();
  }

  #lookIn(delayMs: number): void {
    this.#cancel = this.#clock.after(delayMs, () => {
      this.#work = this.#look().finally(() => this.#lookIn(LOOK_MS));
    });
  }

  async #look(): Promise<void> {
    try {
      if (await this.#keepCopy()) this.#log.info('a copy of the database was made');
    } catch (error) {
      const { code, message, remedy } = asFailure(error, 'gateway.store-failed');
      this.#log.error({ code, remedy }, `no copy of the database could be made: ${message}`);
    }
  }
}
