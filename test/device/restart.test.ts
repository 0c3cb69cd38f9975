import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { requires } from '../support/requires.ts';
import type { Service } from '../support/service.ts';
import { makeKey } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import {
  device,
  end,
  flagOf,
  hasFlag,
  isReady,
  logLine,
  nextOpening,
  openTunnel,
  setKey,
  statusOf,
  temporaryFolder,
} from './support.ts';

const needs = requires('netstat');

t.test(
  'killed with a tunnel up, and the tunnel goes: the next start corrects the flag and counts down',
  needs,
  async (t) => {
    const folder = temporaryFolder(t);
    const killed = await killedWithTunnel(t, folder, { ZEROFORCE_PAIRING_TIMEOUT: '600' });
    t.ok(existsSync(flagOf(killed)), 'the crash left the flag behind');

    const second = await device(t, killed.settings, { folder });
    t.notOk(hasFlag(second), 'the flag is right before the service calls itself ready');
    t.equal(await isReady(second), false);
    t.match(await statusOf(second), {
      pairing: { everPaired: true, open: false, tunnel: 'none' },
      monitor: { kind: 'none' },
    });
    await end(second, 'SIGKILL');

    const third = await device(t, { ...killed.settings, ZEROFORCE_PAIRING_TIMEOUT: '1' }, { folder });
    await nextOpening(third);
    // The answer may be there before the timer that writes the line.
    const opened = await until('the line', () => logLine(third, 'pairing is open'));
    const seen = logLine(third, 'no tunnel is up');
    // One millisecond may be lost in each of the two times of the log.
    const passedMs = Date.parse(String(opened.time)) - Date.parse(String(seen?.time));
    t.ok(passedMs >= 998, `the timeout has passed before: ${passedMs} ms`);
  },
);

t.test('killed with a tunnel up, and the tunnel stays: the next start finds it', needs, async (t) => {
  const folder = temporaryFolder(t);
  const first = await device(t, { ZEROFORCE_PAIRING_TIMEOUT: '0' }, { folder });
  await openTunnel(t, first);
  await until('the flag', () => hasFlag(first));
  await end(first, 'SIGKILL');

  const second = await device(t, first.settings, { folder });
  t.ok(hasFlag(second));
  t.match(await statusOf(second), { pairing: { open: false, tunnel: 'active' }, monitor: { kind: 'active' } });
});

t.test('a key that was set is remembered without any tunnel seen', requires('netstat', 'ssh-keygen'), async (t) => {
  const folder = temporaryFolder(t);
  const first = await device(t, {}, { folder });
  const { publicKey } = await makeKey(join(folder, 'key'), 'home');
  t.equal((await setKey(first, publicKey)).status, 200);
  await end(first, 'SIGKILL');

  const second = await device(t, first.settings, { folder });
  t.match(await statusOf(second), { pairing: { open: false, everPaired: true, key: { type: 'ssh-ed25519' } } });
});

t.test(
  'with pairing.remember off, a start after a crash opens pairing at once',
  requires('netstat', 'ssh-keygen'),
  async (t) => {
    const folder = temporaryFolder(t);
    const killed = await killedWithTunnel(t, folder, { ZEROFORCE_PAIRING_REMEMBER: 'off' });
    t.notOk(existsSync(join(folder, 'state', 'ever-paired')), 'nothing was remembered');
    const keyFile = killed.settings.ZEROFORCE_AUTHORIZED_KEYS_FILE ?? '';
    await mkdir(dirname(keyFile), { recursive: true, mode: 0o700 });
    await writeFile(keyFile, `${(await makeKey(join(folder, 'key'), 'home')).publicKey}\n`, { mode: 0o600 });

    const second = await device(t, killed.settings, { folder });
    t.match(await statusOf(second), { pairing: { open: true, everPaired: false, key: { type: 'ssh-ed25519' } } });
  },
);

/** A service that saw a tunnel and was killed while it stood; now it is gone. */
async function killedWithTunnel(t: Test, folder: string, settings: Record<string, string>): Promise<Service> {
  const service = await device(t, settings, { folder });
  const tunnel = await openTunnel(t, service);
  await until('the flag', () => hasFlag(service));
  await until('pairing to close', async () => (await statusOf(service)).pairing.tunnel === 'active');
  if (settings.ZEROFORCE_PAIRING_REMEMBER !== 'off') {
    await until('the marker', () => existsSync(join(folder, 'state', 'ever-paired')));
  }
  await end(service, 'SIGKILL');
  await tunnel.close();
  return service;
}
