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

/** Sockets that read into a buffer of their own; one that falls silent in the middle of a bulk keeps its buffer. */
const OWN_BUFFERS_MAX = 64;

/**
 * Read buffers that are used again. A socket must have a buffer before anything comes, so all that are not busy read
 * into one and the same: thousands of idle sessions hold nothing. Fresh ones cost address space only: their pages are
 * touched when read into.
 */
export class BufferPool {
  /** What was read into it is to be copied before the reader returns: the next read, of any socket, goes there, too. */
  readonly shared: Buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  readonly #idle: Buffer[] = [];
  #lent = 0;
  #own = 0;

  take(): Buffer {
    this.#lent += 1;
    return this.#idle.pop() ?? Buffer.allocUnsafeSlow(READ_BYTES);
  }

  give(buffer: Buffer): void {
    this.#lent -= 1;
    const kept = Math.min(Math.max(this.#lent, KEPT_BUFFERS.always), KEPT_BUFFERS.atMost);
    if (this.#idle.length < kept) this.#idle.push(buffer);
  }

  /** A buffer for a busy socket to read into; null where too many have one. Told back once it was read into. */
  takeOwn(): Buffer | null {
    if (this.#own >= OWN_BUFFERS_MAX) return null;
    this.#own += 1;
    return this.take();
  }

  ownRead(): void {
    this.#own -= 1;
  }

  /** Buffers waiting to be used again. */
  get idle(): number {
    return this.#idle.length;
  }

  /** Buffers that somebody holds. */
  get lent(): number {
    return this.#lent;
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
 * socket; for accepted sockets see `adopt`. As long as nobody takes the bytes they are held and the socket is not read,
 * so that a peer that speaks early loses nothing and costs no more than a read or two.
 */
export class PooledReader {
  readonly onread: { buffer: () => Buffer; callback: (length: number) => boolean };
  readonly #pool: BufferPool;
  readonly #held: Lease[] = [];
  /** Where the next read goes; null for the shared buffer. */
  #own: Buffer | null = null;
  /** The last read was a large one: the next is worth a buffer of its own, from which nothing is copied. */
  #busy = false;
  #asked = false;
  #closed = false;
  #socket: Socket | null = null;
  #receive: ((lease: Lease) => void) | null = null;

  constructor(pool: BufferPool) {
    this.#pool = pool;
    this.onread = { buffer: () => this.#nextBuffer(), callback: (length) => this.#filled(length) };
  }

  /** Whether Node reads into our buffers. Sockets that are given `onread` without being dialled may ignore it. */
  get inUse(): boolean {
    return this.#asked;
  }

  attach(socket: Socket): void {
    this.#socket = socket;
    socket.once('close', () => this.#close());
  }

  /** The same by the events of a socket that allocates its own buffers. */
  attachEvents(socket: Socket): void {
    this.attach(socket);
    socket.on('data', (bytes: Buffer) => {
      if (!this.#deliver(ownedLease(bytes))) socket.pause();
    });
    socket.pause();
  }

  /** Bytes that were read before, to be delivered first. */
  begin(bytes: Buffer): void {
    this.#held.push(ownedLease(bytes));
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

  #nextBuffer(): Buffer {
    this.#asked = true;
    this.#own = this.#busy && !this.#closed ? this.#pool.takeOwn() : null;
    return this.#own ?? this.#pool.shared;
  }

  /** Node asks for the next buffer as soon as this returns; its answer keeps the socket reading or stops it. */
  #filled(length: number): boolean {
    if (this.#closed) return false;
    this.#busy = length > COPIED_BYTES;
    return this.#deliver(this.#lend(length));
  }

  #deliver(lease: Lease): boolean {
    const receive = this.#receive;
    if (receive === null) {
      this.#held.push(lease);
      return false;
    }
    receive(lease);
    lease.release();
    return true;
  }

  #lend(length: number): Lease {
    const own = this.#takeBack();
    if (length <= COPIED_BYTES) {
      const copy = Buffer.from((own ?? this.#pool.shared).subarray(0, length));
      if (own !== null) this.#pool.give(own);
      return ownedLease(copy);
    }
    if (own !== null) return new PooledLease(this.#pool, own, length);
    const buffer = this.#pool.take();
    this.#pool.shared.copy(buffer, 0, 0, length);
    return new PooledLease(this.#pool, buffer, length);
  }

  #takeBack(): Buffer | null {
    const own = this.#own;
    this.#own = null;
    if (own !== null) this.#pool.ownRead();
    return own;
  }

  #close(): void {
    this.#closed = true;
    const own = this.#takeBack();
    if (own !== null) this.#pool.give(own);
  }
}
