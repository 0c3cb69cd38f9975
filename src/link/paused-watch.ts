import type { Cancel, Clock } from '../support/clock.ts';
import type { TcpState } from './tcp-table.ts';

/** Between two looks, while reading is paused. */
const LOOK_MS = 5000;

/** What a peer sent before its end may wait so long for slow services; then a new session matters more. */
const PATIENCE_MS = 20_000;

/**
 * Notices the end of a connection that is not read from (protocol/README 3.6). libuv does not poll such a socket, so
 * neither the peer's end nor its reset is seen before the slowest service has taken its bytes.
 */
export class PausedWatch {
  readonly #clock: Clock;
  readonly #read: () => TcpState | null;
  readonly #over: () => void;
  #cancel: Cancel | null = null;
  #sinceMs = 0;

  /**
   * @param read the present state, as `readTcpState`
   * @param over called at most once a pause: the peer has closed, or the connection is no more
   */
  constructor(clock: Clock, read: () => TcpState | null, over: () => void) {
    this.#clock = clock;
    this.#read = read;
    this.#over = over;
  }

  /** Reading was stopped, or goes on. */
  reading(on: boolean): void {
    this.stop();
    if (on) return;
    this.#sinceMs = this.#clock.nowMs();
    this.#lookLater();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #lookLater(): void {
    this.#cancel = this.#clock.after(LOOK_MS, () => this.#look());
  }

  #look(): void {
    this.#cancel = null;
    const state = this.#read();
    const patient = this.#clock.nowMs() - this.#sinceMs < PATIENCE_MS;
    if (state === null || (state.peerClosed && !patient)) this.#over();
    else this.#lookLater();
  }
}
