import { isUtf8 } from 'node:buffer';
import { cleanText } from '../support/text.ts';
import type { Settings } from './encode.ts';
import { CONTROL_PAYLOAD_MAX_BYTES, HEADER_BYTES, type Role, TYPE, U32_MAX } from './types.ts';

/** A run of this many frames, or payload bytes, of unknown types and nothing else is no longer our protocol (README 2.7). */
export const UNKNOWN_RUN_MAX_FRAMES = 32;
export const UNKNOWN_RUN_MAX_BYTES = 16 * 1024 * 1024;

/** Where decoded frames go. The slices are views of the chunk that was pushed, valid during the call. */
export interface FrameSink {
  /** The header of a D has been read. `length` is what it claims, up to 4 GiB; its bytes follow as `data`. */
  dataBegin(id: number, length: number): void;
  /** The next bytes of the D that began last, as they arrive; never empty. */
  data(slice: Buffer): void;
  /** Any other known frame, whole; its payload is at most `CONTROL_PAYLOAD_MAX_BYTES` long. */
  control(type: number, id: number, payload: Buffer): void;
  /** The bytes are not the protocol. Nothing follows. */
  violation(sentence: string): void;
}

/** The frame types that a side understands at some moment; all others are skipped and counted (README 2.5, 4.2). */
export type KnownTypes = ReadonlySet<number>;

const LEGACY: Record<Role, readonly number[]> = { agent: [TYPE.N, TYPE.D, TYPE.C], gateway: [TYPE.D, TYPE.C] };
const V1_BOTH = [TYPE.P, TYPE.p, TYPE.W, TYPE.F, TYPE.R, TYPE.G];

/**
 * What `role` understands from its peer: `legacy`; `offered` (a gateway that waits for X); `v1` (X sent or read).
 */
export function knownTypes(role: Role, phase: 'legacy' | 'offered' | 'v1'): KnownTypes {
  const types = [...LEGACY[role]];
  if (phase === 'v1') types.push(...V1_BOTH);
  if (role === 'gateway' && phase !== 'legacy') types.push(TYPE.X);
  if (role === 'gateway' && phase === 'v1') types.push(TYPE.A);
  return new Set(types);
}

/**
 * Turns bytes into frames, however the bytes are cut into chunks. It holds at most one header and one control payload
 * (about 1 KiB): D payloads pass through as slices, and a length that lies costs nothing (README 2.6).
 */
export class FrameDecoder {
  known: KnownTypes;
  /** Frames of unknown types that were skipped so far. */
  unknownFrames = 0;

  readonly #sink: FrameSink;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  readonly #control = Buffer.alloc(CONTROL_PAYLOAD_MAX_BYTES);
  #headerBytes = 0;
  #type = 0;
  #id = 0;
  #length = 0;
  #missingBytes = 0;
  #payload: 'none' | 'data' | 'control' | 'skip' = 'none';
  #unknownRunFrames = 0;
  #unknownRunBytes = 0;
  #stopped = false;

  constructor(sink: FrameSink, known: KnownTypes) {
    this.#sink = sink;
    this.known = known;
  }

  /** Whether the bytes so far end inside a frame. */
  get insideFrame(): boolean {
    return this.#headerBytes > 0 || this.#missingBytes > 0;
  }

  /** No further call into the sink, even when `push` is running. */
  stop(): void {
    this.#stopped = true;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#stopped) {
      at = this.#missingBytes === 0 ? this.#readHeader(chunk, at) : this.#readPayload(chunk, at);
    }
  }

  #readHeader(chunk: Buffer, at: number): number {
    if (this.#headerBytes === 0 && chunk.length - at >= HEADER_BYTES) {
      this.#begin(chunk, at);
      return at + HEADER_BYTES;
    }
    const taken = chunk.copy(this.#header, this.#headerBytes, at);
    this.#headerBytes += taken;
    if (this.#headerBytes === HEADER_BYTES) {
      this.#headerBytes = 0;
      this.#begin(this.#header, 0);
    }
    return at + taken;
  }

  #begin(header: Buffer, at: number): void {
    this.#type = header[at] ?? 0;
    this.#id = header.readUInt32BE(at + 1);
    this.#length = header.readUInt32BE(at + 5);
    this.#missingBytes = this.#length;
    if (!this.known.has(this.#type)) {
      this.#beginUnknown();
      return;
    }
    this.#unknownRunFrames = 0;
    this.#unknownRunBytes = 0;
    if (this.#type === TYPE.D) {
      this.#payload = 'data';
      this.#sink.dataBegin(this.#id, this.#length);
    } else if (this.#length > CONTROL_PAYLOAD_MAX_BYTES) {
      this.#violate(`a frame ${this.#typeName()} claims ${this.#length} bytes, more than ${CONTROL_PAYLOAD_MAX_BYTES}`);
    } else if (this.#length === 0) {
      this.#sink.control(this.#type, this.#id, this.#control.subarray(0, 0));
    } else {
      this.#payload = 'control';
    }
  }

  #beginUnknown(): void {
    this.#payload = 'skip';
    this.unknownFrames += 1;
    this.#unknownRunFrames += 1;
    if (this.#unknownRunFrames > UNKNOWN_RUN_MAX_FRAMES) {
      this.#violate(`more than ${UNKNOWN_RUN_MAX_FRAMES} frames of unknown types in a row, last ${this.#typeName()}`);
    }
  }

  #readPayload(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#missingBytes);
    const had = this.#length - this.#missingBytes;
    this.#missingBytes -= end - at;
    if (this.#payload === 'data') {
      this.#sink.data(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end));
    } else if (this.#payload === 'skip') {
      this.#unknownRunBytes += end - at;
      if (this.#unknownRunBytes > UNKNOWN_RUN_MAX_BYTES) {
        this.#violate(`more than ${UNKNOWN_RUN_MAX_BYTES} bytes of unknown frames in a row, last ${this.#typeName()}`);
      }
    } else if (had === 0 && this.#missingBytes === 0) {
      this.#sink.control(this.#type, this.#id, chunk.subarray(at, end));
    } else {
      chunk.copy(this.#control, had, at, end);
      if (this.#missingBytes === 0) this.#sink.control(this.#type, this.#id, this.#control.subarray(0, this.#length));
    }
    return end;
  }

  #violate(sentence: string): void {
    this.stop();
    this.#sink.violation(sentence);
  }

  #typeName(): string {
    const printable = this.#type > 0x20 && this.#type < 0x7f;
    return printable ? `'${String.fromCharCode(this.#type)}'` : `0x${this.#type.toString(16).padStart(2, '0')}`;
  }
}

/** What X says, or null where it is malformed (README 4.1). Unknown fields are allowed. */
export function decodeSettings(payload: Buffer): Settings | null {
  const value = parseJson(payload);
  if (typeof value !== 'object' || value === null) return null;
  const { v, maxStreams, window } = value as Record<string, unknown>;
  if (v !== 1 || !isCount(maxStreams) || !isCount(window)) return null;
  return { maxStreams, window };
}

/** The JSON value in the bytes, or undefined where they hold none or are not UTF-8 (`TextDecoder` needs ICU for that). */
export function parseJson(bytes: Buffer): unknown {
  if (!isUtf8(bytes)) return undefined;
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= U32_MAX;
}

/** u16 code and text, of A and R; a payload too short for its code reads as `missing`. */
export function decodeCode(payload: Buffer, missing: number): { code: number; text: string } {
  if (payload.length < 2) return { code: missing, text: '' };
  return { code: payload.readUInt16BE(0), text: cleanText(payload.toString('utf8', 2)) };
}
