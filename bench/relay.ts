/** A plain relay with `pipe` and no protocol, the yardstick: `node relay.js LISTEN TARGET`. */
import { connect, createServer } from 'node:net';

const [listenPort, targetPort] = process.argv.slice(2).map(Number);

const server = createServer({ noDelay: true }, (near) => {
  const far = connect({ port: targetPort ?? 0, host: '127.0.0.1', noDelay: true });
  near.pipe(far).pipe(near);
  near.on('error', () => far.destroy());
  far.on('error', () => near.destroy());
});

server.listen({ port: listenPort, host: '127.0.0.1', backlog: 1024 }, () => process.stdout.write('ready\n'));
