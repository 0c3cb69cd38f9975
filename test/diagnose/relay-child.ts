// Listens at HOST:PORT of its own network, and leads each connection to a socket in the file system: argv HOST PORT PATH.
import { connect, createServer } from 'node:net';

const [, , host, port, path = ''] = process.argv;
createServer((near) => {
  const far = connect(path);
  for (const [from, to] of [
    [near, far],
    [far, near],
  ] as const) {
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
    from.pipe(to);
  }
}).listen(Number(port), host, () => process.stdout.write('listening\n'));
