import type { Clock } from '../../support/clock.ts';
import { TokenBucket } from '../../support/token-bucket.ts';
import { BoundedMap } from '../bounded-map.ts';
import { sourceOf } from '../source.ts';

const BURST = 3;
const PER_SECOND = 1;
/** Beyond it, those that asked longest ago are forgotten. */
const SOURCES_MAX = 10_000;

/** One request a second from each source, three at once. */
export class SetupLimit {
  readonly #buckets = new BoundedMap<string, TokenBucket>(SOURCES_MAX);
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts one request. 0 where it may pass, else whole seconds until the next one may. */
  waitSeconds(address: string): number {
    const nowMs = this.#clock.nowMs();
    const bucket = this.#buckets.need(sourceOf(address), () => new TokenBucket(BURST, PER_SECOND, nowMs));
    return bucket.take(nowMs) ? 0 : 1 / PER_SECOND;
  }
}
