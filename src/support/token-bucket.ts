/** Allows bursts and a steady rate: starts full, `take` uses one token where there is one. */
export class TokenBucket {
  readonly #size: number;
  readonly #perSecond: number;
  #tokens: number;
  #filledAtMs: number;

  constructor(size: number, perSecond: number, nowMs: number) {
    this.#size = size;
    this.#perSecond = perSecond;
    this.#tokens = size;
    this.#filledAtMs = nowMs;
  }

  /** Whether a token is there. */
  available(nowMs: number): boolean {
    this.#tokens = Math.min(this.#size, this.#tokens + ((nowMs - this.#filledAtMs) / 1000) * this.#perSecond);
    this.#filledAtMs = nowMs;
    return this.#tokens >= 1;
  }

  /** Uses one token; false where there was none. */
  take(nowMs: number): boolean {
    if (!this.available(nowMs)) return false;
    this.#tokens -= 1;
    return true;
  }
}
