import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { Failure, systemCode } from '../support/failures.ts';

/**
 * Two processes with one run folder would end each other's ssh. An abstract socket is the lock: no file, and the system
 * lets it go with the process, however that ends.
 * @throws Failure `pair.running`
 */
export async function holdLock(runFolder: string): Promise<{ release(): Promise<void> }> {
  const name = createHash('sha256').update(runFolder).digest('hex').slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  server.on('error', () => undefined); // of somebody who connects; nobody has anything to say here
  try {
    server.listen(`\0zeroforce-pair-${name}`);
    await once(server, 'listening');
  } catch (error) {
    if (systemCode(error) !== 'EADDRINUSE') throw error;
    throw new Failure('pair.running', 'another process holds the tunnel with this key', { cause: error });
  }
  return {
    async release() {
      server.close();
      await once(server, 'close');
    },
  };
}
