import { connect, type Socket } from 'node:net';
import type { LocalEnd, LocalEvents, OpenLocal } from '../protocol/endpoints.ts';
import type { Cancel, Clock } from '../support/clock.ts';
import { systemCode } from '../support/failures.ts';
import { type BufferPool, PooledReader } from './buffer-pool.ts';

/** Wire 1.6: a local connection that does not stand by then has failed. */
const CONNECT_TIMEOUT_MS = 10_000;

/** Where streams end: services of this device only. */
const TARGET_HOST = '127.0.0.1';

export interface LocalForwardOptions {
  /** Allow-list: service name to local port. */
  services: Record<string, number>;
  /** Loopback address that streams are dialled from, which tells them from everything else (wire 1.6). */
  sourceAddress: string;
  pool: BufferPool;
  clock: Clock;
}

/** Connections to the allowed services of this device. */
export function localForward({ services, sourceAddress, pool, clock }: LocalForwardOptions): OpenLocal {
  const allowed = new Set(Object.values(services));
  return (port, events) => {
    if (!allowed.has(port)) return new Forbidden(port, events);
    return new LocalSocket(port, sourceAddress, events, pool, clock);
  };
}

class Forbidden implements LocalEnd {
  #destroyed = false;

  constructor(port: number, events: LocalEvents) {
    process.nextTick(() => {
      if (!this.#destroyed) events.failed('not-allowed', `port ${port} is not among the services`);
    });
  }

  write(_bytes: Uint8Array, done: () => void): void {
    process.nextTick(done);
  }
  end(): void {}
  pause(): void {}
  resume(): void {}
  destroy(): void {
    this.#destroyed = true;
  }
}

class LocalSocket implements LocalEnd {
  readonly #socket: Socket;
  readonly #port: number;
  readonly #events: LocalEvents;
  readonly #cancelDeadline: Cancel;
  #connected = false;
  #destroyed = false;
  #error: Error | null = null;

  constructor(port: number, sourceAddress: string, events: LocalEvents, pool: BufferPool, clock: Clock) {
    this.#port = port;
    this.#events = events;
    const reader = new PooledReader(pool);
    this.#socket = connect({
      host: TARGET_HOST,
      port,
      localAddress: sourceAddress,
      noDelay: true,
      allowHalfOpen: true, // `ssh host command < file` ends one direction long before the other
      onread: reader.onread,
    });
    reader.attach(this.#socket);
    reader.deliverTo((lease) => {
      if (!this.#destroyed) events.data(lease);
    });
    this.#cancelDeadline = clock.after(CONNECT_TIMEOUT_MS, () => this.#tooLate());
    this.#socket.once('connect', () => this.#opened());
    this.#socket.once('end', () => {
      if (!this.#destroyed) events.ended();
    });
    this.#socket.on('error', (error) => {
      this.#error ??= error;
    });
    this.#socket.once('close', () => this.#closed());
  }

  #opened(): void {
    this.#connected = true;
    this.#cancelDeadline();
    this.#events.opened();
  }

  #tooLate(): void {
    this.destroy();
    this.#events.failed(
      'timeout',
      `${TARGET_HOST}:${this.#port} did not accept the connection within ${CONNECT_TIMEOUT_MS / 1000} s`,
    );
  }

  #closed(): void {
    this.#cancelDeadline();
    if (this.#destroyed) return;
    if (this.#connected) {
      this.#events.closed(this.#error);
    } else {
      const why = systemCode(this.#error) ?? 'closed';
      this.#events.failed('refused', `${TARGET_HOST}:${this.#port} does not accept connections: ${why}`);
    }
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#socket.write(bytes, () => done());
  }

  end(): void {
    this.#socket.end();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  destroy(): void {
    this.#destroyed = true;
    this.#socket.destroy();
  }
}
