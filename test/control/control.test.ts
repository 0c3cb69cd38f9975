import { once } from 'node:events';
import { lstatSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { CONTROL_SOCKET, requestControl } from '../../src/control/client.ts';
import { type ControlRoutes, ControlServer } from '../../src/control/server.ts';
import { Failure } from '../../src/support/failures.ts';
import { requires } from '../support/requires.ts';
import { testLog } from '../support/test-log.ts';

const routes = (answer: unknown): ControlRoutes => ({
  'GET /status': () => Promise.resolve(answer),
  'POST /echo': (body) => Promise.resolve({ body }),
  'POST /fail': () => Promise.reject(new Failure('pairing.closed', 'pairing is not open')),
  'POST /break': () => Promise.reject(new TypeError('x is not a function')),
});

t.test('answers what the service says, over a socket that only its own user may use', async (t) => {
  const { runDir } = await control(t, { pid: 7, deep: [1, { two: null }] });
  t.strictSame(await requestControl(runDir, 'GET /status'), { pid: 7, deep: [1, { two: null }] });
  t.equal(statSync(join(runDir, CONTROL_SOCKET)).mode & 0o777, 0o600);
});

t.test('another path is no answer', async (t) => {
  const { runDir } = await control(t);
  await t.rejects(requestControl(runDir, 'GET /other'), { code: 'service.no-answer', message: 'no route GET /other' });
});

t.test('a stop removes the socket, and a second stop does nothing', async (t) => {
  const { server, runDir } = await control(t);
  await server.stop();
  await server.stop();
  t.throws(() => lstatSync(join(runDir, CONTROL_SOCKET)), { code: 'ENOENT' });
  await t.rejects(requestControl(runDir, 'GET /status'), { code: 'service.not-running' });
});

t.test('a stop does not wait for who asks slowly', async (t) => {
  const { server, runDir } = await control(t);
  const socket = connect(join(runDir, CONTROL_SOCKET));
  t.teardown(() => void socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.write('GET /status HTTP/1.1\r\nHo');
  await server.stop();
});

t.test('of two at once in one folder, one starts and the other names it', async (t) => {
  const runDir = folder(t);
  const servers = [1, 2].map((pid) => newServer(t, runDir, { pid }));
  const results = await Promise.allSettled(servers.map((server) => server.start()));
  const { pid } = (await requestControl(runDir, 'GET /status')) as { pid: number };
  t.match(results[pid - 1], { status: 'fulfilled' });
  t.match(results[2 - pid], {
    status: 'rejected',
    reason: { code: 'instance.running', message: `another tunnel-agent (process ${pid}) runs with ${runDir}` },
  });
});

t.test('something in its place that is no socket is named, and left alone', async (t) => {
  const runDir = folder(t);
  writeFileSync(join(runDir, CONTROL_SOCKET), 'precious');
  await t.rejects(newServer(t, runDir).start(), { code: 'run-dir.unwritable', message: /is not a socket; remove it/ });
  t.ok(lstatSync(join(runDir, CONTROL_SOCKET)).isFile());
});

t.test('a folder whose name is too long for a socket is named', async (t) => {
  const runDir = join(folder(t), 'x'.repeat(120));
  await mkdir(runDir);
  await t.rejects(newServer(t, runDir).start(), {
    code: 'run-dir.unwritable',
    message: /x{120}.* is longer than the 107 bytes/,
  });
});

t.test('heal makes a socket that has vanished, once, and leaves one that is there', async (t) => {
  const { server, runDir, logged } = await control(t, { pid: 7 });
  const inode = () => lstatSync(join(runDir, CONTROL_SOCKET)).ino;
  const first = inode();
  await server.heal();
  t.equal(inode(), first);
  t.strictSame(logged.lines, []);

  await rm(join(runDir, CONTROL_SOCKET));
  await server.heal();
  t.strictSame(await requestControl(runDir, 'GET /status'), { pid: 7 });
  t.equal(logged.lines.length, 1);
  t.match(logged.lines, [{ level: 'warn', msg: /had vanished/ }]);
});

t.test('a service that answers no more still counts as running: its folder is not taken over', async (t) => {
  const runDir = folder(t);
  await listen(t, runDir, (socket) => void socket.end('garbage\n'));
  await t.rejects(newServer(t, runDir).start(), { code: 'instance.running', message: /process unknown/ });
});

t.test('a user who may not use the socket is told so', requires('root'), async (t) => {
  const { runDir } = await control(t);
  process.seteuid?.(65534);
  const asked = requestControl(runDir, 'GET /status');
  const checked = t.rejects(asked, { code: 'service.not-permitted' });
  await asked.catch(() => undefined);
  process.seteuid?.(0);
  await checked;
});

const hostile: [string, RegExp, (socket: Socket) => void][] = [
  ['says nothing', /no answer within 5000 ms/, () => {}],
  ['sends a byte now and then', /no answer within 5000 ms/, (socket) => dribble(socket, 'HTTP/1.1 200 OK\r\n\r\n{')],
  ['never ends its headers', /Header overflow/, (socket) => flood(socket, 'HTTP/1.1 200 OK\r\nX: ')],
  ['never ends its answer', /the answer is too long/, (socket) => flood(socket, 'HTTP/1.1 200 OK\r\n\r\n')],
  ['closes at once', /hang up/, (socket) => void socket.end()],
  ['ends in the middle', /aborted/, (socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}')],
  ['speaks another protocol', /Parse Error/, (socket) => void socket.end('SSH-2.0-OpenSSH_9.2\r\n')],
  ['sends no JSON', /JSON/, (socket) => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{,')],
  ['fails', /it answered 500/, (socket) => void socket.end('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n')],
];

t.test('whatever is at the socket, the question ends in time and says what was wrong', async (t) => {
  await Promise.all(
    hostile.map(async ([what, message, serve]) => {
      const runDir = folder(t);
      await listen(t, runDir, serve);
      const startedMs = performance.now();
      await t.rejects(requestControl(runDir, 'GET /status'), { code: 'service.no-answer', message }, what);
      t.ok(performance.now() - startedMs < 8_000, `${what}: in time`);
    }),
  );
});

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'zeroforce-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function newServer(t: Test, runDir: string, answer: unknown = {}, logged = testLog()): ControlServer {
  const server = new ControlServer({ runDir, routes: routes(answer), log: logged.log });
  t.teardown(() => server.stop());
  return server;
}

async function control(t: Test, answer: unknown = {}) {
  const runDir = folder(t);
  const logged = testLog();
  const server = newServer(t, runDir, answer, logged);
  await server.start();
  return { server, runDir, logged };
}

/** Something else at the place of the socket. */
async function listen(t: Test, runDir: string, serve: (socket: Socket) => void): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.resume();
    serve(socket);
  }).listen(join(runDir, CONTROL_SOCKET));
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
}

function dribble(socket: Socket, start: string): void {
  socket.write(start);
  const timer = setInterval(() => socket.write(' '), 200);
  socket.once('close', () => clearInterval(timer));
}

function flood(socket: Socket, start: string): void {
  socket.write(start);
  const chunk = Buffer.alloc(65_536, 'x');
  const more = () => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on('drain', more);
  more();
}

t.test('a route takes JSON, and names the failure that it met', async (t) => {
  const { runDir } = await control(t);
  t.strictSame(await requestControl(runDir, 'POST /echo', { body: { seconds: 120 } }), { body: { seconds: 120 } });
  t.strictSame(await requestControl(runDir, 'POST /echo'), {});
  await t.rejects(requestControl(runDir, 'GET /echo'), { code: 'service.no-answer' });
  await t.rejects(requestControl(runDir, 'POST /fail'), { code: 'pairing.closed', message: 'pairing is not open' });
  await t.rejects(requestControl(runDir, 'POST /break'), { code: 'internal.unexpected' });
  await t.rejects(requestControl(runDir, 'POST /echo', { body: 'x'.repeat(70_000) }), { code: 'internal.unexpected' });
});
