import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openDataDir } from '../../../src/gateway/sql-store/data-dir.ts';
import { requires } from '../../support/requires.ts';
import { startStore } from './support.ts';

const unusable = (message: RegExp) => ({ code: 'gateway.data-dir-unusable', message });

t.test('a missing data folder is made, for its owner only, with those above it', async (t) => {
  const folder = join(t.testdir(), 'var', 'lib', 'gateway');
  const dataDir = await openDataDir(folder);
  t.equal(dataDir.path, folder);
  t.equal(statSync(folder).mode & 0o7777, 0o700);
  t.equal(statSync(folder).uid, process.geteuid?.());
  t.strictSame(readdirSync(folder), ['gateway.lock']);
  t.equal(statSync(join(folder, 'gateway.lock')).mode & 0o777, 0o600);
  t.equal(statSync(join(folder, 'gateway.lock')).size, 0);
  dataDir.release();
  dataDir.release();
});

for (const mode of [0o755, 0o750, 0o701, 0o770]) {
  t.test(`a folder of mode ${mode.toString(8)} is refused and left as it is`, async (t) => {
    const folder = t.testdir();
    chmodSync(folder, mode);
    await t.rejects(openDataDir(folder), unusable(new RegExp(`mode 0${mode.toString(8)}, 0700 is needed`)));
    t.equal(statSync(folder).mode & 0o777, mode);
    t.strictSame(readdirSync(folder), []);
  });
}

t.test('a folder of another user is refused', requires('root'), async (t) => {
  const folder = t.testdir();
  chmodSync(folder, 0o700);
  chownSync(folder, 12345, 12345);
  await t.rejects(openDataDir(folder), unusable(/belongs to user 12345, not to the gateway's user 0/));
  const made = await openDataDir(join(folder, 'below'));
  t.equal(statSync(made.path).uid, 0, 'one that root makes is of root, wherever it is');
  made.release();
});

t.test('what is no folder, or cannot be made, is told', async (t) => {
  const folder = t.testdir({ file: 'x' });
  await t.rejects(openDataDir(join(folder, 'file')), unusable(/it is not a folder/));
  await t.rejects(openDataDir(join(folder, 'file', 'below')), unusable(/ENOTDIR|not a directory/));
  await t.rejects(openDataDir('/proc/none/below'), unusable(/ENOENT/));
  symlinkSync('nowhere', join(folder, 'link'));
  await t.rejects(openDataDir(join(folder, 'link')), unusable(/ENOENT/));
});

t.test('a link to a folder is as good as the folder, and the same one', async (t) => {
  const above = t.testdir();
  const [folder, link] = [join(above, 'data'), join(above, 'link')];
  mkdirSync(folder, 0o700);
  symlinkSync(folder, link);
  const held = await openDataDir(link);
  await t.rejects(openDataDir(folder), { code: 'gateway.running' });
  held.release();
  (await openDataDir(folder)).release();
});

t.test('a lock file that somebody wrote into is told', async (t) => {
  const folder = join(t.testdir(), 'data');
  mkdirSync(folder, 0o700);
  writeFileSync(join(folder, 'gateway.lock'), 'Do not touch this folder.\n'.repeat(100));
  await t.rejects(openDataDir(folder), unusable(/gateway\.lock is not empty, as it must be; remove it/));
});

t.test(
  'two gateways never share a folder; the second is told who has it; a killed one leaves nothing to clean',
  async (t) => {
    const folder = join(t.testdir(), 'data');
    const first = await startStore(t);
    const second = await startStore(t);
    t.match(await first.ask('open', folder), { ok: true });
    const running = {
      code: 'gateway.running',
      sentence: `another process (pid ${first.pid}) uses the data folder ${folder} already`,
    };
    t.match(await second.ask('open', folder), running);
    t.match(await second.ask('open', folder), running, 'also when it tries again');
    await t.rejects(openDataDir(folder), { code: 'gateway.running', message: running.sentence });
    await first.kill();
    t.ok(existsSync(join(folder, 'gateway.lock')));
    t.match(await second.ask('open', folder), { ok: true });
    await t.rejects(openDataDir(folder), { message: new RegExp(`pid ${second.pid}`) });
    t.match(await second.ask('close'), { ok: true });
    (await openDataDir(folder)).release();
  },
);

t.test('of many that start together, one has the folder', async (t) => {
  const folder = join(t.testdir(), 'data');
  const children = await Promise.all(Array.from({ length: 4 }, () => startStore(t)));
  const outcomes = await Promise.all(children.map((child) => child.ask('open', folder)));
  t.equal(outcomes.filter((outcome) => outcome?.ok === true).length, 1);
  t.equal(outcomes.filter((outcome) => outcome?.ok === false && outcome.code === 'gateway.running').length, 3);
});

t.test(
  'it holds also where the other has network and pids of its own, as in a container',
  requires('root', 'namespaces'),
  async (t) => {
    const folder = join(t.testdir(), 'data');
    const first = await startStore(t, ['unshare', '-n', '-p', '-f', '--kill-child', '--mount-proc']);
    t.match(await first.ask('open', folder), { ok: true });
    await t.rejects(openDataDir(folder), { code: 'gateway.running' });
    const second = await startStore(t, ['unshare', '-n', '-p', '-f', '--kill-child', '--mount-proc']);
    t.match(await second.ask('open', folder), {
      ok: false,
      code: 'gateway.running',
      sentence: /^another process uses/,
    });
  },
);
