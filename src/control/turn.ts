import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemCode } from '../support/failures.ts';

const TRY_AGAIN_MS = 20;
/** 2 s. What is done in a turn takes milliseconds. */
const MAX_TRIES = 100;

/**
 * Runs `work` while no other process of this machine runs its own under the same name. The turn is a socket of the
 * abstract namespace, unix(7): it is taken by one at a time, and a crash leaves nothing. Any user can take it, too, so who
 * keeps it is passed over after 2 s: nobody may hold up a start for long.
 */
export async function inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
  // An address has 107 bytes at most.
  const turn = await take(`\0zeroforce ${createHash('sha256').update(name).digest('hex')}`);
  try {
    return await work();
  } finally {
    turn?.close();
  }
}

async function take(address: string): Promise<Server | null> {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const server = createServer().listen(address);
    try {
      await once(server, 'listening');
      return server;
    } catch (error) {
      if (systemCode(error) !== 'EADDRINUSE') return null; // no such sockets here
      await sleep(TRY_AGAIN_MS);
    }
  }
  return null;
}
