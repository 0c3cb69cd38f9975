/**
 * The local service behind every tunnel of the benchmark, as a process of its own. The first byte of a connection says
 * what it does: `e` echo, `d` send without end (down: device to public side), `u` swallow (up).
 */
import { createServer, type Socket } from 'node:net';

const CHUNK = Buffer.alloc(256 * 1024, 0x5a);

const server = createServer({ noDelay: true, allowHalfOpen: false }, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.once('data', (first) => {
    const mode = String.fromCharCode(first[0] ?? 0);
    if (mode === 'd') send(socket);
    else if (mode === 'u') socket.on('data', () => undefined);
    else {
      if (first.length > 1) socket.write(first.subarray(1));
      socket.on('data', (chunk) => socket.write(chunk));
    }
  });
});

function send(socket: Socket): void {
  const more = () => {
    while (!socket.destroyed && socket.write(CHUNK));
  };
  socket.on('drain', more);
  more();
}

server.listen(Number(process.argv[2]), '127.0.0.1', 1024, () => process.stdout.write('ready\n'));
