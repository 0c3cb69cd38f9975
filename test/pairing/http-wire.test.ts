import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { promisify } from 'node:util';
import t from 'tap';
import { FakeClock } from '../support/fake-clock.ts';
import { startPairingApp } from '../support/pairing-app.ts';
import { freshKeyLine, freshRsaKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';

const MIB = 1024 * 1024;
const FORM = 'Content-Type: application/x-www-form-urlencoded\r\n';
const line = freshKeyLine();
const goodBody = `key=${encodeURIComponent(line)}`;

const post = (headers: string, body = '') => `POST /zeroforce/setkey HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`;

/** Sends all of a body before it reads anything, as Python's requests does; gives what came, or the error. */
async function sendThenRead(port: number, head: string, body: Buffer): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const failed = new Promise<never>((_resolve, reject) => socket.once('error', reject));
  failed.catch(() => undefined);
  const sent = new Promise<void>((resolve) => {
    socket.write(head);
    socket.write(body, () => resolve());
  });
  await Promise.race([sent, failed]);
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await Promise.race([once(socket, 'end'), failed]);
  socket.destroy();
  return text;
}

/** Unlike `once`, content with an error before the end. */
const closed = (socket: Socket) => new Promise<unknown>((resolve) => socket.once('close', resolve));

t.test('a client that sends 1 MB before it reads gets the refusal, not a reset', async (t) => {
  const { port, pairing } = await startPairingApp(t);
  const body = Buffer.alloc(MIB, 'x');
  const stated = `Content-Length: ${MIB}\r\nConnection: close\r\n`;
  const chunked = `Transfer-Encoding: chunked\r\nConnection: close\r\n`;
  const chunkedBody = Buffer.from(`${MIB.toString(16)}\r\n${body}\r\n0\r\n\r\n`);

  pairing.open = false;
  t.match(await sendThenRead(port, post(FORM + stated), body), /^HTTP\/1\.1 403 [\s\S]*Not in pairing mode/);
  t.match(await sendThenRead(port, post(FORM + chunked), chunkedBody), /^HTTP\/1\.1 403 /);
  pairing.open = true;
  t.match(await sendThenRead(port, post(FORM + stated), body), /^HTTP\/1\.1 413 /);
  t.match(await sendThenRead(port, post(FORM + chunked), chunkedBody), /^HTTP\/1\.1 413 /);
  t.match(await sendThenRead(port, post(`Origin: null\r\n${stated}`), body), /^HTTP\/1\.1 403 /);
  t.match(await sendThenRead(port, `PUT /zeroforce/setkey HTTP/1.1\r\nHost: x\r\n${stated}\r\n`, body), / 405 /);
  t.match(await sendThenRead(port, `POST /x HTTP/1.1\r\nHost: x\r\n${stated}\r\n`, body), /^HTTP\/1\.1 404 /);
  const http10 = `POST /zeroforce/setkey HTTP/1.0\r\nContent-Length: ${MIB}\r\n\r\n`;
  t.match(await sendThenRead(port, http10, body), /^HTTP\/1\.1 413 /);
});

t.test('the refusal comes at once: before the pairing check nothing of the body is waited for', async (t) => {
  const { port, pairing } = await startPairingApp(t);
  pairing.open = false;
  const socket = connect(port, '127.0.0.1');
  socket.write(post(`${FORM}Content-Length: 1000\r\n`)); // and not a byte of it
  const [answer] = await once(socket.setEncoding('utf8'), 'data');
  t.match(answer, /^HTTP\/1\.1 403 [\s\S]*Not in pairing mode/);

  // The connection is of further use once the body has come after all.
  pairing.open = true;
  socket.write('x'.repeat(1000) + post(`${FORM}Content-Length: ${goodBody.length}\r\n`, goodBody));
  const [second] = await once(socket, 'data');
  t.match(second, /^HTTP\/1\.1 200 [\s\S]*\{"ok":true\}$/);
  socket.destroy();
});

t.test('a body that states itself too large is refused before any of it is sent', async (t) => {
  const { port } = await startPairingApp(t);
  const socket = connect(port, '127.0.0.1');
  socket.write(post(`${FORM}Content-Length: 16385\r\n`));
  const [answer] = await once(socket.setEncoding('utf8'), 'data');
  t.match(answer, /^HTTP\/1\.1 413 /);
  socket.destroy();
});

t.test('a sender that never ends is cut off', async (t) => {
  const clock = new FakeClock();
  const { port, pairing } = await startPairingApp(t, { clock });
  pairing.open = false;
  const endless = post(`${FORM}Content-Length: 1000000000\r\n`);

  const silent = connect(port, '127.0.0.1').on('error', () => undefined);
  silent.write(endless);
  await once(silent, 'data');
  const ended = closed(silent);
  clock.advance(5_000);
  await ended;

  const busy = connect(port, '127.0.0.1').on('error', () => undefined);
  busy.write(endless);
  await once(busy, 'data');
  let sent = 0;
  const cutOff = closed(busy);
  const chunk = Buffer.alloc(MIB / 4);
  const push = () => {
    while (busy.writable && sent < 100 * MIB) {
      sent += chunk.length;
      if (!busy.write(chunk)) break;
    }
  };
  busy.on('drain', push);
  push();
  await cutOff;
  t.ok(sent < 50 * MIB, `cut off after ${sent} bytes`);
  t.equal(clock.pending, 0, 'no timer is left');
});

t.test('a body that ends early changes nothing, and the next client is served', async (t) => {
  const clock = new FakeClock();
  const { port, pairing, form } = await startPairingApp(t, { clock });
  for (const headers of [
    'Content-Length: 5000\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Content-Length: 5000\r\nContent-Type: multipart/form-data; boundary=x\r\n',
  ]) {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    socket.write(post(headers.includes('multipart') ? headers : FORM + headers, '--x\r\n'));
    await once(socket, 'connect');
    socket.end();
    socket.resume();
    await closed(socket);
  }
  t.same(pairing.keys, []);
  t.equal(clock.pending, 0, 'nobody waits for the senders that have gone');
  t.equal((await form(line)).status, 200);
});

t.test('a key that dribbles in byte by byte is taken', async (t) => {
  const { port, pairing } = await startPairingApp(t);
  const socket = connect(port, '127.0.0.1').setNoDelay(true);
  const bytes = Buffer.from(post(`${FORM}Connection: close\r\nContent-Length: ${goodBody.length}\r\n`, goodBody));
  for (const byte of bytes) {
    socket.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  const [answer] = await once(socket.setEncoding('utf8'), 'data');
  t.match(answer, /^HTTP\/1\.1 200 /);
  t.equal(pairing.keys.length, 1);
  socket.destroy();
});

t.test('requests in one go are answered in order', async (t) => {
  const { raw, pairing } = await startPairingApp(t);
  const answers = await raw(
    'GET /zeroforce/readytopair HTTP/1.1\r\nHost: x\r\n\r\n' +
      post(`${FORM}Content-Length: ${goodBody.length}\r\n`, goodBody) +
      post(`${FORM}Content-Length: 3\r\n`, 'key') +
      'GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n' +
      'GET /zeroforce/readytopair HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  );
  t.same(
    [...answers.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
    ['200', '200', '400', '404', '200'],
  );
  t.equal(pairing.keys.length, 1);
});

t.test('older and unusual ways to ask', async (t) => {
  const { raw } = await startPairingApp(t);
  t.match(await raw('GET /zeroforce/readytopair HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 [\s\S]*\r\n\r\ntrue$/, 'HTTP/1.0');
  t.match(
    await raw('GET http://beamer.local:5000/zeroforce/readytopair HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
    /^HTTP\/1\.1 200 [\s\S]*\r\n\r\ntrue$/,
    'an absolute address, as through a proxy',
  );
  t.match(await raw('OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 404 /);
  t.match(
    await raw('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n'),
    /^HTTP\/1\.1 200 /,
    'an upgrade that is not ours is passed over',
  );
  t.match(
    await raw(
      post(`${FORM}Connection: close\r\nExpect: 100-continue\r\nContent-Length: ${goodBody.length}\r\n`, goodBody),
    ),
    /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /,
    'curl asks before it sends more than 1 MB',
  );
});

t.test('what is not HTTP, or ambiguous, is refused before it reaches a route', async (t) => {
  const { raw, pairing } = await startPairingApp(t);
  for (const bytes of [
    'hello\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'GET /zeroforce/readytopair HTTP/1.1\r\nConnection: close\r\n\r\n', // no Host
    post(`${FORM}Content-Length: ${goodBody.length}\r\nContent-Length: 5\r\n`, goodBody),
    post(`${FORM}Content-Length: ${goodBody.length}\r\nTransfer-Encoding: chunked\r\n`, goodBody),
    post(`${FORM}Content-Length: -1\r\n`, goodBody),
    post(`${FORM}Transfer-Encoding: gzip, chunked, x\r\n`, goodBody),
    `GET /healthz HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
  ]) {
    const answer = await raw(bytes);
    t.match(answer, /^HTTP\/1\.1 4\d\d /, JSON.stringify(bytes.slice(0, 60)));
    t.notMatch(answer, /<|node_modules/);
  }
  t.same(pairing.keys, []);
});

const run = promisify(execFile);

t.test('curl as the add-on calls it', requires('curl'), async (t) => {
  const { port, pairing } = await startPairingApp(t);
  const rsaLine = freshRsaKeyLine();
  const folder = t.testdir({ 'id_rsa.pub': `${rsaLine}\n` });
  const base = `http://127.0.0.1:${port}/zeroforce`;
  const curl = async (...args: string[]) => (await run('curl', ['-sS', '--max-time', '20', ...args])).stdout;
  const file = `${folder}/id_rsa.pub`;

  t.equal(await curl('-f', `${base}/readytopair`), 'true');
  t.equal(await curl('-f', '-X', 'POST', '--data-urlencode', `key=${rsaLine}`, `${base}/setkey`), '{"ok":true}');
  t.equal(await curl('-f', '--data-urlencode', `key@${file}`, `${base}/setkey`), '{"ok":true}');
  t.equal(await curl('-f', '-F', `key=<${file}`, `${base}/setkey`), '{"ok":true}');
  const json = JSON.stringify({ key: rsaLine });
  t.equal(await curl('-f', '-H', 'Content-Type: application/json', '-d', json, `${base}/setkey`), '{"ok":true}');
  t.same(
    pairing.keys.map(({ text }) => text),
    [rsaLine, rsaLine, rsaLine, rsaLine],
  );

  t.match(await curl('-F', `key=@${file}`, `${base}/setkey`), /not as a file/);
  t.match(await curl('--data', `key=${rsaLine}`, `${base}/setkey`), /"ok":false/, 'the + of base64 was not escaped');
  pairing.open = false;
  const big = t.testdir({ big: 'x'.repeat(2 * MIB) });
  t.match(await curl('-w', '%{http_code}', '--data-binary', `@${big}/big`, `${base}/setkey`), /mode.*403$/);
});
