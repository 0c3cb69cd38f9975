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
  #eachMs = 0;

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /**
   * Registers the end of something that is being started. `name` appears in the report. What comes after the stop has
   * begun is stopped, too.
   */
  own(name: string, stop: Stop): void {
    this.#owned.push({ name, stop });
    if (this.#stopping === null) return;
    this.#stopping = this.#stopping.then(async (before) => [...before, ...(await this.#stopAll())]);
  }

  /**
   * Stops everything, last started first. A part that throws, or takes longer than `eachMs`, is reported and passed
   * over: one bad part never keeps the others running. Further calls return the first call's report.
   */
  stop(eachMs: number): Promise<StopReport> {
    this.#eachMs = eachMs;
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<StopReport> {
    const problems: StopReport = [];
    for (let part = this.#owned.pop(); part !== undefined; part = this.#owned.pop()) {
      const { name, stop } = part;
      const problem = await this.#bounded(stop, this.#eachMs);
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
