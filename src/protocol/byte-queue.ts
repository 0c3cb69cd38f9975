import type { Lease } from './endpoints.ts';
import { Fifo } from './fifo.ts';

/**
 * How many pooled read buffers (256 KiB each) a queue may keep from their pool for the sake of small slices. In normal
 * flow bytes leave before the second next buffer is read, so nothing is copied; when the way out is blocked, one byte
 * must not hold a whole buffer, so that a queue's memory stays near the bytes it holds.
 */
const HELD_LEASES_MAX = 2;
/** Small slices that are copied share blocks of this size, so that a queue of single bytes costs little more than bytes. */
const BLOCK_BYTES = 16 * 1024;

interface Piece {
  readonly buffer: Buffer;
  start: number;
  end: number;
  /** Null where the bytes are our own copy. */
  readonly lease: Lease | null;
}

/**
 * Bytes on their way from a lender's buffers to a writer: they wait, are taken for a write, and are done when that
 * write is. Writes finish in the order in which they were made, so `done` always means the oldest taken bytes.
 */
export class ByteQueue {
  readonly #waiting = new Fifo<Piece>();
  readonly #taken = new Fifo<Piece>();
  #waitingBytes = 0;
  #takenBytes = 0;
  #doneBytes = 0;
  #lastLease: Lease | null = null;
  #heldLeases = 0;

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Taken and not done. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  get takenPieces(): number {
    return this.#taken.length;
  }

  /** Held in memory: waiting or taken. */
  get bytes(): number {
    return this.#waitingBytes + this.#takenBytes;
  }

  /** Ever taken. */
  get totalTakenBytes(): number {
    return this.#doneBytes + this.#takenBytes;
  }

  /** Adds bytes that lie in `lease`: kept there, or copied by the rule above. */
  push(bytes: Buffer, lease: Lease): void {
    this.#waitingBytes += bytes.length;
    if (lease !== this.#lastLease && this.#heldLeases >= HELD_LEASES_MAX && isSmallIn(bytes, lease)) {
      this.#pushCopy(bytes);
      return;
    }
    if (lease !== this.#lastLease) this.#heldLeases += 1;
    this.#lastLease = lease;
    lease.retain();
    this.#waiting.push({ buffer: bytes, start: 0, end: bytes.length, lease });
  }

  #pushCopy(bytes: Buffer): void {
    const block = this.#waiting.last();
    if (block !== undefined && block.lease === null && block.buffer.length - block.end >= bytes.length) {
      bytes.copy(block.buffer, block.end);
      block.end += bytes.length;
      return;
    }
    const buffer = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, bytes.length));
    bytes.copy(buffer);
    this.#waiting.push({ buffer, start: 0, end: bytes.length, lease: null });
  }

  /** The next waiting bytes, at most `maxBytes`, from one buffer; empty only where nothing waits. */
  take(maxBytes: number): Buffer {
    const piece = this.#waiting.first();
    if (piece === undefined) return EMPTY;
    const length = Math.min(maxBytes, piece.end - piece.start);
    const { buffer, start } = piece;
    if (start + length === piece.end) {
      this.#waiting.shift();
      this.#taken.push(piece);
    } else {
      // Each part holds the buffer for itself: the rest may be dropped while this part is still being written.
      piece.lease?.retain();
      this.#taken.push({ buffer, start, end: start + length, lease: piece.lease });
      piece.start += length;
    }
    this.#waitingBytes -= length;
    this.#takenBytes += length;
    return start === 0 && length === buffer.length ? buffer : buffer.subarray(start, start + length);
  }

  /** The oldest taken bytes have been written, or dropped by the writer; returns how many they were. */
  done(): number {
    const piece = this.#taken.shift();
    if (piece === undefined) throw new Error('a write was reported done twice');
    const length = piece.end - piece.start;
    this.#takenBytes -= length;
    this.#doneBytes += length;
    this.#letGo(piece, this.#taken.first() ?? this.#waiting.first());
    return length;
  }

  /** Drops what waits and returns how many bytes that was; what was taken stays until it is done. */
  clear(): number {
    const dropped = this.#waitingBytes;
    for (let piece = this.#waiting.shift(); piece !== undefined; piece = this.#waiting.shift()) {
      this.#letGo(piece, this.#waiting.first());
    }
    this.#waitingBytes = 0;
    return dropped;
  }

  #letGo(piece: Piece, next: Piece | undefined): void {
    if (piece.lease === null) return;
    if (piece.lease !== next?.lease) {
      this.#heldLeases -= 1;
      if (piece.lease === this.#lastLease) this.#lastLease = null;
    }
    piece.lease.release();
  }
}

const EMPTY = Buffer.alloc(0);

function isSmallIn(bytes: Buffer, lease: Lease): boolean {
  return bytes.length < lease.bytes.buffer.byteLength / 2;
}
