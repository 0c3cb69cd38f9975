import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { requires } from '../support/requires.ts';
import { type Replacer, startReplacer } from './support/replacer.ts';
import { generateKey } from './support/ssh-keys.ts';

const root = t.testdir();
const oldLine = generateKey(root, 'ed25519').publicLine;
const newLine = generateKey(root, 'ed25519').publicLine;
const needs = requires('root', 'namespaces', 'nsenter');

t.test('a full disk: the old key stays, whole, and the reason is told', needs, async (t) => {
  const { replacer, path, inside } = await keyOnSmallDisk(t, 'size=64k');
  const filler = join(inside, 'filler');
  fillUp(() => writeFileSync(filler, Buffer.alloc(4096), { flag: 'a' }));
  await checkRefused(t, { replacer, path, inside }, /no space left on device \(ENOSPC\)/);

  rmSync(filler);
  await checkReplaced(t, { replacer, path, inside });
});

t.test('no room for another file name: the old key stays, whole', needs, async (t) => {
  const { replacer, path, inside } = await keyOnSmallDisk(t, 'size=1m,nr_inodes=20');
  const fillers = join(inside, 'fillers');
  mkdirSync(fillers);
  fillUp((count) => writeFileSync(join(fillers, String(count)), ''));
  await checkRefused(t, { replacer, path, inside }, /no space left on device \(ENOSPC\)/);

  rmSync(fillers, { recursive: true });
  await checkReplaced(t, { replacer, path, inside });
});

t.test('a read-only disk: the old key stays, and the reason is told', needs, async (t) => {
  const { replacer, path, inside } = await keyOnSmallDisk(t, 'size=64k');
  const remount = (mode: string) =>
    execFileSync('nsenter', [
      '-t',
      String(replacer.pid),
      '-m',
      'mount',
      '-o',
      `remount,${mode}`,
      'none',
      mountPoint(path),
    ]);
  remount('ro');
  await checkRefused(t, { replacer, path, inside }, /read-only file system \(EROFS\)/);

  remount('rw');
  await checkReplaced(t, { replacer, path, inside });
});

t.test(
  'a disk in memory mounted for the key is closed to others and used, whoever may write in it',
  needs,
  async (t) => {
    const { replacer, inside, folder } = await emptyDisk(t);
    t.equal(statSync(inside).mode & 0o7777, 0o1777, 'what mount makes when nobody says otherwise');
    for (const line of [oldLine, newLine]) {
      t.same(await replacer.replace(join(folder, 'authorized_keys'), line), { ok: true });
      t.equal(statSync(inside).mode & 0o7777, 0o700);
      t.same(readdirSync(inside), ['authorized_keys']);
      t.equal(readFileSync(join(inside, 'authorized_keys'), 'utf8'), `${line}\n`);
    }
  },
);

t.test('a disk in memory that holds files of others is neither closed to them nor used', needs, async (t) => {
  const { replacer, inside, folder } = await emptyDisk(t);
  writeFileSync(join(inside, 'of somebody'), '');
  t.match(await replacer.replace(join(folder, 'authorized_keys'), newLine), {
    ok: false,
    code: 'key.unwritable',
    sentence: /shared by all users/,
  });
  t.equal(statSync(inside).mode & 0o7777, 0o1777);
  t.same(readdirSync(inside), ['of somebody']);
});

for (const place of ['/mnt', '/var/tmp', '/dev/shm']) {
  t.test(`${place} stays open to all, also while it is empty, and also behind a link`, needs, async (t) => {
    const { replacer, inside } = await emptyDisk(t, place);
    const link = join(t.testdir(), '.ssh');
    symlinkSync(place, link);
    for (const folder of [place, link]) {
      t.match(await replacer.replace(join(folder, 'authorized_keys'), newLine), {
        ok: false,
        sentence: /shared by all users/,
      });
      t.equal(statSync(inside).mode & 0o7777, 0o1777);
      t.same(readdirSync(inside), []);
    }
  });
}

/** A tmpfs with nothing in it, mounted on `folder` for the replacing process only. */
async function emptyDisk(
  t: Test,
  folder = t.testdir(),
): Promise<{ replacer: Replacer; folder: string; inside: string }> {
  const mount = 'mount -t tmpfs none "$1" && shift && exec "$@"';
  const replacer = await startReplacer(['unshare', '-m', 'sh', '-c', mount, 'sh', folder]);
  t.teardown(() => replacer.stop());
  return { replacer, folder, inside: join('/proc', String(replacer.pid), 'root', folder) };
}

interface SmallDisk {
  replacer: Replacer;
  /** The key file as the replacing process sees it. */
  path: string;
  /** The mounted disk as the test sees it. */
  inside: string;
}

/** An old key in `.ssh` on a tmpfs that only the replacing process has mounted. */
async function keyOnSmallDisk(t: Test, mountOptions: string): Promise<SmallDisk> {
  const disk = t.testdir();
  const mount = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"';
  const replacer = await startReplacer(['unshare', '-m', 'sh', '-c', mount, 'sh', mountOptions, disk]);
  t.teardown(() => replacer.stop());
  const inside = join('/proc', String(replacer.pid), 'root', disk);
  mkdirSync(join(inside, '.ssh'), { mode: 0o700 });
  writeFileSync(join(inside, '.ssh', 'authorized_keys'), `${oldLine}\n`, { mode: 0o600 });
  return { replacer, path: join(disk, '.ssh', 'authorized_keys'), inside };
}

function mountPoint(path: string): string {
  return join(path, '..', '..');
}

/** Repeats until the disk is full. */
function fillUp(write: (count: number) => void): void {
  for (let count = 0; count < 1000; count += 1) {
    try {
      write(count);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return;
      throw error;
    }
  }
  throw new Error('the disk does not fill up');
}

async function checkRefused(t: Test, { replacer, path, inside }: SmallDisk, why: RegExp): Promise<void> {
  const outcome = await replacer.replace(path, newLine);
  t.match(outcome, { ok: false, code: 'key.unwritable', sentence: why });
  checkFile(t, inside, oldLine);
}

async function checkReplaced(t: Test, { replacer, path, inside }: SmallDisk): Promise<void> {
  t.same(await replacer.replace(path, newLine), { ok: true }, 'with the disk in order again it succeeds');
  checkFile(t, inside, newLine);
}

function checkFile(t: Test, inside: string, line: string): void {
  const folder = join(inside, '.ssh');
  t.equal(readFileSync(join(folder, 'authorized_keys'), 'utf8'), `${line}\n`);
  t.equal(statSync(join(folder, 'authorized_keys')).mode & 0o777, 0o600);
  t.same(readdirSync(folder), ['authorized_keys'], 'no temporary file remains');
}
