import type { ServerResponse } from 'node:http';
import type { Clock } from '../support/clock.ts';
import { endAnswer } from '../support/end-answer.ts';

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

  /** The answer reaches also a client that is still sending (pairing: requests 3). */
  #send(res: ServerResponse, status: number, type: string, text: string): void {
    res.statusCode = status;
    for (const [name, value] of Object.entries(HEADERS)) res.setHeader(name, value);
    res.setHeader('Content-Type', type);
    res.setHeader('Content-Length', Buffer.byteLength(text));
    endAnswer(res, text, this.#clock);
  }
}
