import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { endTunnelSessions, portSockets } from '../../src/reset/tunnel-sessions.ts';
import { systemClock } from '../../src/support/clock.ts';
import { temporaryFolder } from '../device/support.ts';
import { descendants, endChild, freePort } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { hardenedConfig, holdSsh, makeKey, sshOptions, startSshd } from '../support/sshd.ts';
import { until } from '../support/until.ts';

const needs = requires('sshd', 'ssh', 'ssh-keygen');

/** The sshd of port 8007 as it ships, on a port of its own, and a way to hold tunnels to it. */
async function tunnelSshd(t: Test) {
  const folder = temporaryFolder(t);
  const key = await makeKey(join(folder, 'key'), 'home');
  const keyFile = join(folder, 'authorized_keys');
  writeFileSync(keyFile, `${key.publicKey}\n`, { mode: 0o600 });
  const sshd = await startSshd(join(folder, 'sshd'), await hardenedConfig(keyFile, await freePort()));
  t.teardown(() => sshd.stop());
  const knownHosts = join(folder, 'known_hosts');
  writeFileSync(knownHosts, `${sshd.knownHosts}\n`);
  const tunnel = async () => {
    const held = await holdSsh([
      ...sshOptions(key.path, knownHosts),
      '-p',
      String(sshd.port),
      '-L',
      `${await freePort()}:localhost:3240`,
      `${sshd.user}@127.0.0.1`,
    ]);
    t.teardown(() => held.stop());
    return held;
  };
  return { port: sshd.port, tunnel };
}

const established = (port: number) =>
  portSockets(`${readFileSync('/proc/net/tcp', 'latin1')}\n${readFileSync('/proc/net/tcp6', 'latin1')}`, port)
    .established.size;

/** The processes of this test that serve a session; the one that listens says `[listener]` of itself. */
function sessions(): number[] {
  return descendants(process.pid).filter((pid) => {
    try {
      return /^sshd(-session|-auth)?: (?!.*\[listener\])/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1'));
    } catch {
      return false; // ended meanwhile
    }
  });
}

t.test('real tunnels end, those of another sshd stay, and the next one is served', needs, async (t) => {
  const ours = await tunnelSshd(t);
  const other = await tunnelSshd(t);
  const tunnels = [await ours.tunnel(), await ours.tunnel()];
  const stays = await other.tunnel();
  const unauthenticated = connect(ours.port, '127.0.0.1').on('error', () => undefined);
  t.teardown(() => unauthenticated.destroy());
  await once(unauthenticated, 'data');
  const gone = Promise.all([...tunnels.map(({ child }) => once(child, 'exit')), once(unauthenticated, 'close')]);

  const { ended, left } = await endTunnelSessions(ours.port, systemClock);
  t.ok(ended >= 3, `${ended} processes`);
  t.strictSame(left, []);
  await gone;
  t.equal(established(ours.port), 0);
  t.equal(stays.child.exitCode, null);
  t.equal(established(other.port), 1);
  await ours.tunnel();
  t.equal(established(ours.port), 1);
});

t.test('a session that does not answer SIGTERM is killed, in bounded time', needs, async (t) => {
  const { port, tunnel } = await tunnelSshd(t);
  const { child } = await tunnel();
  const gone = once(child, 'exit');
  const mine = sessions();
  t.ok(mine.length > 0);
  for (const pid of mine) process.kill(pid, 'SIGSTOP');
  const startMs = performance.now();
  t.match(await endTunnelSessions(port, systemClock), { ended: mine.length, left: [], hidden: 0 });
  t.ok(performance.now() - startMs < 4_000);
  await gone;
  t.equal(established(port), 0);
});

t.test('with no tunnel nothing ends, and that takes no time', needs, async (t) => {
  const { port, tunnel } = await tunnelSshd(t);
  const startMs = performance.now();
  t.strictSame(await endTunnelSessions(port, systemClock), { ended: 0, left: [], hidden: 0 });
  t.ok(performance.now() - startMs < 1_000);
  await tunnel();
});

t.test('programs that serve no SSH are left alone, whatever port they use', async (t) => {
  const port = await freePort();
  // It listens no more once somebody has come: what listens is spared for another reason.
  const script = `const server = require('net').createServer((socket) => {
    socket.write('x');
    server.close();
  }).listen(${port}, '127.0.0.1')`;
  const child = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
  t.teardown(() => endChild(child));
  const client = await until('the server', async () => {
    const socket = connect(port, '127.0.0.1');
    return once(socket, 'data').then(
      () => socket,
      () => null,
    );
  });
  t.teardown(() => client.destroy());
  t.strictSame(await endTunnelSessions(port, systemClock), { ended: 0, left: [], hidden: 0 });
  t.equal(child.exitCode, null);
  t.equal(established(port), 1);
});

t.test('only the sockets whose local port is the one asked for, and only established ones', async (t) => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F47 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20971 1 0000000000000000 100 0 0 10 0
   1: 0100000A:1F47 0200000A:9C40 01 00000000:00000000 02:00000190 00000000     0        0 20980 3 0000000000000000 20 4 30 10 -1
   2: 0100000A:9C41 0200000A:1F47 01 00000000:00000000 02:00000190 00000000     0        0 20981 3 0000000000000000 20 4 30 10 -1
   3: 0100000A:1F47 0200000A:9C42 06 00000000:00000000 03:00000190 00000000     0        0 0 3 0000000000000000
   4: 0100000A:1F47 0200000A:9C43 08 00000000:00000000 00:00000000 00000000     0        0 20984 3 0000000000000000 20 4 30 10 -1
   5: 0000000000000000FFFF00000100000A:1F47 0000000000000000FFFF00000200000A:9C40 01 00000000:00000000 02:00000190 00000000     0        0 20985 3 0
`;
  const { established: found, listening } = portSockets(table, 8007);
  t.strictSame([...found], ['20980', '20985']);
  t.strictSame([...listening], ['20971']);
  t.equal(portSockets(table, 7).established.size + portSockets(table, 0x47).established.size, 0);
  t.equal(portSockets('', 8007).established.size, 0);
});
