import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { establishedOn, parseNetstat } from '../../src/monitor/netstat.ts';
import { runNetstat } from '../../src/monitor/run-netstat.ts';
import { systemClock } from '../../src/support/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { busyboxNetstat, fakeNetstat } from '../support/netstat-programs.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';

const run = (command: string, timeoutMs = 20_000) =>
  runNetstat({ command, timeoutMs, clock: systemClock, signal: new AbortController().signal });

/** The process id that a script writes to `path`, once it has. */
const pidIn = (path: string) =>
  until(`a process id in ${path}`, () => (existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0) || null);

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

async function listen(t: Test, host: string): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => void sockets.push(socket.on('error', () => undefined)));
  const sockets: Socket[] = [];
  server.listen(0, host);
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { server, port: (server.address() as { port: number }).port };
}

async function dial(t: Test, server: Server, host: string, port: number): Promise<void> {
  const accepted = once(server, 'connection');
  const socket = connect(port, host).on('error', () => undefined);
  t.teardown(() => void socket.destroy());
  await Promise.all([accepted, once(socket, 'connect')]);
}

const kinds = [
  { kind: 'net-tools', need: 'netstat', command: () => 'netstat' },
  { kind: 'BusyBox', need: 'busybox', command: (t: Test) => busyboxNetstat(t.testdir()) },
];

for (const { kind, need, command } of kinds) {
  t.test(
    `${kind}: real connections over IPv4, IPv6 and IPv4 mapped into IPv6 are counted`,
    requires(need),
    async (t) => {
      const netstat = command(t);
      const { server, port } = await listen(t, '::');
      t.equal(establishedOn(parseNetstat(await run(netstat)), port, 'either').length, 0, 'a listener is no connection');
      let dialled = 0;
      for (const host of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) {
        await dial(t, server, host, port);
        dialled += 1;
        const connections = parseNetstat(await run(netstat));
        t.equal(establishedOn(connections, port, 'local').length, dialled, `${host}, local end`);
        t.equal(establishedOn(connections, port, 'either').length, 2 * dialled, `${host}, both ends`);
      }
    },
  );

  t.test(`${kind}: long IPv6 addresses are counted`, requires(need, 'root', 'namespaces', 'ip'), (t) => {
    const address = '2001:db8:1234:5678:9abc:def0:1234:5678';
    const program = `
      const net = require('node:net');
      const server = net.createServer().listen(8007, '::', () => net.connect(8007, '${address}'));
      server.on('connection', () => {
        process.stdout.write(require('node:child_process').execFileSync(process.argv[1], ['-tn']));
        process.exit();
      });`;
    const setUp = `ip link set lo up && ip addr add ${address}/128 dev lo nodad && exec "$@"`;
    const args = ['-n', 'sh', '-c', setUp, 'sh', process.execPath, '-e', program, command(t)];
    const connections = parseNetstat(execFileSync('unshare', args, { encoding: 'utf8' }));
    t.equal(establishedOn(connections, 8007, 'local').length, 1);
    t.equal(establishedOn(connections, 8007, 'either').length, 2);
    t.end();
  });
}

t.test(
  'BusyBox prints an empty table when it cannot open those of the kernel: a failure, not "no connections"',
  requires('busybox', 'root', 'namespaces'),
  async (t) => {
    const folder = t.testdir();
    const hideProc = `mount -t tmpfs none /proc && exec ${busyboxNetstat(folder)} -tn`;
    const blind = fakeNetstat(folder, `exec unshare -m sh -c '${hideProc}'`);
    await t.rejects(run(blind), { code: 'monitor.netstat-failed', message: /\/proc\/net\/tcp: No such file/ });
  },
);

t.test('a program that is not there', async (t) => {
  await t.rejects(run('/nowhere/netstat'), { code: 'monitor.netstat-missing' });
  await t.rejects(run('no-such-netstat'), { code: 'monitor.netstat-missing' });
});

t.test('a program that fails, with what it said', async (t) => {
  const netstat = fakeNetstat(t.testdir(), 'echo "netstat: /proc/net/tcp: Permission denied" >&2; exit 1');
  await t.rejects(run(netstat), { code: 'monitor.netstat-failed', message: /Permission denied/ });
});

t.test('a program that is killed, and one that may not be run', async (t) => {
  await t.rejects(run(fakeNetstat(t.testdir(), 'kill -9 $$')), { code: 'monitor.netstat-failed' });
  await t.rejects(run(t.testdir()), { code: 'monitor.netstat-failed' });
});

t.test('a program without tables for IPv6, as on a kernel without it, is right', async (t) => {
  const script = 'echo Proto; echo "netstat: /proc/net/tcp6: No such file or directory" >&2';
  t.equal(await run(fakeNetstat(t.testdir(), script)), 'Proto');
});

t.test('its words are not translated', async (t) => {
  t.equal(await run(fakeNetstat(t.testdir(), 'echo "$LC_ALL"')), 'C');
});

t.test('a program that hangs is ended at the deadline, with the child that holds its pipe', async (t) => {
  const folder = t.testdir();
  const netstat = fakeNetstat(folder, `sleep 1000 & echo $! >${folder}/child; wait`);
  const startMs = performance.now();
  await t.rejects(run(netstat, 500), { code: 'monitor.netstat-timeout' });
  t.ok(performance.now() - startMs < 3_000, 'the pipe did not delay it');
  const child = await pidIn(join(folder, 'child'));
  await until('the child has ended', () => !isAlive(child));
});

t.test('a child that has left the process group cannot delay it either', requires('setsid'), async (t) => {
  const folder = t.testdir();
  const netstat = fakeNetstat(folder, `setsid sh -c 'echo $$ >${folder}/child; exec sleep 1000' & wait`);
  const startMs = performance.now();
  await t.rejects(run(netstat, 1_000), { code: 'monitor.netstat-timeout' });
  t.ok(performance.now() - startMs < 4_000);
  process.kill(await pidIn(join(folder, 'child')), 'SIGKILL');
});

t.test('endless output is cut off and reported', async (t) => {
  const netstat = fakeNetstat(t.testdir(), 'yes "tcp 0 0 10.0.0.1:22 10.0.0.9:40000 ESTABLISHED"');
  await t.rejects(run(netstat), { code: 'monitor.netstat-unreadable', message: /more than 4194304 bytes/ });
});

t.test('a stop ends a run at once and leaves no timer', async (t) => {
  const folder = t.testdir();
  const netstat = fakeNetstat(folder, `echo $$ >${folder}/pid; exec sleep 1000`);
  const clock = new FakeClock();
  const stopping = new AbortController();
  const running = runNetstat({ command: netstat, timeoutMs: 1_000, clock, signal: stopping.signal });
  const pid = await pidIn(join(folder, 'pid'));
  stopping.abort();
  await t.rejects(running, { code: 'monitor.netstat-failed', message: /stopped/ });
  await until('it has ended', () => !isAlive(pid));
  t.equal(clock.pending, 0);
  await t.rejects(runNetstat({ command: netstat, timeoutMs: 1_000, clock, signal: stopping.signal }));
});
