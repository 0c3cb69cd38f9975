import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { requires } from '../support/requires.ts';
import type { Service } from '../support/service.ts';
import { makeKey } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import { device, hasFlag, isReady, openTunnel, setKey, statusOf, temporaryFolder } from './support.ts';

const needs = requires('root', 'namespaces', 'nsenter', 'ssh-keygen', 'netstat');
const NOT_STORED = {
  status: 500,
  body: { ok: false, error: 'The key could not be stored; the old one is kept, and the log of the device tells why' },
};

for (const [what, spoil, repair] of [
  ['full', 'head -c 1m /dev/zero > DIR/filler || true', 'rm DIR/filler'],
  ['read-only', 'until mount -o remount,ro none DIR; do sleep 0.1; done', 'mount -o remount,rw none DIR'],
] as const) {
  t.test(`a ${what} state folder: setkey answers 500, the old key stays, the service goes on`, needs, async (t) => {
    const { service, folder, oldLine, newLine, inside } = await onSmallDisk(t, 'state');
    await until('pairing to open', () => isReady(service));
    inside(spoil);
    t.strictSame(await setKey(service, newLine), NOT_STORED);
    await logged(service, /"code":"state\.unwritable".*the key was not replaced/);
    t.equal(readFileSync(join(folder, 'ssh', 'authorized_keys'), 'utf8'), oldLine);

    t.equal(await service.get('/healthz'), '{"ok":true}');
    t.equal(await isReady(service), true);
    const tunnel = await openTunnel(t, service);
    await until('the flag', () => hasFlag(service));
    await logged(service, /a restart would forget that this device is paired/);
    t.equal((await statusOf(service)).pairing.open, false);
    await tunnel.close();

    inside(repair);
    await until('pairing to open', () => isReady(service));
    t.equal((await setKey(service, newLine)).status, 200);
  });

  t.test(
    `a ${what} folder of the key file: setkey answers 500, the old key stays, the service goes on`,
    needs,
    async (t) => {
      const { service, oldLine, newLine, inside } = await onSmallDisk(t, 'ssh');
      await until('pairing to open', () => isReady(service));
      inside(spoil);
      t.strictSame(await setKey(service, newLine), NOT_STORED);
      await logged(service, /"code":"key\.unwritable".*the key was not replaced/);
      t.equal(inside('cat DIR/authorized_keys'), oldLine);
      t.equal(await isReady(service), true);

      inside(repair);
      t.equal((await setKey(service, newLine)).status, 200);
      t.equal(inside('cat DIR/authorized_keys'), newLine);
    },
  );
}

t.test('a state folder that cannot be made: the service starts, says so, and refuses to pair', needs, async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'file'), '');
  const service = await device(t, { ZEROFORCE_STATE_DIR: join(folder, 'file', 'state') }, { folder });
  await logged(service, /"code":"state\.unwritable".*The configuration that works could not be kept/);
  const { publicKey } = await makeKey(join(folder, 'key'), 'home');
  // Whether this device was paired before cannot be known, so it counts as paired (pairing: state machine 4).
  t.match(await statusOf(service), { pairing: { open: false, everPaired: true } });
  t.equal((await setKey(service, publicKey)).status, 403);
  t.equal(await service.get('/healthz'), '{"ok":true}');
});

/** A service with a key, one of whose folders is a disk of 64 KiB; `inside` runs shell where the service sees it. */
async function onSmallDisk(t: Test, name: 'state' | 'ssh') {
  const folder = temporaryFolder(t);
  const dir = join(folder, name);
  mkdirSync(join(folder, 'ssh'), { mode: 0o700 });
  mkdirSync(join(folder, 'state'), { mode: 0o700 });
  const oldLine = `${(await makeKey(join(folder, 'old'), 'old')).publicKey}\n`;
  const newLine = `${(await makeKey(join(folder, 'new'), 'new')).publicKey}\n`;
  const keyFile = join(folder, 'ssh', 'authorized_keys');
  const script = `mount -t tmpfs -o size=64k,mode=700 none ${dir}; cp ${folder}/old.pub ${keyFile}; exec "$@"`;
  const wrapper = ['unshare', '-m', 'sh', '-ec', script, 'sh'];
  const service: Service = await device(t, { ZEROFORCE_PAIRING_TIMEOUT: '0' }, { folder, wrapper });
  const inside = (command: string) =>
    execFileSync('nsenter', ['-t', String(service.pid), '-m', 'sh', '-c', command.replaceAll('DIR', dir)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  return { service, folder, oldLine, newLine, inside };
}

const logged = (service: Service, line: RegExp) => until(String(line), () => line.test(service.log()));
