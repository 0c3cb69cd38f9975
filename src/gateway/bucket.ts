/** A token bucket: `burst` at once, then `perSecond`. It holds two numbers and no timer. */
export class Bucket {
  readonly #burst: number;
  readonly #perMs: number;
  #level: number;
  #atMs: number;

  constructor(burst: number, perSecond: number, nowMs: number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1000;
    this.#level = burst;
    this.#atMs = nowMs;
  }

  has(nowMs: number): boolean {
    this.#level = Math.min(this.#burst, this.#level + (nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    return this.#level >= 1;
  }

  /** False where it is empty. */
  take(nowMs: number): boolean {
    if (!this.has(nowMs)) return false;
    this.#level -= 1;
    return true;
  }
}
