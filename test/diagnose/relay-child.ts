// Listens at HOST:PORT of its own network, and leads each connection to a socket in the file system: argv HOST PORT PATH.
import { connect, createServer } from 'node:net';
import { relay } from './relay.ts';

const [, , host, port, path = ''] = process.argv;
createServer((near) => relay(near, connect(path))).listen(Number(port), host, () =>
  process.stdout.write('listening\n'),
);
