import { existsSync, lstatSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { requires } from '../support/requires.ts';
import type { Service } from '../support/service.ts';
import { until } from '../support/until.ts';
import {
  device,
  flagOf,
  hasFlag,
  isReady,
  openTunnel,
  removeTree,
  socketOf,
  statusOf,
  temporaryFolder,
  untilStatus,
  watchPairing,
} from './support.ts';

const needs = requires('netstat');

t.test(
  'a run folder that is removed comes back with all that was in it, and pairing stays closed',
  needs,
  async (t) => {
    const { service, runDir, tunnel } = await withTunnel(t);
    const watch = watchPairing(t, service);
    await removeTree(runDir);
    await allBack(t, service, runDir);
    const { yes, no } = await watch.stop();
    t.equal(yes, 0, `${no} times no`);
    t.ok(no > 10, 'it was asked all the time');
    await tunnel.close();
    await until('pairing to open', () => isReady(service));
  },
);

t.test('the same where its parents went with it', needs, async (t) => {
  const folder = temporaryFolder(t);
  const { service, runDir } = await withTunnel(t, { ZEROFORCE_RUN_DIR: join(folder, 'a', 'b', 'run') });
  const watch = watchPairing(t, service);
  await removeTree(join(folder, 'a'));
  await allBack(t, service, runDir);
  t.equal((await watch.stop()).yes, 0);
});

t.test('the same where another program made an empty one in its place', needs, async (t) => {
  const { service, runDir } = await withTunnel(t);
  const watch = watchPairing(t, service);
  await removeTree(runDir);
  await mkdir(runDir, { recursive: true });
  await allBack(t, service, runDir);
  t.equal((await watch.stop()).yes, 0);
});

for (const [what, block] of [
  ['a file', (path: string) => writeFile(path, '')],
  ['a link', (path: string) => symlink('elsewhere', path)],
] as const) {
  t.test(`while ${what} lies in its place the service goes on with pairing closed, and says so`, needs, async (t) => {
    const { service, runDir, tunnel } = await withTunnel(t);
    const elsewhere = join(runDir, '..', 'elsewhere');
    await mkdir(elsewhere);
    await until('the place to be taken', async () => {
      await removeTree(runDir);
      return block(runDir).then(
        () => true,
        () => false, // the service was faster
      );
    });
    const watch = watchPairing(t, service);
    await until('the fault in the log', () => service.log().includes('run-dir.unwritable'));
    // A file on its way in the very moment of the exchange goes where the path then leads; only root can exchange it.
    const onTheWay = await readdir(elsewhere);
    await tunnel.close();
    t.equal(await service.get('/healthz'), '{"ok":true}');
    t.strictSame(await readdir(elsewhere), onTheWay, 'nothing is written elsewhere');
    await until('more answers', () => watch.answers.no > 100);
    t.equal((await watch.stop()).yes, 0, 'a tunnel that comes now could not be shown, so pairing must not open');

    await rm(runDir);
    await until('pairing to open', () => isReady(service));
    await untilStatus(service, ({ faults }) => faults.length === 0);
    t.equal(lstatSync(socketOf(service)).mode & 0o777, 0o600);
  });
}

t.test('a flag that somebody removes under a standing tunnel opens nothing, and comes back', needs, async (t) => {
  const { service } = await withTunnel(t);
  const watch = watchPairing(t, service);
  for (let round = 0; round < 5; round += 1) {
    await rm(flagOf(service), { force: true });
    await until('the flag', () => hasFlag(service));
  }
  t.equal((await watch.stop()).yes, 0);
});

t.test('a flag that is a link is replaced, and what it led to is left alone', needs, async (t) => {
  const { service, runDir } = await withTunnel(t);
  const victim = join(runDir, 'victim');
  await writeFile(victim, 'precious');
  await rm(flagOf(service));
  await symlink(victim, flagOf(service)).catch(() => undefined); // the service may have been faster
  await until('the flag to be a file', () => hasFlag(service) && lstatSync(flagOf(service)).isFile());
  t.equal(await readFile(victim, 'utf8'), 'precious');
  t.equal((await statusOf(service)).pairing.open, false);
});

/** A service that would open pairing at once when the tunnel were gone. */
async function withTunnel(t: Test, settings: Record<string, string> = {}) {
  const service = await device(t, { ZEROFORCE_PAIRING_TIMEOUT: '0', ...settings });
  const tunnel = await openTunnel(t, service);
  await until('the flag', () => hasFlag(service));
  await untilStatus(service, ({ pairing }) => !pairing.open);
  return { service, tunnel, runDir: service.settings.ZEROFORCE_RUN_DIR ?? '' };
}

async function allBack(t: Test, service: Service, runDir: string): Promise<void> {
  await until('the flag', () => hasFlag(service));
  await until('since-connected', () => existsSync(join(runDir, 'since-connected')));
  t.equal(await readFile(join(runDir, 'since-connected'), 'utf8'), '0\n');
  await until('the control socket', () => existsSync(socketOf(service)));
  await untilStatus(service, ({ faults }) => faults.length === 0);
  t.equal(lstatSync(socketOf(service)).mode & 0o777, 0o600);
}
