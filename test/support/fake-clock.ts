import type { Clock } from '../../src/support/clock.ts';

/** A clock that stands still until the test moves it; timers fire in order of their time. */
export class FakeClock implements Clock {
  #nowMs: number;
  readonly #timers = new Set<{ atMs: number; fn: () => void }>();

  constructor(startMs = 1_000_000) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, fn: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), fn };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** How many timers wait; 0 after a clean stop. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves time forward and fires what falls due on the way, timers set by timers included. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const due = [...this.#timers].filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.fn();
    }
    this.#nowMs = endMs;
  }
}
