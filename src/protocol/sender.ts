import type { Link } from './endpoints.ts';
import { Fifo } from './fifo.ts';

/**
 * How many bytes may wait in the link before we stop giving it more. Deep enough to keep the kernel busy, shallow
 * enough that a keystroke behind a download waits a millisecond or two (docs/performance.md).
 */
const LINK_QUEUE_MAX_BYTES = 128 * 1024;
/** One write to the link carries frames of several turns up to about this size: one system call for all. */
const WRITE_BYTES = 64 * 1024;
/** A peer that makes us owe it more control frames than this without reading any is ended (README 4.6). */
export const CONTROL_QUEUE_MAX_FRAMES = 1024;

/** A stream as the sender sees it. */
export interface Source {
  /** Whether a frame could be sent now. */
  readonly sendable: boolean;
  /**
   * Adds its next frame to `chunks`. `data` is answered once by `dataWritten`; `closing` is a frame without a payload
   * of the queue.
   */
  nextFrame(chunks: Uint8Array[]): 'data' | 'closing' | 'nothing';
  /** The oldest data frame has left, or never will. */
  dataWritten(): void;
}

/**
 * Decides what goes onto the link next (README 4.6): control frames first, then the streams that have something to
 * send, one frame each in turn.
 */
export class Sender {
  readonly #link: Link;
  readonly #controlQueueFull: () => void;
  #control: Buffer[] = [];
  /** Streams that wait for their turn; each stands in the list at most once. */
  readonly #turns = new Fifo<Source>();
  readonly #waiting = new Set<Source>();
  /** For each write to the link: whose data it carries, in order, closed by null. */
  readonly #written = new Fifo<Source | null>();
  #held = false;
  #stopped = false;

  constructor(link: Link, controlQueueFull: () => void) {
    this.#link = link;
    this.#controlQueueFull = controlQueueFull;
  }

  /** Nothing waits here; the link may still hold what it was given. */
  get idle(): boolean {
    return this.#control.length === 0 && this.#turns.length === 0;
  }

  /** A frame that goes ahead of all data. */
  control(frame: Buffer): void {
    if (this.#stopped) return;
    this.#control.push(frame);
    // A single chunk of the peer may ask for that many answers while frames are collected: try the link first.
    if (this.#control.length > CONTROL_QUEUE_MAX_FRAMES) this.#write();
    if (this.#control.length > CONTROL_QUEUE_MAX_FRAMES) {
      this.#controlQueueFull();
      return;
    }
    this.pump();
  }

  /** `source` may have become sendable. */
  ready(source: Source): void {
    if (this.#stopped || !source.sendable || this.#waiting.has(source)) return;
    this.#waiting.add(source);
    this.#turns.push(source);
    this.pump();
  }

  /** Collects frames while `work` runs and sends them together afterwards. */
  together(work: () => void): void {
    const held = this.#held;
    this.#held = true;
    work();
    this.#held = held;
    this.pump();
  }

  /** Writes as much as the link should hold. */
  pump(): void {
    if (!this.#held) this.#write();
  }

  #write(): void {
    while (!this.#stopped && this.#link.queuedBytes < LINK_QUEUE_MAX_BYTES) {
      const chunks: Uint8Array[] = this.#control;
      this.#control = [];
      this.#addData(chunks);
      if (chunks.length === 0) return;
      this.#written.push(null);
      this.#link.write(chunks, this.#writeDone);
    }
  }

  #addData(chunks: Uint8Array[]): void {
    let bytes = 0;
    while (bytes < WRITE_BYTES) {
      const source = this.#turns.shift();
      if (source === undefined) return;
      const frame = source.nextFrame(chunks);
      if (frame === 'data') this.#written.push(source);
      if (frame !== 'nothing') bytes += chunks[chunks.length - 1]?.length ?? 0;
      if (source.sendable) this.#turns.push(source);
      else this.#waiting.delete(source);
    }
  }

  /** One function for all writes, since they are done in their order. */
  readonly #writeDone = (): void => {
    for (let source = this.#written.shift(); source; source = this.#written.shift()) source.dataWritten();
  };

  /** Sends nothing more. What the link was given is still reported to its streams when the link lets go of it. */
  stop(): void {
    this.#stopped = true;
    this.#control = [];
  }
}
