import type { Cancel, Clock } from '../support/clock.ts';

/** Comes back to things after a while, with one timer for all of them. */
export class Later<T> {
  readonly #clock: Clock;
  readonly #delayMs: number;
  readonly #visit: (thing: T) => void;
  readonly #things = new Set<T>();
  #cancel: Cancel | null = null;

  /** @param delayMs at most; what joins others is visited with them */
  constructor(clock: Clock, delayMs: number, visit: (thing: T) => void) {
    this.#clock = clock;
    this.#delayMs = delayMs;
    this.#visit = visit;
  }

  add(thing: T): void {
    this.#things.add(thing);
    this.#cancel ??= this.#clock.after(this.#delayMs, () => {
      this.#cancel = null;
      const things = [...this.#things];
      this.#things.clear();
      for (const one of things) this.#visit(one);
    });
  }

  delete(thing: T): void {
    this.#things.delete(thing);
    if (this.#things.size === 0) this.stop();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#things.clear();
  }
}
