import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../support/clock.ts';

/** What is read and thrown away of a body that nobody wants, so that its sender can read the answer. */
const DRAIN_MAX_BYTES = 8 * 1024 * 1024;
const DRAIN_MAX_MS = 5_000;

const HEADERS = {
  // An answer is true only now; this also keeps it out of every cache and history.
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

/** Sends answers; `clock` bounds how long one waits for a sender. */
export class Answers {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  json(res: ServerResponse, status: number, value: object): void {
    this.#send(res, status, 'application/json; charset=utf-8', JSON.stringify(value));
  }

  text(res: ServerResponse, status: number, text: string): void {
    this.#send(res, status, 'text/plain; charset=utf-8', text);
  }

  /**
   * Sends the whole answer at once, but ends it only when the request has been read to its end. Ending earlier would
   * close the connection of a client that is still sending, and the reset would destroy the answer on its way
   * (pairing: requests 3).
   */
  #send(res: ServerResponse, status: number, type: string, text: string): void {
    res.statusCode = status;
    for (const [name, value] of Object.entries(HEADERS)) res.setHeader(name, value);
    res.setHeader('Content-Type', type);
    res.setHeader('Content-Length', Buffer.byteLength(text));
    if (isRead(res.req)) {
      res.end(text);
    } else {
      res.write(text);
      drain(res.req, this.#clock, () => res.end());
    }
  }
}

function isRead(req: IncomingMessage): boolean {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = req.headers;
  return req.complete || (encoding === undefined && Number(length) === 0);
}

/** Calls `done` at the end of the body; a sender that finds no end is cut off. */
function drain(req: IncomingMessage, clock: Clock, done: () => void): void {
  if (req.destroyed) return; // the sender has gone
  let bytes = 0;
  const cancel = clock.after(DRAIN_MAX_MS, () => req.socket.destroy());
  req.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > DRAIN_MAX_BYTES) req.socket.destroy();
  });
  req.once('end', done);
  req.once('close', cancel);
}
