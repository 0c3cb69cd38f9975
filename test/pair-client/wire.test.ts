import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { askDevice } from '../../src/pair-client/device-http.ts';
import { systemClock } from '../../src/support/clock.ts';
import { freePort } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { hardenedConfig, startSshd } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import { type Handler, pairHere, scriptedHttp, temporaryFolder } from './support.ts';

const needs = requires('sshd', 'ssh', 'ssh-keygen');

/** A device of another firmware: its HTTP as the test has it, with the real hardened sshd. */
async function otherFirmware(t: Test, handler: (installKey: (key: string) => Promise<void>) => Handler) {
  const folder = temporaryFolder(t);
  const authorizedKeys = join(folder, 'authorized_keys');
  const installKey = (key: string) => writeFile(authorizedKeys, `${key}\n`);
  const handle = handler(installKey);
  const requests: string[] = [];
  const httpPort = await scriptedHttp(t, (request, res) => {
    requests.push(`${request.req.method} ${request.path}`);
    return handle(request, res);
  });
  const sshd = await startSshd(join(folder, 'sshd'), await hardenedConfig(authorizedKeys, httpPort));
  t.teardown(() => sshd.stop());
  return { tunnelPort: sshd.port, httpPort, folder, requests };
}

const READY = '/zeroforce/readytopair';

for (const [name, ready, taken] of [
  ['the first', 'true', '{"ok":true}'],
  ['an older', 'true\n', 'OK\n'],
  ['a newer', '{"ready":true}', '{"status":"ok"}'],
] as const) {
  t.test(`${name} firmware is understood`, needs, async (t) => {
    const headers: unknown[] = [];
    const device = await otherFirmware(t, (installKey) => async ({ path, body, req }, res) => {
      headers.push(req.headers.accept);
      if (path === READY) return res.end(ready);
      await installKey(new URLSearchParams(body).get('key') ?? '');
      t.equal(req.headers['content-type'], 'application/x-www-form-urlencoded');
      return res.end(taken);
    });
    const client = pairHere(t, device);
    t.equal(await client.ended, null);
    t.strictSame(client.names(), ['identity', 'found', 'paired', 'connecting', 'connected', 'verified']);
    t.strictSame(device.requests, [`GET ${READY}`, 'POST /zeroforce/setkey'], 'and nothing more is asked');
    t.strictSame(headers, ['*/*', '*/*'], 'which never asks for JSON alone');
  });
}

t.test('trouble on the way: 403 and 429 are waited for, a page or a fault is no success', needs, async (t) => {
  const answers: [number, string, Record<string, string>?][] = [
    [403, '{"ok":false,"error":"Not in pairing mode; refusing to change authorized key"}'],
    [429, '{"ok":false}', { 'Retry-After': '1' }],
    [200, '<!doctype html><title>OK</title>'],
    [500, '{"ok":false}'],
    [307, '', { Location: 'http://127.0.0.1:1/' }],
  ];
  const device = await otherFirmware(t, (installKey) => async ({ path, body }, res) => {
    if (path === READY) return res.end('true');
    if (path !== '/zeroforce/setkey') return res.writeHead(404).end();
    const [status, text, headers] = answers.shift() ?? [200, '{"ok":true}'];
    if (status === 200 && text.includes('ok')) await installKey(new URLSearchParams(body).get('key') ?? '');
    return res.writeHead(status, headers).end(text);
  });
  const client = pairHere(t, device);
  t.equal(await client.ended, null);
  t.equal(client.events.filter(({ event }) => event === 'paired').length, 1);
  const told = client.events.map((event) => (event.event === 'waiting' ? event.reason : event.event));
  t.ok(told.includes('closed') && told.includes('busy') && told.includes('retry'), told.join(' '));
});

t.test('a key that the device rejects is final, with the words of the device', needs, async (t) => {
  const device = await otherFirmware(
    t,
    () =>
      ({ path }, res) =>
        path === READY ? res.end('true') : res.writeHead(400).end('{"ok":false,"error":"\\u001b[2Jtoo\\nshort"}'),
  );
  const failure = await pairHere(t, device).ended;
  t.equal(failure?.code, 'pair.key-rejected');
  t.match(failure?.message, /: \[2Jtoo short$/);
});

t.test('an answer that does not end, in time or in bytes, is given up', async (t) => {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (request) => {
      if (request.includes('GET /silent')) return;
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      if (request.includes('GET /drip')) return void setInterval(() => socket.write('t'), 50).unref();
      for (let count = 0; count < 100; count += 1) socket.write('t'.repeat(10_000));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const stop = new AbortController();
  const ask = (path: string, timeoutMs: number) =>
    askDevice({ host: '127.0.0.1', port, clock: systemClock, signal: stop.signal, timeoutMs }, 'GET', path);
  await t.rejects(ask('/silent', 300), /no answer within 0.3 s/);
  await t.rejects(ask('/drip', 300), /no answer within 0.3 s/);
  await t.rejects(ask('/flood', 30_000), /longer than 16384 bytes/);
  const hanging = ask('/silent', 60_000);
  stop.abort();
  await t.rejects(hanging, 'a stop does not wait for an answer');
});

t.test(
  'once: a device that does not answer is given up after a while, and a stop ends every wait',
  needs,
  async (t) => {
    const port = await freePort();
    const folder = temporaryFolder(t);
    const client = pairHere(t, { tunnelPort: port, httpPort: port, folder });
    await until('the first failure', () => client.names().includes('retry'));
    const startedAtMs = performance.now();
    client.stop();
    t.equal(await client.ended, null);
    t.ok(performance.now() - startedAtMs < 2_000);
  },
);

t.test('what is no SSH, or says nothing, at the port of the tunnel is trouble that is told', needs, async (t) => {
  const port = await scriptedHttp(t, (_request, res) => res.end('true'));
  const httpPort = await scriptedHttp(t, ({ path }, res) => res.end(path === READY ? 'true' : 'OK'));
  const client = pairHere(t, { tunnelPort: port, httpPort, folder: temporaryFolder(t) });
  await until('the trouble', () => client.names().includes('retry'));
  t.match(client.events.at(-1), { event: 'retry', code: 'pair.no-answer' });
  t.equal(client.events.filter(({ event }) => event === 'paired').length, 1, 'and the key is not sent again for it');
});
