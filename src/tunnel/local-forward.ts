import { connect, type Socket } from 'node:net';
import { type BufferPool, PooledReader } from '../link/buffer-pool.ts';
import type { LocalEnd, LocalEvents, OpenLocal } from '../protocol/endpoints.ts';
import { type Cancel, type Clock, pause } from '../support/clock.ts';
import { systemCode } from '../support/failures.ts';
import { connectionOf, readPeerState, readTcpState } from './tcp-table.ts';

/** A local connection that does not stand by then has failed (protocol/README 3.1). */
const CONNECT_TIMEOUT_MS = 10_000;

/** Where streams end: services of this device only. */
const TARGET_HOST = '127.0.0.1';

export interface LocalForwardOptions {
  /** Allow-list: service name to local port. Read anew for every stream. */
  services: Record<string, number>;
  /** Loopback address that streams are dialled from: sshd's log, its penalties and the pairing routes tell them by it. */
  sourceAddress: string;
  pool: BufferPool;
  clock: Clock;
}

/** The connections to the allowed services of this device; they may outlive the session that opened them. */
export class LocalForward {
  readonly #options: LocalForwardOptions;
  readonly #sockets = new Set<Socket>();

  constructor(options: LocalForwardOptions) {
    this.#options = options;
  }

  readonly open: OpenLocal = (port, events) => {
    if (!Object.values(this.#options.services).includes(port)) return new ForbiddenEnd(port, events);
    const end = new SocketEnd(port, this.#options, events);
    this.#sockets.add(end.socket);
    end.socket.once('close', () => this.#sockets.delete(end.socket));
    return end;
  };

  /** Waits up to `graceMs` for the services to take what is left for them, then closes what is still open. */
  async stop(graceMs: number): Promise<void> {
    const emptied = new AbortController();
    const open = [...this.#sockets];
    const look = () => {
      if (this.#sockets.size === 0) emptied.abort();
    };
    for (const socket of open) socket.once('close', look);
    look();
    await pause(this.#options.clock, graceMs, emptied.signal);
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** The end of a stream that is not allowed to exist. */
class ForbiddenEnd implements LocalEnd {
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

class SocketEnd implements LocalEnd {
  readonly socket: Socket;
  readonly #port: number;
  readonly #events: LocalEvents;
  readonly #cancelDeadline: Cancel;
  #connected = false;
  #corked = false;
  #destroyed = false;
  #error: Error | null = null;

  constructor(port: number, { sourceAddress, pool, clock }: LocalForwardOptions, events: LocalEvents) {
    this.#port = port;
    this.#events = events;
    const reader = new PooledReader(pool);
    this.socket = connect({
      host: TARGET_HOST,
      port,
      localAddress: sourceAddress,
      noDelay: true,
      allowHalfOpen: true, // `ssh host command < file` ends one direction long before the other
      onread: reader.onread,
    });
    reader.attach(this.socket);
    reader.deliverTo((lease) => {
      if (!this.#destroyed) events.data(lease);
    });
    this.#cancelDeadline = clock.after(CONNECT_TIMEOUT_MS, () => this.#tooLate());
    this.socket.once('connect', () => this.#opened());
    this.socket.once('end', () => {
      if (!this.#destroyed) events.ended();
    });
    this.socket.on('error', (error) => {
      this.#error ??= error;
    });
    this.socket.once('close', () => this.#closed());
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
    // The frames of one read of the link leave in one system call; bench: a tenth to a third less CPU a byte.
    if (!this.#corked) {
      this.#corked = true;
      this.socket.cork();
      process.nextTick(this.#uncork);
    }
    this.socket.write(bytes, () => done());
  }

  readonly #uncork = (): void => {
    this.#corked = false;
    this.socket.uncork();
  };

  /**
   * As in `LocalEnd`. The service is on this machine, so even what it has received and not read is seen: a slow reader's
   * kernel takes bytes in steps of many seconds. What the kernel has of a write under way is counted twice meanwhile.
   */
  untakenBytes(): number {
    const connection = connectionOf(this.socket);
    if (connection === null) return this.socket.writableLength;
    const underWayBytes = readTcpState(connection)?.unacknowledgedBytes ?? 0;
    const unreadBytes = readPeerState(connection)?.unreadBytes ?? 0;
    return this.socket.writableLength + underWayBytes + unreadBytes;
  }

  end(): void {
    this.socket.end();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  destroy(): void {
    this.#destroyed = true;
    this.#cancelDeadline();
    this.socket.destroy();
  }
}
