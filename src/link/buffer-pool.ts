import type { Socket } from 'node:net';
import type { Lease } from '../protocol/endpoints.ts';

/** Bytes of one read. Four times what `pipe` allocates; beyond this the throughput no longer grew (loopback). */
const READ_BYTES = 256 * 1024;

/**
 * Idle buffers that are kept: always a few, and in a burst as many as are lent, or the kernel would map and clear fresh
 * pages for every read. As the burst ends so does the reason, so that an idle device keeps a few MiB at most.
 */
const KEPT_BUFFERS = { always: 4, atMost: 16 };

/**
 * Reads up to this size are copied out of their buffer. A keystroke that waits for a slow service would otherwise
 * hold 256 KiB, and the queues' limits, which count bytes, would bound nothing.
 */
const COPIED_BYTES = 32 * 1024;

/** Read buffers that are used again. A fresh one costs address space only: its pages are touched when read into. */
export class BufferPool {
  readonly #idle: Buffer[] = [];
  #lent = 0;

  take(): Buffer {
    this.#lent += 1;
    return this.#idle.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
  }

  give(buffer: Buffer): void {
    this.#lent -= 1;
    const kept = Math.min(Math.max(this.#lent, KEPT_BUFFERS.always), KEPT_BUFFERS.atMost);
    if (this.#idle.length < kept) this.#idle.push(buffer);
  }

  /** Buffers waiting to be used again. */
  get idle(): number {
    return this.#idle.length;
  }
}

/** One read of a socket: the part of a pooled buffer that was filled. The buffer goes back with the last holder. */
class PooledLease implements Lease {
  readonly bytes: Buffer;
  readonly #buffer: Buffer;
  readonly #pool: BufferPool;
  #holders = 1;

  constructor(pool: BufferPool, buffer: Buffer, length: number) {
    this.#pool = pool;
    this.#buffer = buffer;
    this.bytes = buffer.subarray(0, length);
  }

  retain(): void {
    this.#holders += 1;
  }

  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.#pool.give(this.#buffer);
  }
}

/** Bytes that stand in no pool, as a lease. */
export function ownedLease(bytes: Buffer): Lease {
  return { bytes, retain() {}, release() {} };
}

/**
 * Reads one socket into pooled buffers: `onread` goes to `net.connect` or `tls.connect`, then `attach` tells the
 * socket. As long as nobody takes the bytes they are held and the socket is not read, so that a peer that speaks
 * early loses nothing and costs no more than a read or two.
 */
export class PooledReader {
  readonly onread: { buffer: () => Buffer; callback: (length: number) => boolean };
  readonly #pool: BufferPool;
  readonly #held: Lease[] = [];
  #next: Buffer | null = null;
  #socket: Socket | null = null;
  #receive: ((lease: Lease) => void) | null = null;

  constructor(pool: BufferPool) {
    this.#pool = pool;
    this.onread = {
      buffer: () => (this.#next = this.#pool.take()),
      callback: (length) => this.#filled(length),
    };
  }

  attach(socket: Socket): void {
    this.#socket = socket;
    socket.once('close', () => this.#close());
  }

  /**
   * Hands every read to `receive`, those held until now first. The lease is released when `receive` returns. A `receive`
   * that calls `hold` gets no more: what is left belongs to the next.
   */
  deliverTo(receive: (lease: Lease) => void): void {
    this.#receive = receive;
    while (this.#receive === receive) {
      const lease = this.#held.shift();
      if (lease === undefined) {
        this.#socket?.resume();
        return;
      }
      receive(lease);
      lease.release();
    }
  }

  /** Holds what is read from now on, until the next `deliverTo`. */
  hold(): void {
    this.#receive = null;
    this.#socket?.pause();
  }

  /** Node asks for the next buffer as soon as this returns; its answer keeps the socket reading or stops it. */
  #filled(length: number): boolean {
    const buffer = this.#next;
    if (buffer === null) return false;
    this.#next = null;
    const lease = this.#lend(buffer, length);
    const receive = this.#receive;
    if (receive === null) {
      this.#held.push(lease);
      return false;
    }
    receive(lease);
    lease.release();
    return true;
  }

  #lend(buffer: Buffer, length: number): Lease {
    if (length > COPIED_BYTES) return new PooledLease(this.#pool, buffer, length);
    const copy = Buffer.from(buffer.subarray(0, length));
    this.#pool.give(buffer);
    return ownedLease(copy);
  }

  #close(): void {
    if (this.#next !== null) this.#pool.give(this.#next);
    this.#next = null;
  }
}
