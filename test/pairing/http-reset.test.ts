import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { startPairingApp, TUNNEL_SOURCE } from '../support/pairing-app.ts';
import { freshKeyLine } from '../support/public-keys.ts';

const RESET_AFTER_SENDING = `
  const [port, localAddress, bytes] = process.argv.slice(1);
  const socket = require('node:net').connect({ port: Number(port), host: '127.0.0.1', localAddress });
  socket.write(bytes, () => socket.resetAndDestroy());
`;

const body = `key=${encodeURIComponent(freshKeyLine())}`;
const setKey =
  'POST /zeroforce/setkey HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n' +
  `Content-Length: ${body.length}\r\n\r\n${body}`;

for (const from of [TUNNEL_SOURCE, '127.0.0.1']) {
  t.test(`a client at ${from} that sends and resets at once does not pair as a nameless one`, async (t) => {
    const { pairing, port, server, lines, form } = await startPairingApp(t);
    let requests = 0;
    server.on('request', () => {
      requests += 1;
    });
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    // While it runs, this process does nothing: the server accepts a connection that has been reset already.
    execFileSync(process.execPath, ['-e', RESET_AFTER_SENDING, String(port), from, setKey.repeat(80)]);
    const [socket] = await accepted;
    if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));

    t.equal((await form(freshKeyLine('after'))).status, 200, 'its requests do not count as those of another');
    t.ok(requests > 1, 'what it sent has reached the handler');
    t.equal(pairing.keys.length, 1, 'and has set no key');
    t.same(lines, [], 'nor is anything told of a source that nobody knows');
  });
}
