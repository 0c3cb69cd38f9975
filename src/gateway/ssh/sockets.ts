import type { Socket } from 'node:net';
import type { Clock } from '../../support/clock.ts';

/** What is not sent after this is cut off, so that a connection is gone within 2 s. */
const LAST_WORDS_MS = 1_000;

/** Ends a connection in order, and cuts it off where the other end does not take part in that. */
export function endSoon(socket: Socket, clock: Clock): void {
  if (socket.destroyed) return;
  socket.end();
  const cancel = clock.after(LAST_WORDS_MS, () => socket.destroy());
  socket.once('close', cancel);
}
