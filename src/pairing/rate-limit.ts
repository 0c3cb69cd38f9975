import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { Clock } from '../support/clock.ts';

const REQUESTS_PER_WINDOW = 60; // pairing: requests 2
const WINDOW_SECONDS = 60;
/** More than a home has; beyond it, new sources share one allowance, so that invented addresses cost no memory. */
const SOURCES_MAX = 1_000;

/** Counts the requests of each source address in windows of a minute, in bounded memory. */
export class RateLimit {
  readonly #limiter = new RateLimiterMemory({ points: REQUESTS_PER_WINDOW, duration: WINDOW_SECONDS });
  readonly #clock: Clock;
  readonly #sources = new Set<string>();
  #sourcesSinceMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sourcesSinceMs = clock.nowMs();
  }

  /** Counts one request. @returns 0 when it may pass, else whole seconds until the next one may */
  async waitSeconds(source: string): Promise<number> {
    try {
      await this.#limiter.consume(this.#bucket(source));
      return 0;
    } catch (error) {
      if (!(error instanceof RateLimiterRes)) throw error;
      // The limiter counts in wall time: a clock set back must not tell a client to wait for years.
      return Math.min(WINDOW_SECONDS, Math.max(1, Math.ceil(error.msBeforeNext / 1000)));
    }
  }

  #bucket(source: string): string {
    const nowMs = this.#clock.nowMs();
    if (nowMs - this.#sourcesSinceMs >= WINDOW_SECONDS * 1000) {
      this.#sources.clear();
      this.#sourcesSinceMs = nowMs;
    }
    if (!this.#sources.has(source) && this.#sources.size >= SOURCES_MAX) return 'the others';
    this.#sources.add(source);
    return source;
  }
}
