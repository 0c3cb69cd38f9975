import type { Cancel, Clock } from '../support/clock.ts';
import type { MuxLimits } from './limits.ts';
import type { Stream } from './stream.ts';

/** How often the local ends that are in arrears are looked at; well below `stalledMs`. */
const LOOK_EVERY_MS = 500;
/** A released stream whose service neither takes what is left nor closes is cut off after this (README 3.5). */
export const LINGER_MS = 5_000;

export interface BacklogOptions {
  limits: MuxLimits;
  clock: Clock;
  pauseReading(): void;
  resumeReading(): void;
  /** The stream keeps too much waiting and its service takes nothing. */
  stalled(stream: Stream): void;
  /** The stream has been released, and its service does not let go of it. */
  lingered(stream: Stream): void;
}

/**
 * Watches what waits for local services. Legacy streams have no credit, so here is their bound (README 3.6): a stream,
 * or all together, over the limit pauses reading of the session until half of it is left, and a service that takes
 * nothing meanwhile is cut off so that the others can go on. v1 streams are bounded by their credit and only watched
 * after their release.
 */
export class Backlog {
  readonly #options: BacklogOptions;
  /** A stream below this cannot keep a session over half of its limit, however many there are. */
  readonly #shareBytes: number;
  readonly #watched = new Set<Stream>();
  readonly #over = new Set<Stream>();
  readonly #lingering = new Set<Stream>();
  #sessionOver = false;
  #totalBytes = 0;
  #reading = true;
  #cancel: Cancel | null = null;

  constructor(options: BacklogOptions) {
    this.#options = options;
    const { sessionQueueBytes, maxStreams, streamQueueBytes } = options.limits;
    this.#shareBytes = Math.min(streamQueueBytes / 2, sessionQueueBytes / 2 / maxStreams);
  }

  /** False while the session is not read from. */
  get reading(): boolean {
    return this.#reading;
  }

  /** `bytes` more, or fewer, wait for a stream's local end. */
  changed(stream: Stream, bytes: number): void {
    if (stream.v1) return;
    const { streamQueueBytes, sessionQueueBytes } = this.#options.limits;
    const own = stream.incomingBytes;
    const wasInTheWay = this.#isInTheWay(stream, own - bytes);
    this.#totalBytes += bytes;
    if (own <= streamQueueBytes / 2) this.#over.delete(stream);
    if (this.#totalBytes <= sessionQueueBytes / 2) this.#sessionOver = false;
    if (bytes > 0) {
      if (own > this.#shareBytes) this.#watch(stream);
      if (own > streamQueueBytes) this.#over.add(stream);
      if (this.#totalBytes > sessionQueueBytes) this.#sessionOver = true;
      // A service that has long been seen to take nothing costs the others no pause. Once only: to judge is to ask the
      // kernel, which a peer could make us do for every byte it sends; from here on `#look` judges.
      if (!wasInTheWay && this.#isInTheWay(stream)) this.#judge(stream);
    }
    this.#updateReading();
  }

  /** The stream's id is free; its local end has `LINGER_MS` from the last byte it takes. */
  linger(stream: Stream): void {
    this.#lingering.add(stream);
    this.#watched.delete(stream);
    // Most are gone before anybody looks: thousands of short connections ask the kernel nothing.
    this.#watch(stream, { later: true });
  }

  /** The local end is gone. */
  forget(stream: Stream): void {
    this.#lingering.delete(stream);
    this.#watched.delete(stream);
    this.#over.delete(stream);
    this.#updateReading();
    if (this.#watched.size === 0) this.#stopLooking();
  }

  #watch(stream: Stream, asked = { later: false }): void {
    if (this.#watched.has(stream)) return;
    this.#watched.add(stream);
    stream.watch(this.#options.clock.nowMs(), asked);
    this.#cancel ??= this.#options.clock.after(LOOK_EVERY_MS, () => this.#look());
  }

  #look(): void {
    this.#cancel = null;
    for (const stream of [...this.#watched]) {
      this.#judge(stream);
      if (stream.incomingBytes <= this.#shareBytes && !this.#lingering.has(stream)) this.#watched.delete(stream);
    }
    if (this.#watched.size > 0) this.#cancel ??= this.#options.clock.after(LOOK_EVERY_MS, () => this.#look());
  }

  #judge(stream: Stream): void {
    if (!this.#watched.has(stream)) return;
    const idleMs = stream.idleMs(this.#options.clock.nowMs());
    if (this.#isInTheWay(stream) && idleMs >= this.#options.limits.stalledMs) this.#options.stalled(stream);
    else if (this.#lingering.has(stream) && idleMs >= LINGER_MS) this.#options.lingered(stream);
  }

  #isInTheWay(stream: Stream, ownBytes = stream.incomingBytes): boolean {
    return this.#over.has(stream) || (this.#sessionOver && ownBytes > this.#shareBytes && !stream.v1);
  }

  #updateReading(): void {
    const reading = this.#over.size === 0 && !this.#sessionOver;
    if (reading === this.#reading) return;
    this.#reading = reading;
    if (reading) this.#options.resumeReading();
    else this.#options.pauseReading();
  }

  #stopLooking(): void {
    this.#cancel?.();
    this.#cancel = null;
  }
}
