// Tries connections: argv are the ports to listen on; a line {id, from, fromPort, to, port, waitMs} is answered by
// {id, end}. Whoever is let in is greeted, so that all three packets of the handshake have passed.
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';

interface Attempt {
  id: number;
  from: string;
  fromPort: number;
  to: string;
  port: number;
  waitMs: number;
}

const ports = process.argv.slice(2);
let missing = ports.length;
const listening = () => {
  if (missing-- === 0) process.stdout.write('ready\n');
};
for (const port of ports) {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(`${port}\n`);
  });
  server.listen(Number(port), '0.0.0.0', listening);
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, from, fromPort, to, port, waitMs } = JSON.parse(line) as Attempt;
  const socket = connect({ host: to, port, localAddress: from, localPort: fromPort });
  let done = false;
  const end = (word: string) => {
    if (done) return;
    done = true;
    clearTimeout(timer);
    socket.resetAndDestroy();
    process.stdout.write(`${JSON.stringify({ id, end: word })}\n`);
  };
  const timer = setTimeout(() => end('silence'), waitMs);
  socket.on('data', (data) => end(`greeted by ${data.toString().trim()}`));
  socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'error'));
});
listening();
