import { isUtf8 } from 'node:buffer';
import { parseJson } from '../../config/json-text.ts';

/** A longer line is none; deployed agents send about 60 bytes. */
export const HELLO_MAX_BYTES = 4 * 1024;
const TOKEN_MAX_CHARACTERS = 256;
/** As `Device.key`. */
const DEVICE_KEY = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Who an agent says it is (protocol/README 1.2). */
export interface Hello {
  readonly deviceKey: string;
  /** A secret. */
  readonly token: string;
}

/** What came instead of a hello; the sentence quotes nothing, since a token may be in it. */
export interface NoHello {
  readonly what: 'tls' | 'http' | 'ssh' | 'other';
  readonly reason: string;
}

/** With a hello come the bytes behind its line, a copy: frames already (protocol/README 1.4). */
export type FirstLine = { readonly hello: Hello; readonly rest: Buffer } | { readonly none: NoHello };

/** Collects the first line of an agent, whatever its chunks. Its deadline is the caller's. */
export class HelloReader {
  #line: Buffer = Buffer.alloc(0);

  /** Takes the next bytes; null where more are needed. */
  push(chunk: Uint8Array): FirstLine | null {
    const lineEnd = chunk.indexOf(0x0a);
    const ours = lineEnd === -1 ? chunk : chunk.subarray(0, lineEnd);
    // One byte over the maximum is enough to know that the line is too long.
    const room = HELLO_MAX_BYTES + 1 - this.#line.length;
    this.#line = Buffer.concat([this.#line, ours.subarray(0, Math.max(0, room))]);

    const foreign = recognise(this.#line);
    if (foreign !== null) return { none: foreign };
    if (this.#line.length > HELLO_MAX_BYTES) return none(`the first line has no end within ${HELLO_MAX_BYTES} bytes`);
    if (lineEnd === -1) return null;
    const hello = parse(this.#line);
    return typeof hello === 'string' ? none(hello) : { hello, rest: Buffer.from(chunk.subarray(lineEnd + 1)) };
  }

  /** Bytes that came so far. */
  get length(): number {
    return this.#line.length;
  }
}

const none = (reason: string): FirstLine => ({ none: { what: 'other', reason } });

/** Whether the first byte of a connection begins TLS: no text of ours does. */
export const isTls = (first: unknown) => first === 0x16 || first === 0x15;

const HTTP = /^(?:GET|HEAD|POST|PUT|DELETE|OPTIONS|CONNECT|PATCH|TRACE|PRI) /;

/** Other protocols that call on a wrong port, by their first bytes, without waiting for a line end. */
function recognise(start: Buffer): NoHello | null {
  if (isTls(start[0])) return { what: 'tls', reason: 'TLS is not spoken on this port' };
  const begin = start.toString('latin1', 0, 8);
  if (HTTP.test(begin)) return { what: 'http', reason: 'this port is for tunnel agents, not for HTTP' };
  if (begin.startsWith('SSH-')) return { what: 'ssh', reason: 'this port is for tunnel agents, not for SSH' };
  return null;
}

/** The hello in the line, or why there is none. Liberal in what does no harm: further keys, blanks, `\r\n`. */
function parse(line: Buffer): Hello | string {
  if (!isUtf8(line)) return 'the first line is not UTF-8';
  const text = line.toString();
  if (text.trim() === '') return 'the first line is empty';
  const parsed = parseJson(text);
  if ('fault' in parsed) return 'the first line is not JSON, or repeats a key';
  const value = parsed.value;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'the first line is no JSON object';
  // Whoever sends this tries something else than to connect.
  if (Object.hasOwn(value, '__proto__')) return 'the first line has a key "__proto__"';
  const { token, name } = Object.assign(Object.create(null), value) as Record<string, unknown>;
  if (typeof token !== 'string' || token === '' || token.length > TOKEN_MAX_CHARACTERS)
    return `"token" is not a text of 1 to ${TOKEN_MAX_CHARACTERS} characters`;
  if (typeof name !== 'string' || !DEVICE_KEY.test(name)) return '"name" is not a device key';
  return { token, deviceKey: name };
}

/** The accepting reply; v1 is offered to everybody, and ignored by agents that do not know it (protocol/README 4.1). */
export function encodeAccepted(deviceKey: string): Buffer {
  return line({ status: 'authenticated', device_key: deviceKey, ext: { v: 1 } });
}

/** The refusing reply, in the shape that deployed agents log best. */
export function encodeRefused(reason: string): Buffer {
  return line({ error: 'auth_failed', reason });
}

const line = (value: object) => Buffer.from(`${JSON.stringify(value)}\n`);
