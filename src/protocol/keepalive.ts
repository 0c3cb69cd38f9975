import type { Cancel, Clock } from '../support/clock.ts';

export interface KeepaliveOptions {
  clock: Clock;
  /** Silence after which the peer is asked. */
  pingAfterMs: number;
  /** How long it may stay silent then. */
  pingDeadlineMs: number;
  sendPing(nonce: Buffer): void;
  /** False while we do not read: silence then says nothing about the peer. */
  isReading(): boolean;
  peerDead(silentMs: number): void;
}

/** Finds a peer that is gone without a word (README 4.7): one ping at a time, and any received byte answers it. */
export class Keepalive {
  readonly #options: KeepaliveOptions;
  #cancel: Cancel | null = null;
  #receivedAtMs: number;
  #pinging = false;
  #pings = 0n;

  constructor(options: KeepaliveOptions) {
    this.#options = options;
    this.#receivedAtMs = options.clock.nowMs();
    this.#arm(options.pingAfterMs);
  }

  /** Bytes have come from the peer. Called for each chunk, so it sets no timer unless a ping was out. */
  received(): void {
    this.#receivedAtMs = this.#options.clock.nowMs();
    if (!this.#pinging) return;
    this.#pinging = false;
    this.#arm(this.#options.pingAfterMs);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #arm(delayMs: number): void {
    this.stop();
    this.#cancel = this.#options.clock.after(delayMs, () => this.#due());
  }

  #due(): void {
    const { clock, pingAfterMs, pingDeadlineMs, isReading, peerDead, sendPing } = this.#options;
    if (!isReading()) this.received();
    const silentMs = clock.nowMs() - this.#receivedAtMs;
    if (this.#pinging) {
      peerDead(silentMs);
      return;
    }
    if (silentMs < pingAfterMs) {
      this.#arm(pingAfterMs - silentMs);
      return;
    }
    this.#pinging = true;
    this.#pings += 1n;
    const nonce = Buffer.alloc(8);
    nonce.writeBigUInt64BE(this.#pings);
    this.#arm(pingDeadlineMs);
    sendPing(nonce);
  }
}
