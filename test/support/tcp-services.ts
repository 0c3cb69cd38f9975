import { createServer, type Server, type Socket } from 'node:net';

/** A local service of the device, for tests. */
export interface TcpService {
  port: number;
  /** Connections that are open. */
  sockets: Set<Socket>;
  /** The next connection not yet given out, in order. */
  next(): Promise<Socket>;
  close(): Promise<void>;
}

/** Starts a service on a free port of 127.0.0.1, or on `port`, that does `serve` with each connection. Half-open connections stay. */
export async function startService(serve: (socket: Socket) => void = () => {}, port = 0): Promise<TcpService> {
  const sockets = new Set<Socket>();
  const ready: Socket[] = [];
  const waiting: ((socket: Socket) => void)[] = [];
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    serve(socket);
    const next = waiting.shift();
    if (next) next(socket);
    else ready.push(socket);
  });
  return {
    port: await listen(server, '127.0.0.1', port),
    sockets,
    next() {
      const socket = ready.shift();
      return socket ? Promise.resolve(socket) : new Promise((resolve) => waiting.push(resolve));
    },
    close() {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

export const startEcho = (port = 0) => startService((socket) => void socket.pipe(socket), port);

/** Listens on a free port of `host`, or on `port`, and gives it. */
export function listen(server: Server, host = '127.0.0.1', port = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
}
