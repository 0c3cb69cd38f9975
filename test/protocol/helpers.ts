import type { Lease, Link, LocalEnd, LocalEvents, OpenLocal } from '../../src/protocol/endpoints.ts';
import { DEVICE_LIMITS, type MuxLimits } from '../../src/protocol/limits.ts';
import { Mux, type MuxEvents } from '../../src/protocol/mux.ts';
import type { Failure, FailureCode } from '../../src/support/failures.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** Bytes written by hand: `hex('4e 00000001 00000002 0016')`. */
export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
}

/** A frame put together without the product's encoder. */
export function frame(type: string, id: number, payload: Uint8Array | string = ''): Buffer {
  const bytes = Buffer.from(payload);
  const header = Buffer.alloc(9);
  header.write(type, 'latin1');
  header.writeUInt32BE(id, 1);
  header.writeUInt32BE(bytes.length, 5);
  return Buffer.concat([header, bytes]);
}

export function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export interface Frame {
  type: string;
  id: number;
  payload: Buffer;
}

/** Takes bytes apart without the product's decoder; throws where they are not whole frames. */
export function parseFrames(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  let at = 0;
  while (at < bytes.length) {
    const length = bytes.readUInt32BE(at + 5);
    if (at + 9 + length > bytes.length) throw new Error('bytes end inside a frame');
    const payload = bytes.subarray(at + 9, at + 9 + length);
    frames.push({ type: String.fromCharCode(bytes[at]!), id: bytes.readUInt32BE(at + 1), payload });
    at += 9 + length;
  }
  return frames;
}

/** One line a frame, payloads in hex, long data as its length: `D 1 6869`. */
export function show(frames: Frame[]): string[] {
  return frames.map(({ type, id, payload }) => {
    const text = type === 'D' && payload.length > 40 ? `${payload.length} bytes` : payload.toString('hex');
    return `${type} ${id} ${text}`.trim();
  });
}

/** Lends buffers as a socket's read pool does, counts what is held, and spoils a buffer as soon as nobody holds it. */
export class Lender {
  held = 0;
  heldBytes = 0;
  readonly #bufferBytes: number;

  /** @param bufferBytes size of the pooled buffer in which each chunk lies */
  constructor(bufferBytes = 0) {
    this.#bufferBytes = bufferBytes;
  }

  /** Lends a copy of `bytes` for the duration of `use`, longer where it is retained. */
  lend(bytes: Uint8Array, use: (lease: Lease) => void): void {
    const memory = Buffer.allocUnsafeSlow(Math.max(this.#bufferBytes, bytes.length));
    memory.set(bytes);
    let holders = 0;
    const lease: Lease = {
      bytes: memory.subarray(0, bytes.length),
      retain: () => {
        if (holders === 0) {
          this.held += 1;
          this.heldBytes += memory.length;
        }
        holders += 1;
      },
      release: () => {
        if (holders === 0) throw new Error('a lease was released more often than retained');
        holders -= 1;
        if (holders > 0) return;
        this.held -= 1;
        this.heldBytes -= memory.length;
        memory.fill(0xee);
      },
    };
    lease.retain();
    use(lease);
    lease.release();
  }
}

/** A link whose other side is the test: what is written waits until the kernel is made to take it. */
export class FakeLink implements Link {
  queuedBytes = 0;
  paused = false;
  ended = false;
  destroyed = false;
  /** Each write that the kernel has taken, as one buffer. */
  readonly writes: Buffer[] = [];
  readonly #queue: { chunks: readonly Uint8Array[]; bytes: number; done: (() => void) | undefined }[] = [];
  onDrained: () => void = () => undefined;

  write(chunks: readonly Uint8Array[], done?: () => void): void {
    if (this.ended || this.destroyed) throw new Error('written after the end of the link');
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    this.queuedBytes += bytes;
    this.#queue.push({ chunks, bytes, done });
  }

  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  end(): void {
    if (this.ended) throw new Error('the link was ended twice');
    this.ended = true;
  }
  destroy(): void {
    this.destroyed = true;
  }

  /** The kernel takes one write; false where none waits. */
  takeOne(): boolean {
    const next = this.#queue.shift();
    if (next === undefined) return false;
    if (!this.destroyed) this.writes.push(Buffer.concat(next.chunks));
    this.queuedBytes -= next.bytes;
    next.done?.();
    if (this.queuedBytes === 0 && !this.destroyed) this.onDrained();
    return true;
  }

  /** The kernel takes all, and what is written in consequence. */
  takeAll(): void {
    while (this.takeOne());
  }

  /** Takes all and gives the frames written since the last call. */
  sent(): Frame[] {
    this.takeAll();
    return parseFrames(Buffer.concat(this.writes.splice(0)));
  }
}

/** A local end played by the test: its service takes what `take` lets it take. */
export class FakeLocal implements LocalEnd {
  readonly port: number;
  readonly events: LocalEvents;
  readonly received: Buffer[] = [];
  paused = false;
  ended = false;
  destroyed = false;
  /** The service takes everything at once. */
  eager = true;
  writes = 0;
  readonly #queue: { bytes: Uint8Array; done: () => void }[] = [];

  constructor(port: number, events: LocalEvents) {
    this.port = port;
    this.events = events;
  }

  write(bytes: Uint8Array, done: () => void): void {
    if (this.ended || this.destroyed) throw new Error('written after the end');
    this.writes += 1;
    this.#queue.push({ bytes, done });
  }
  end(): void {
    if (this.ended) throw new Error('ended twice');
    this.ended = true;
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  destroy(): void {
    this.destroyed = true;
  }

  get queuedBytes(): number {
    return this.#queue.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  /** The service takes one write; false where none waits. */
  takeOne(): boolean {
    const next = this.#queue.shift();
    if (next === undefined) return false;
    if (!this.destroyed) this.received.push(Buffer.from(next.bytes));
    next.done();
    return true;
  }

  takeAll(): void {
    while (this.takeOne());
  }

  /** All bytes that the service has taken. */
  get bytes(): Buffer {
    return Buffer.concat(this.received);
  }
}

/** A session driven frame by frame. */
export class Bench {
  readonly clock = new FakeClock();
  readonly link = new FakeLink();
  readonly lender: Lender;
  readonly locals: FakeLocal[] = [];
  readonly notes: { code: FailureCode; sentence: string }[] = [];
  readonly goingAway: { minMs: number; maxMs: number; text: string }[] = [];
  readonly ends: (Failure | null)[] = [];
  readonly mux: Mux;

  constructor(options: { role?: 'agent' | 'gateway'; v1: boolean; limits?: Partial<MuxLimits>; bufferBytes?: number }) {
    this.lender = new Lender(options.bufferBytes);
    const events: MuxEvents = {
      ended: (failure) => this.ends.push(failure),
      goingAway: (minMs, maxMs, text) => this.goingAway.push({ minMs, maxMs, text }),
      note: (code, sentence) => this.notes.push({ code, sentence }),
    };
    const { clock, link } = this;
    const common = { v1: options.v1, link, clock, limits: { ...DEVICE_LIMITS, ...options.limits }, events };
    this.mux =
      options.role === 'gateway'
        ? new Mux({ ...common, role: 'gateway' })
        : new Mux({ ...common, role: 'agent', openLocal: this.openLocal });
    this.link.onDrained = () => this.mux.drained();
  }

  readonly openLocal: OpenLocal = (port, events) => {
    const local = new FakeLocal(port, events);
    this.locals.push(local);
    return local;
  };

  /** The local end made last. */
  get local(): FakeLocal {
    const local = this.locals.at(-1);
    if (local === undefined) throw new Error('no local end was opened');
    return local;
  }

  /** The peer sends these frames in one chunk. */
  receive(...frames: Uint8Array[]): void {
    this.lender.lend(Buffer.concat(frames), (lease) => this.mux.receive(lease));
  }

  /** The service behind a local end sends bytes. */
  serve(local: FakeLocal, bytes: Uint8Array | string): void {
    this.lender.lend(Buffer.from(bytes), (lease) => local.events.data(lease));
  }

  /** What reached the link since the last call, one line a frame. */
  sent(): string[] {
    return show(this.link.sent());
  }

  /** Ends all, and tells what is left behind: nothing, in a right program. */
  leftovers(): { leases: number; timers: number } {
    this.mux.destroy();
    this.link.takeAll();
    for (const local of this.locals) local.takeAll();
    return { leases: this.lender.held, timers: this.clock.pending };
  }
}

export const NOTHING_LEFT = { leases: 0, timers: 0 };
