import type { Socket } from 'node:net';
import type { Lease, LocalEnd } from '../protocol/endpoints.ts';
import type { PooledReader } from './buffer-pool.ts';
import { connectionOf, type FindLine, readPeerState, readTcpState } from './tcp-table.ts';

/** What a socket reports as the local end of a stream; nothing after `destroy`. */
export interface SocketEndEvents {
  data(lease: Lease): void;
  /** The other side finished sending. */
  ended(): void;
  /** Both directions are over; `error` is null after an orderly end. */
  closed(error: Error | null): void;
}

/** A socket as the local end of a stream: each direction ends by itself, so it must allow half-open connections. */
export class SocketEnd implements LocalEnd {
  readonly #socket: Socket;
  readonly #findLine: FindLine;
  #corked = false;
  #destroyed = false;
  #error: Error | null = null;

  /** Reading begins at once. */
  constructor(
    { socket, reader }: { socket: Socket; reader: PooledReader },
    events: SocketEndEvents,
    findLine: FindLine,
  ) {
    this.#socket = socket;
    this.#findLine = findLine;
    reader.deliverTo((lease) => {
      if (!this.#destroyed) events.data(lease);
    });
    socket.once('end', () => {
      if (!this.#destroyed) events.ended();
    });
    socket.on('error', (error) => {
      this.#error ??= error;
    });
    socket.once('close', () => {
      if (!this.#destroyed) events.closed(this.#error);
    });
  }

  /** Nothing is reported any more. */
  get destroyed(): boolean {
    return this.#destroyed;
  }

  write(bytes: Uint8Array, done: () => void): void {
    // The frames of one read of the link leave in one system call; bench: a tenth to a third less CPU a byte.
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(this.#uncork);
    }
    this.#socket.write(bytes, () => done());
  }

  readonly #uncork = (): void => {
    this.#corked = false;
    this.#socket.uncork();
  };

  /**
   * As in `LocalEnd`. Where the other side is on this machine, even what it has received and not read is seen: a slow
   * reader's kernel takes bytes in steps of many seconds. What the kernel has of a write under way is counted twice
   * meanwhile.
   */
  untakenBytes(): number {
    const connection = connectionOf(this.#socket);
    if (connection === null) return this.#socket.writableLength;
    const underWayBytes = readTcpState(connection, this.#findLine)?.unacknowledgedBytes ?? 0;
    const unreadBytes = readPeerState(connection, this.#findLine)?.unreadBytes ?? 0;
    return this.#socket.writableLength + underWayBytes + unreadBytes;
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
