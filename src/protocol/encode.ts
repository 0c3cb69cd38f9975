import { HEADER_BYTES, type ResetCode, TEXT_MAX_BYTES, TYPE } from './types.ts';

/** The 9 bytes before a payload of `length` bytes (README 2.1). */
export function encodeHeader(type: number, id: number, length: number): Buffer {
  return writeHeader(Buffer.allocUnsafe(HEADER_BYTES), type, id, length);
}

/** N: opens `id` to a local port; with `window`, the first credit towards us in bytes, as a v1 stream (README 4.2). */
export function encodeOpen(id: number, port: number, window: number | null): Buffer {
  const frame = control(TYPE.N, id, window === null ? 2 : 6);
  frame.writeUInt16BE(port, HEADER_BYTES);
  if (window !== null) frame.writeUInt32BE(window, HEADER_BYTES + 2);
  return frame;
}

/** C: full close of a stream. */
export function encodeClose(id: number): Buffer {
  return control(TYPE.C, id, 0);
}

/** F: half-close of a v1 stream. */
export function encodeEnd(id: number): Buffer {
  return control(TYPE.F, id, 0);
}

/** W: `bytes` of credit given back. */
export function encodeCredit(id: number, bytes: number): Buffer {
  const frame = control(TYPE.W, id, 4);
  frame.writeUInt32BE(bytes, HEADER_BYTES);
  return frame;
}

/** A: the result of an open, one of `OPEN_RESULT`. */
export function encodeAnswer(id: number, result: number, text: string): Buffer {
  return codeAndText(TYPE.A, id, [result], text);
}

/** R: reset of one stream. */
export function encodeReset(id: number, code: ResetCode, text: string): Buffer {
  return codeAndText(TYPE.R, id, [code], text);
}

/** G: we are going away; reconnect at a random time between the two, in whole seconds. */
export function encodeGoingAway(minSeconds: number, maxSeconds: number, text: string): Buffer {
  return codeAndText(TYPE.G, 0, [minSeconds, maxSeconds], text);
}

/** P or p with its 8-byte nonce. */
export function encodePing(type: typeof TYPE.P | typeof TYPE.p, nonce: Uint8Array): Buffer {
  const frame = control(type, 0, 8);
  frame.set(nonce, HEADER_BYTES);
  return frame;
}

/** What the agent's X frame says: how many streams it serves at once, and the first credit towards it in bytes. */
export interface Settings {
  maxStreams: number;
  window: number;
}

/** X: the agent's "I know v1" (README 4.1). */
export function encodeSettings(settings: Settings): Buffer {
  const payload = Buffer.from(JSON.stringify({ v: 1, maxStreams: settings.maxStreams, window: settings.window }));
  return Buffer.concat([encodeHeader(TYPE.X, 0, payload.length), payload]);
}

function codeAndText(type: number, id: number, codes: number[], text: string): Buffer {
  const words = shortened(text);
  const frame = control(type, id, codes.length * 2 + words.length);
  codes.forEach((code, index) => {
    frame.writeUInt16BE(code, HEADER_BYTES + index * 2);
  });
  frame.set(words, HEADER_BYTES + codes.length * 2);
  return frame;
}

/** The text as UTF-8, cut between characters where it is too long. */
function shortened(text: string): Buffer {
  const bytes = Buffer.from(text);
  let end = Math.min(bytes.length, TEXT_MAX_BYTES);
  while (end < bytes.length && end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.subarray(0, end);
}

function control(type: number, id: number, length: number): Buffer {
  return writeHeader(Buffer.allocUnsafe(HEADER_BYTES + length), type, id, length);
}

function writeHeader(target: Buffer, type: number, id: number, length: number): Buffer {
  target[0] = type;
  target.writeUInt32BE(id, 1);
  target.writeUInt32BE(length, 5);
  return target;
}
