/** 1 s after the first wrong proof, twice as long after each further one. */
const FIRST_MS = 1_000;
const LONGEST_MS = 60_000;
/** More than will ever be wrong before the PIN is locked. */
const SOURCES_MAX = 64;

/** How long a source must wait after wrong proofs, in bounded memory. Times are monotonic milliseconds. */
export class PinDelays {
  /** By source, the latest failure last. */
  readonly #sources = new Map<string, { failures: number; untilMs: number }>();

  waitMs(source: string, nowMs: number): number {
    return Math.max(0, (this.#sources.get(source)?.untilMs ?? nowMs) - nowMs);
  }

  failed(source: string, nowMs: number): void {
    const failures = (this.#sources.get(source)?.failures ?? 0) + 1;
    this.#sources.delete(source); // to stand at the end
    this.#sources.set(source, { failures, untilMs: nowMs + Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1)) });
    const [oldest] = this.#sources.keys();
    if (this.#sources.size > SOURCES_MAX && oldest !== undefined) this.#sources.delete(oldest);
  }

  /** After a right proof from this source. */
  succeeded(source: string): void {
    this.#sources.delete(source);
  }

  clear(): void {
    this.#sources.clear();
  }
}
