import type { Cancel, Clock } from '../support/clock.ts';
import type { TcpState } from './tcp-table.ts';

/** Between two looks. Nothing is looked at while nothing was written. */
const LOOK_MS = 5000;

/** So long without any answer to our tries, and the peer is dead: noticed within 30 s; the promise is 45. */
const DEAD_MS = 20_000;

/** And at least so many tries: on a bad line an answer may take its time (the pause between two tries doubles). */
const DEAD_TRIES = 4;

/**
 * Notices that a peer no longer acknowledges what we wrote. TCP keepalive does not run while data is under way, and
 * the kernel itself goes on trying for a quarter of an hour.
 */
export class UnacknowledgedWatch {
  readonly #clock: Clock;
  readonly #read: () => TcpState | null;
  readonly #dead: (forMs: number) => void;
  #cancel: Cancel | null = null;
  #stopped = false;
  #silentSinceMs: number | null = null;
  #tries = 0;

  /**
   * @param read the present state, as `readTcpState`
   * @param dead called once, with the time for which the peer has not answered
   */
  constructor(clock: Clock, read: () => TcpState | null, dead: (forMs: number) => void) {
    this.#clock = clock;
    this.#read = read;
    this.#dead = dead;
  }

  /** Something was written: look whether it arrives. */
  wrote(): void {
    if (this.#stopped || this.#cancel !== null) return;
    this.#cancel = this.#clock.after(LOOK_MS, () => this.#look());
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  #look(): void {
    this.#cancel = null;
    const state = this.#read();
    if (state === null || state.unacknowledgedBytes === 0) {
      this.#silentSinceMs = null;
      return;
    }
    const nowMs = this.#clock.nowMs();
    // Fewer tries than at the last look: there was an answer in between, and the count began again.
    if (state.tries === 0 || state.tries < this.#tries) this.#silentSinceMs = null;
    else this.#silentSinceMs ??= nowMs;
    this.#tries = state.tries;
    const silentMs = this.#silentSinceMs === null ? 0 : nowMs - this.#silentSinceMs;
    if (silentMs >= DEAD_MS && state.tries >= DEAD_TRIES) {
      this.stop();
      this.#dead(silentMs);
    } else {
      this.wrote();
    }
  }
}
