import { X509Certificate } from 'node:crypto';
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { isIP, type TcpSocketConnectOpts } from 'node:net';
import { abortScope } from '../support/abort-scope.ts';
import { fileErrorReason } from '../support/atomic-file.ts';
import type { Clock } from '../support/clock.ts';
import { asFailure, Failure } from '../support/failures.ts';
import { readSmallFile } from '../support/small-file.ts';
import { type Step, transportFailure } from './transport-failure.ts';
import { excerpt } from './words.ts';

export interface ApiOptions {
  /** http or https, without user, query and fragment. An `/api` at its end is not asked for twice. */
  url: string;
  token: string;
  /** PEM file of the authorities that count for https, or null for those that Node knows. */
  ca: string | null;
  /** For a whole call: look-up, connection, TLS, request and answer. 10 s by default. */
  deadlineMs?: number;
  clock: Clock;
}

export interface Call {
  method: 'GET' | 'POST' | 'PUT';
  /** From `/api` on; its parts percent-encoded. */
  path: string;
  /** Sent as JSON. It may depend on the address that this device has towards the server. */
  body?: (localAddress: string | null) => object;
}

export interface Answer {
  status: number;
  text: string;
  /** Where a redirect points to. */
  location: string | null;
}

const DEADLINE_MS = 10_000;
/** Known answers have less than 1 KiB, known_hosts a few. */
const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_CA_BYTES = 1024 * 1024;
/** Node gives an address 250 ms before it tries the next, and drops it: too little for a slow link. */
const EACH_ADDRESS_MS = 2_500;

/** Makes single calls to the Meeting API; each has a connection of its own. */
export class MeetingApi {
  /** A name, or an address without brackets; in lower case. */
  readonly host: string;
  readonly port: number;
  readonly #url: URL;
  readonly #base: string;
  readonly #options: ApiOptions;

  constructor(options: ApiOptions) {
    this.#options = options;
    this.#url = new URL(options.url);
    this.#base = this.#url.pathname.replace(/\/+$/, '').replace(/\/api$/, '');
    this.host = this.#url.hostname.replace(/^\[(.*)\]$/, '$1');
    this.port = Number(this.#url.port) || (this.#secure ? 443 : 80);
  }

  get #secure(): boolean {
    return this.#url.protocol === 'https:';
  }

  /**
   * One call and its whole answer, whatever its status. Redirects are not followed: the token would go along.
   *
   * @throws Failure `meeting.api-unreachable`, `-timeout`, `-tls`, `-tls-not-spoken`, `-tls-required` or `-answer`;
   * the signal's reason when that ended it
   */
  async call(call: Call, signal: AbortSignal): Promise<Answer> {
    const { clock, url, deadlineMs = DEADLINE_MS } = this.#options;
    const { scope, release } = abortScope(signal);
    const progress: Progress = { step: isIP(this.host) === 0 ? 'looking up the name' : 'connecting' };
    const cancelDeadline = clock.after(deadlineMs, () => {
      const sentence = `${url} gave no complete answer within ${deadlineMs / 1000} s: it ended while ${progress.step}`;
      scope.abort(new Failure('meeting.api-timeout', sentence));
    });
    try {
      const { request } = this.#secure ? await import('node:https') : await import('node:http');
      const options = await this.#requestOptions(call);
      return await exchange(() => request(options), call, progress, scope.signal);
    } catch (error) {
      scope.signal.throwIfAborted();
      if (error instanceof Failure) throw new Failure(error.code, `${url}: ${error.message}`, { cause: error });
      const { host, port } = this;
      const where = { url, host, port, secure: this.#secure, step: progress.step };
      throw await transportFailure(error, where, scope.signal);
    } finally {
      cancelDeadline();
      release();
    }
  }

  /** What the server said, fit for a log line. */
  excerpt(text: string): string {
    return excerpt(text, this.#options.token);
  }

  async #requestOptions({ method, path }: Call): Promise<RequestOptions & TcpSocketConnectOpts> {
    // A header holds bytes, and Node takes them as latin1: this way a token beyond ASCII arrives as UTF-8.
    const token = Buffer.from(this.#options.token, 'utf8').toString('latin1');
    const trust = this.#secure ? { ...(await this.#authorities()), rejectUnauthorized: true } : {};
    return {
      method,
      host: this.host,
      port: this.port,
      path: `${this.#base}${path}`,
      headers: { 'X-Token-Code': token, Accept: path.startsWith('/api/ssh') ? 'text/plain' : 'application/json' },
      agent: false, // no connection is kept: the next call is a minute away, longer than servers wait
      autoSelectFamilyAttemptTimeout: EACH_ADDRESS_MS,
      ...trust,
    };
  }

  /** Read at every call, so that a renewed file counts without a restart. */
  async #authorities(): Promise<{ ca?: Buffer }> {
    const { ca } = this.#options;
    if (ca === null) return {};
    try {
      const { bytes } = await readSmallFile(ca, MAX_CA_BYTES);
      new X509Certificate(bytes); // TLS says nothing when it finds none
      return { ca: bytes };
    } catch (cause) {
      const reason = fileErrorReason(cause);
      const why = reason.includes('PEM') ? 'it holds no certificate' : reason;
      throw new Failure('meeting.api-tls', `the CA file ${ca} cannot be used: ${why}`, { cause });
    }
  }
}

/** How far a call has come; the step goes on after `while`. */
interface Progress {
  step: Step;
}

/** Sends the request and reads the answer. Its connection has ended, or is about to, whatever comes out. */
function exchange(begin: () => ClientRequest, call: Call, progress: Progress, signal: AbortSignal): Promise<Answer> {
  return new Promise<Answer>((resolve, reject) => {
    signal.throwIfAborted();
    const request = begin();
    const end = () => {
      signal.removeEventListener('abort', onAbort);
      request.destroy();
    };
    const fail = (error: unknown) => {
      end();
      reject(error as Error);
    };
    const onAbort = () => fail(signal.reason);
    signal.addEventListener('abort', onAbort);
    request.on('error', fail);
    request.once('socket', (socket) => {
      socket.once('lookup', () => {
        progress.step = 'connecting';
      });
      socket.once('connect', () => {
        progress.step = 'agreeing on TLS';
      });
      socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => {
        progress.step = 'waiting for the answer';
        try {
          send(request, call.body?.(socket.localAddress ?? null));
        } catch (error) {
          fail(asFailure(error));
        }
      });
    });
    request.once('response', (response) => {
      progress.step = 'reading the answer';
      readAnswer(response).then((answer) => {
        end();
        resolve(answer);
      }, fail);
    });
  });
}

function send(request: ClientRequest, body: object | undefined): void {
  if (body === undefined) return void request.end();
  const bytes = Buffer.from(JSON.stringify(body));
  request.setHeader('Content-Type', 'application/json');
  request.setHeader('Content-Length', bytes.length);
  request.end(bytes);
}

async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const status = response.statusCode ?? 0;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) {
      if (status < 300) {
        throw new Failure('meeting.api-answer', `the answer has more than ${MAX_ANSWER_BYTES / 1024} KiB`);
      }
      break; // a refusal is one, however long the page about it is
    }
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  return { status, text, location: response.headers.location ?? null };
}
