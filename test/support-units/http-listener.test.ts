import { EventEmitter, once } from 'node:events';
import type { RequestListener, ServerResponse } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { HttpListener } from '../../src/support/http-listener.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { freePort } from '../support/processes.ts';
import { testLog } from '../support/test-log.ts';
import { until } from '../support/until.ts';

function listener(t: Test, options: { port?: number; host?: string; handler?: RequestListener } = {}) {
  const clock = new FakeClock();
  const logged = testLog();
  const http = new HttpListener({
    handler: options.handler ?? ((_request, response) => void response.end('hello')),
    host: options.host ?? '127.0.0.1',
    port: options.port ?? 0,
    clock,
    log: logged.log,
  });
  t.teardown(() => {
    const stopped = http.stop();
    clock.advance(10_000);
    return stopped;
  });
  return { http, clock, logged };
}

const portOf = (http: HttpListener) => http.status().address?.port ?? 0;
const ask = async (http: HttpListener) => (await fetch(`http://127.0.0.1:${portOf(http)}`)).text();

t.test('serves, and tells where', async (t) => {
  const { http, logged } = listener(t);
  t.strictSame(http.status(), { address: null, failure: null });
  await http.start();
  t.match(http.status(), { address: { host: '127.0.0.1', port: Number }, failure: null });
  t.equal(await ask(http), 'hello');
  t.match(logged.lines, [{ level: 'info', msg: 'HTTP listens', host: '127.0.0.1', port: portOf(http) }]);
});

t.test('a taken port is told once, tried every 5 s, and used when it is free', async (t) => {
  const occupant = createServer().listen(0, '127.0.0.1');
  await once(occupant, 'listening');
  const { port } = occupant.address() as { port: number };
  const { http, clock, logged } = listener(t, { port });
  await http.start();
  t.match(http.status(), { address: null, failure: { code: 'http.port-in-use' } });
  for (let round = 0; round < 3; round += 1) {
    clock.advance(5_000);
    await until('the next attempt to have failed', () => clock.pending === 1);
  }
  t.equal(logged.lines.length, 1);
  t.match(logged.lines, [
    { level: 'error', code: 'http.port-in-use', msg: `port ${port} on 127.0.0.1`, remedy: 'netstat' },
  ]);

  occupant.close();
  await once(occupant, 'close');
  clock.advance(4_999);
  t.equal(http.status().address, null);
  clock.advance(1);
  await until('it to listen', () => http.status().address !== null);
  t.equal(http.status().failure, null);
  t.equal(await ask(http), 'hello');
});

t.test('an address that this machine has not, or a name that leads nowhere, is named', async (t) => {
  for (const host of ['192.0.2.1', 'nowhere.invalid']) {
    const { http } = listener(t, { host });
    await http.start();
    t.match(http.status().failure, { code: 'http.address-unavailable', message: host });
  }
});

t.test('a stop ends the attempts', async (t) => {
  const occupant = createServer().listen(0, '127.0.0.1');
  t.teardown(() => void occupant.close());
  await once(occupant, 'listening');
  const { http, clock } = listener(t, { port: (occupant.address() as { port: number }).port });
  await http.start();
  t.equal(clock.pending, 1);
  await http.stop();
  t.equal(clock.pending, 0);
});

t.test('a stop during an attempt leaves nothing behind', async (t) => {
  const port = await freePort();
  const { http, clock } = listener(t, { port });
  const starting = http.start();
  await http.stop();
  await starting;
  t.equal(http.status().address, null);
  t.equal(clock.pending, 0);
  const next = createServer().listen(port, '127.0.0.1');
  await once(next, 'listening');
  next.close();
});

t.test('a stop lets an answer under way finish, and ends connections without one', async (t) => {
  const arrived = new EventEmitter<{ request: [ServerResponse] }>();
  const { http, clock } = listener(t, { handler: (_request, response) => void arrived.emit('request', response) });
  await http.start();
  const idle = await open(t, portOf(http));
  const slow = ask(http);
  const [response] = await once(arrived, 'request');
  const stopped = http.stop();
  (response as ServerResponse).end('in time');
  t.equal(await slow, 'in time');
  clock.advance(1_000);
  await stopped;
  await until('the idle connection to end', () => idle.destroyed);
  t.equal(clock.pending, 0);
});

t.test('a stop cuts an answer that does not come', async (t) => {
  const arrived = new EventEmitter();
  const { http, clock } = listener(t, { handler: () => void arrived.emit('request') });
  await http.start();
  const cut = t.rejects(ask(http));
  await once(arrived, 'request');
  const stopped = http.stop();
  clock.advance(1_000);
  await stopped;
  await cut;
});

t.test('who holds more than 128 connections loses the oldest, and keeps nobody else out', async (t) => {
  const { http } = listener(t);
  await http.start();
  const other = await open(t, portOf(http), '127.0.0.9');
  const crowd = await Promise.all(Array.from({ length: 127 }, () => open(t, portOf(http))));
  const closed = new Set<Socket>();
  for (const socket of crowd) socket.once('close', () => closed.add(socket)).resume();
  const more = await Promise.all(Array.from({ length: 20 }, () => open(t, portOf(http))));
  t.equal(await ask(http), 'hello', 'a new connection is served');
  t.match(await askOver(other), /200 OK/, 'so is the only one of another source, the oldest of all');
  await until('the surplus to be closed', () => closed.size >= 21);
  t.equal(closed.size, 21);
  t.notOk(closed.has(crowd.at(-1) as Socket));
  t.match(await askOver(more.at(-1) as Socket), /200 OK/);
});

async function askOver(socket: Socket): Promise<string> {
  const answer = once(socket, 'data');
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  return String((await answer)[0]);
}

async function open(t: Test, port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress }).on('error', () => {});
  t.teardown(() => void socket.destroy());
  await once(socket, 'connect');
  return socket;
}

t.test('a request whose headers do not end is cut off after its 10 s, not whenever Node looks next', async (t) => {
  const { http } = listener(t);
  await http.start();
  const socket = connect(portOf(http), '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined);
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n');
  const startMs = performance.now();
  await once(socket.resume(), 'close');
  const passedMs = performance.now() - startMs;
  t.ok(passedMs > 9_000 && passedMs < 25_000, `${Math.round(passedMs)} ms`);
});
