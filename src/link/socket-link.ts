import type { Socket } from 'node:net';
import type { Lease, Link } from '../protocol/endpoints.ts';
import type { PooledReader } from './buffer-pool.ts';

export interface LinkEvents {
  /** The kernel has taken all that was written. */
  drained(): void;
  /** Bytes were written: from now on some may be unacknowledged. */
  wrote(): void;
  /** The session stops reading, or goes on. */
  reading(on: boolean): void;
  /** The connection is over, by an error or (null) in order. Nothing follows. */
  ended(error: Error | null): void;
}

const NOBODY: LinkEvents = { drained() {}, wrote() {}, reading() {}, ended() {} };

/** The connection to the proxy, after the dialer. What arrives is held until somebody asks with `deliverTo`. */
export class SocketLink implements Link {
  readonly #socket: Socket;
  readonly #reader: PooledReader;
  #events = NOBODY;
  #closed = false;
  #error: Error | null = null;

  constructor({ socket, reader }: { socket: Socket; reader: PooledReader }) {
    this.#socket = socket;
    this.#reader = reader;
    socket.on('error', (error) => {
      this.#error ??= error;
    });
    // The protocol knows no half-closed link: after the peer's end nobody takes what we would still write.
    socket.once('end', () => this.destroy());
    socket.once('close', () => {
      this.#closed = true;
      this.#events.ended(this.#error);
    });
  }

  /** Changes who listens, as when the handshake is over. An end that came in between is told again. */
  listen(events: LinkEvents): void {
    this.#events = events;
    if (this.#closed) process.nextTick(() => events.ended(this.#error));
  }

  get socket(): Socket {
    return this.#socket;
  }

  /** Gives what arrives, and what was held, to `receive`. */
  deliverTo(receive: (lease: Lease) => void): void {
    this.#reader.deliverTo(receive);
  }

  /** Holds what arrives again. */
  hold(): void {
    this.#reader.hold();
  }

  write(chunks: readonly Uint8Array[], done?: () => void): void {
    const last = chunks.length - 1;
    this.#socket.cork(); // one system call for a header and its payload
    chunks.forEach((chunk, index) => {
      this.#socket.write(chunk, index === last ? () => this.#written(done) : undefined);
    });
    this.#socket.uncork();
    this.#events.wrote();
  }

  #written(done: (() => void) | undefined): void {
    done?.();
    if (this.#socket.writableLength === 0 && !this.#socket.destroyed) this.#events.drained();
  }

  get queuedBytes(): number {
    return this.#socket.writableLength;
  }

  pause(): void {
    this.#socket.pause();
    this.#events.reading(false);
  }

  resume(): void {
    this.#socket.resume();
    this.#events.reading(true);
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
