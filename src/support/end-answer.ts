import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from './clock.ts';

/** What is read and thrown away of a body that nobody wants, so that its sender can read the answer. */
const DRAIN_MAX_BYTES = 8 * 1024 * 1024;
const DRAIN_MAX_MS = 5_000;

/**
 * Sends the whole answer at once, but ends it only when the request has been read to its end. Ending earlier would close
 * the connection of a client that is still sending, and the reset would destroy the answer on its way.
 *
 * @param clock bounds how long one waits for the sender
 */
export function endAnswer(res: ServerResponse, text: string, clock: Clock): void {
  if (isRead(res.req)) {
    res.end(text);
  } else {
    res.write(text);
    drain(res.req, clock, () => res.end());
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
