import { cleanText } from '../support/text.ts';
import { parseJson } from './decode.ts';
import { TYPE } from './types.ts';

/** README 1.5: a reply that has no line end by then is none. */
export const REPLY_MAX_BYTES = 4 * 1024;

/** The line that the agent sends first: exactly these two keys, in this order (README 1.2). */
export function encodeHello(hello: { token: string; deviceKey: string }): Buffer {
  return Buffer.from(`${JSON.stringify({ token: hello.token, name: hello.deviceKey })}\n`);
}

/** What the peer answered to the hello (README 1.3–1.6). Its texts are fit for a log. */
export type Reply =
  | { kind: 'accepted'; deviceKey: string | null; v1: boolean }
  | { kind: 'refused'; reason: string }
  | { kind: 'not-protocol'; what: 'tls' | 'http' | 'ssh' | 'frames' | 'other'; sentence: string };

/**
 * Collects the reply line, whatever its chunks. What else may answer on a port is recognised by its first bytes, so
 * that a wrong port is named at once rather than at the deadline, which is the caller's.
 */
export class ReplyReader {
  readonly #secret: string;
  #line: Buffer = Buffer.alloc(0);

  /** @param secret masked wherever the peer's text repeats it: refusals are logged, tokens never are */
  constructor(secret = '') {
    this.#secret = secret;
  }

  /** Takes the next bytes. With the reply comes `rest`, a copy of the bytes behind its line: frames already (README 1.4). */
  push(chunk: Uint8Array): { reply: Reply; rest: Buffer } | null {
    const lineEnd = chunk.indexOf(0x0a);
    const ours = lineEnd === -1 ? chunk : chunk.subarray(0, lineEnd);
    // One byte over the maximum is enough to know that the line is too long.
    const room = REPLY_MAX_BYTES + 1 - this.#line.length;
    this.#line = Buffer.concat([this.#line, ours.subarray(0, Math.max(0, room))]);

    const foreign = recognise(this.#line);
    if (foreign !== null) return { reply: foreign, rest: Buffer.alloc(0) };
    if (this.#line.length > REPLY_MAX_BYTES) {
      return { reply: other(`the reply has no line end within ${REPLY_MAX_BYTES} bytes`), rest: Buffer.alloc(0) };
    }
    if (lineEnd === -1) return null;
    return { reply: this.#parse(), rest: Buffer.from(chunk.subarray(lineEnd + 1)) };
  }

  /**
   * The peer closed before the line end: null where it had sent nothing at all (README 1.6), else the best reading of
   * what it sent, which is never an acceptance.
   */
  closed(): Reply | null {
    if (this.#line.length === 0) return null;
    const reply = this.#parse();
    return reply.kind === 'accepted' ? other('the connection was closed before the end of the reply line') : reply;
  }

  #parse(): Reply {
    const value = parseJson(this.#line);
    if (value === undefined) {
      return other(this.#line.toString().trim() === '' ? 'the reply is an empty line' : 'the reply is not JSON');
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return other('the reply is JSON, but not an object');
    }
    const status = textOf(value, 'status')?.toLowerCase();
    if (status === 'authenticated' || status === 'ok') {
      const deviceKey = textOf(value, 'device_key');
      return { kind: 'accepted', deviceKey: deviceKey === null ? null : this.#clean(deviceKey), v1: offersV1(value) };
    }
    return { kind: 'refused', reason: this.#reason(value) };
  }

  /** One text for the three shapes of refusal seen in the field (README 1.5). */
  #reason(reply: object): string {
    const parts = ['error', 'message', 'reason'].map((key) => textOf(reply, key)).filter((part) => part !== null);
    const said = this.#clean([...new Set(parts)].join(': '));
    if (said !== '') return said;
    const status = textOf(reply, 'status');
    return status === null ? 'the reply has no status and no reason' : `status "${this.#clean(status)}", no reason`;
  }

  #clean(text: string): string {
    return cleanText(this.#secret === '' ? text : text.replaceAll(this.#secret, '[secret]'));
  }
}

function recognise(start: Buffer): Reply | null {
  const first = start[0];
  if (first === 0x15 || first === 0x16) {
    return { kind: 'not-protocol', what: 'tls', sentence: 'the peer answered with a TLS record: it speaks TLS here' };
  }
  const begin = start.toString('latin1', 0, 5);
  if (begin === 'HTTP/') {
    return { kind: 'not-protocol', what: 'http', sentence: 'the peer is a web server: it answered with HTTP' };
  }
  if (begin.startsWith('SSH-')) {
    return { kind: 'not-protocol', what: 'ssh', sentence: 'the peer is an SSH server' };
  }
  // A frame of any stream below 16,777,216 has a zero as its second byte; no text does.
  if ((first === TYPE.N || first === TYPE.D || first === TYPE.C) && start[1] === 0) {
    return { kind: 'not-protocol', what: 'frames', sentence: 'the peer sent frames without answering the handshake' };
  }
  return null;
}

function other(sentence: string): Reply {
  return { kind: 'not-protocol', what: 'other', sentence };
}

/** Only own properties count: `{"__proto__":{"status":"ok"}}` accepts nothing. */
function own(value: object, key: string): unknown {
  return Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
}

function textOf(value: object, key: string): string | null {
  const text = own(value, key);
  return typeof text === 'string' && text !== '' ? text : null;
}

function offersV1(reply: object): boolean {
  const ext = own(reply, 'ext');
  return typeof ext === 'object' && ext !== null && own(ext, 'v') === 1;
}
