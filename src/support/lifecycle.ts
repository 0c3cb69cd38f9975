import { type Clock, systemClock } from './clock.ts';

type Stop = () => unknown; // awaited

/**
 * Owns what has been started, and stops it in reverse order. Whoever starts a timer, socket, child or listener that
 * outlives a function call registers its end here, so that a stop is always complete and bounded.
 */
export class Lifecycle {
  readonly #owned: { name: string; stop: Stop }[] = [];
  readonly #clock: Clock;
  #stopping: Promise<StopReport> | null = null;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** Registers the end of something that has just been started. `name` appears in the report. */
  own(name: string, stop: Stop): void {
    this.#owned.push({ name, stop });
  }

  /**
   * Stops everything, last started first. A part that throws, or takes longer than `eachMs`, is reported and passed
   * over: one bad part never keeps the others running. Further calls return the first call's report.
   */
  stop(eachMs: number): Promise<StopReport> {
    this.#stopping ??= this.#stopAll(eachMs);
    return this.#stopping;
  }

  async #stopAll(eachMs: number): Promise<StopReport> {
    const problems: StopReport = [];
    for (let part = this.#owned.pop(); part !== undefined; part = this.#owned.pop()) {
      const { name, stop } = part;
      const problem = await this.#bounded(stop, eachMs);
      if (problem !== null) problems.push({ name, problem });
    }
    return problems;
  }

  #bounded(stop: Stop, eachMs: number): Promise<unknown> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(eachMs, () => resolve(new Error(`did not stop within ${eachMs} ms`)));
      const done = (problem: unknown) => {
        cancel();
        resolve(problem);
      };
      Promise.resolve()
        .then(stop)
        .then(
          () => done(null),
          (error: unknown) => done(error),
        );
    });
  }
}

/** The parts that did not stop cleanly; empty when all did. */
export type StopReport = { name: string; problem: unknown }[];
