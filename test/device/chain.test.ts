import type { ChildProcess } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { freePort, run } from '../support/processes.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import { requires } from '../support/requires.ts';
import { hardenedConfig, holdSsh, makeKey, sshOptions, startSshd } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import {
  CLOSED,
  device,
  hasFlag,
  isReady,
  meeting,
  nextOpening,
  setKey,
  statusOf,
  temporaryFolder,
  untilStatus,
} from './support.ts';

const TIMEOUT_MS = 2_000;
const needs = requires('sshd', 'ssh', 'ssh-keygen', 'netstat');

for (const mode of ['legacy', 'v1'] as const) {
  t.test(`the chain on real parts, with a ${mode} proxy`, needs, async (t) => {
    const { service, tunnelSsh, maintenanceSsh, homeAssistant, successor } = await startChain(t, mode);
    let paired: ChildProcess | undefined;

    await t.test('the tunnel is up in the mode that the proxy offers', async (t) => {
      t.equal((await untilStatus(service, ({ tunnel }) => tunnel?.state === 'up')).tunnel?.protocol, mode);
    });

    await t.test('a device that was never paired takes a key', async (t) => {
      await until('pairing to open', () => isReady(service));
      t.strictSame(await setKey(service, homeAssistant.publicKey), { status: 200, body: { ok: true } });
      const file = service.settings.ZEROFORCE_AUTHORIZED_KEYS_FILE ?? '';
      t.equal(readFileSync(file, 'utf8'), `${homeAssistant.publicKey}\n`);
      t.equal(statSync(file).mode & 0o777, 0o600);
      t.equal(await isReady(service), true, 'and stays open until a tunnel is seen');
    });

    await t.test('with that key a real ssh opens the paired tunnel of the hardened sshd', async (step) => {
      const held = await holdSsh(tunnelSsh(homeAssistant.path));
      t.teardown(() => held.stop());
      paired = held.child;
      step.match(held.log(), /Server accepts key: /);
    });

    await t.test('netstat sees the tunnel: the flag is there, and pairing is closed', async (t) => {
      await until('the flag', () => hasFlag(service));
      await until('pairing to close', async () => !(await isReady(service)));
      t.strictSame(await setKey(service, successor.publicKey), CLOSED);
      t.match(await statusOf(service), { pairing: { open: false, reason: 'a tunnel stands', tunnel: 'active' } });
    });

    await t.test('through the reverse tunnel a real ssh reaches the maintenance sshd, from 127.0.0.77', async (t) => {
      const { code, stdout, stderr } = await run('ssh', maintenanceSsh('echo "reached from $SSH_CONNECTION"'));
      t.equal(code, 0, stderr);
      t.match(stdout, /^reached from 127\.0\.0\.77 \d+ 127\.0\.0\.1 \d+\n$/);
    });

    await t.test(
      'after the loss of the paired tunnel, pairing opens when the timeout has passed, not before',
      async (t) => {
        paired?.kill('SIGKILL');
        const { flagLastSeenMs, openedMs } = await nextOpening(service);
        t.ok(
          openedMs - flagLastSeenMs >= TIMEOUT_MS,
          `opened ${Math.round(openedMs - flagLastSeenMs)} ms after the loss`,
        );
        t.ok(openedMs - flagLastSeenMs < TIMEOUT_MS + 5_000, 'and not much later');
      },
    );

    await t.test('a second key replaces the first, which sshd refuses from then on', async (t) => {
      t.equal((await setKey(service, successor.publicKey)).status, 200);
      const next = await holdSsh(tunnelSsh(successor.path));
      t.teardown(() => next.stop());
      const { code, stderr } = await run('ssh', ['-N', ...tunnelSsh(homeAssistant.path)]);
      t.equal(code, 255);
      t.match(stderr, /Permission denied \(publickey\)/);
      await until('the flag', () => hasFlag(service));
    });
  });
}

/** All parts, on free ports; they end with the test. */
async function startChain(t: Test, mode: 'legacy' | 'v1') {
  const folder = temporaryFolder(t);
  const authorizedKeys = join(folder, 'ssh', 'authorized_keys');
  const httpPort = await freePort();
  const tunnelSshd = await startSshd(join(folder, 'tunnel-sshd'), await hardenedConfig(authorizedKeys, httpPort));
  t.teardown(() => tunnelSshd.stop());

  const technician = await makeKey(join(folder, 'technician'), 'technician');
  await writeFile(join(folder, 'maintenance_keys'), `${technician.publicKey}\n`, { mode: 0o600 });
  const keyFile = `AuthorizedKeysFile ${join(folder, 'maintenance_keys')}`;
  const sshd = await startSshd(join(folder, 'sshd'), `${keyFile}\nPasswordAuthentication no\nUsePAM no`);
  t.teardown(() => sshd.stop());

  const proxy = await startRawProxy({ mode });
  t.teardown(() => proxy.close());
  const service = await device(
    t,
    {
      ...meeting(proxy),
      ZEROFORCE_AUTHORIZED_KEYS_FILE: authorizedKeys,
      ZEROFORCE_HTTP_PORT: String(httpPort),
      ZEROFORCE_TUNNEL_PORT: String(tunnelSshd.port),
      ZEROFORCE_SERVICES: `ssh=${sshd.port}`,
      ZEROFORCE_PAIRING_TIMEOUT: String(TIMEOUT_MS / 1000),
    },
    { folder },
  );
  await proxy.nextAgent();
  const publicPort = await proxy.openPublicPort(sshd.port);

  const knownHosts = join(folder, 'known_hosts');
  const hosts = [tunnelSshd.knownHosts, sshd.knownHosts.replace(`:${sshd.port} `, `:${publicPort.port} `)];
  await writeFile(knownHosts, hosts.join('\n'));
  const to = (port: number, key: string, ...rest: string[]) => [
    ...sshOptions(key, knownHosts),
    ...['-p', String(port), `${sshd.user}@127.0.0.1`],
    ...rest,
  ];
  return {
    service,
    homeAssistant: await makeKey(join(folder, 'home_assistant'), 'home-assistant'),
    successor: await makeKey(join(folder, 'successor'), 'successor'),
    tunnelSsh: (key: string) => to(tunnelSshd.port, key),
    maintenanceSsh: (command: string) => to(publicPort.port, technician.path, command),
  };
}
