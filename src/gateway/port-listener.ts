import { createServer, type Server, type Socket } from 'node:net';
import { Failure, systemCode } from '../support/failures.ts';

/** The kernel's queue of connections not accepted yet: a small one costs seconds when many come at once. */
const BACKLOG = 1024;
/** A client that vanished holds a stream of the device; the kernel asks after this silence. */
const KEEPALIVE_AFTER_MS = 60_000;

const REASONS: Readonly<Record<string, string>> = {
  EADDRNOTAVAIL: 'that is not an address of this machine (GATEWAY_BIND_HOST)',
  ENOTFOUND: 'that is not an address of this machine (GATEWAY_BIND_HOST)',
  EACCES: 'this user is not permitted to (GATEWAY_PORT_RANGE above 1023)',
  EMFILE: 'the gateway has as many open files as it is allowed (LimitNOFILE, ulimit -n)',
  ENFILE: 'this machine has as many open files as it is allowed (sysctl fs.file-max)',
};

/**
 * Listens on a public port. Connections are given to `accept` without a byte read; half-close stays possible. Null
 * where another program holds the port.
 *
 * @throws Failure `gateway.cannot-listen` where no other port would help
 */
export function listenOn(host: string, port: number, accept: (socket: Socket) => void): Promise<Server | null> {
  const server = createServer(
    {
      pauseOnConnect: true,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_AFTER_MS,
    },
    accept,
  );
  return new Promise((resolve, reject) => {
    server.on('error', (error) => {
      const code = systemCode(error) ?? error.message;
      if (code === 'EADDRINUSE') return resolve(null);
      const reason = REASONS[code] ?? code;
      reject(
        new Failure('gateway.cannot-listen', `cannot listen on port ${port} of ${host}: ${reason}`, { cause: error }),
      );
    });
    server.listen({ host, port, backlog: BACKLOG }, () => resolve(server));
  });
}
