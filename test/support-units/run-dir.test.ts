import { chmodSync, chownSync, mkdirSync, rmdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { prepareRunDir } from '../../src/support/run-dir.ts';
import { requires } from '../support/requires.ts';

const modeOf = (path: string) => statSync(path).mode & 0o7777;

function folder(t: Test, mode?: number): string {
  const path = join(t.testdir(), 'run');
  if (mode !== undefined) {
    mkdirSync(path);
    chmodSync(path, mode);
  }
  return path;
}

t.test('makes the folder and those above it, writable by its owner alone', async (t) => {
  const path = join(folder(t), 'deep', 'er');
  const before = process.umask(0);
  await prepareRunDir(path);
  process.umask(before);
  t.equal(modeOf(path), 0o755);
});

t.test('leaves a good one as it is, tightens one that the group may write to', async (t) => {
  for (const [before, after] of [
    [0o755, 0o755],
    [0o700, 0o700],
    [0o775, 0o755],
    [0o770, 0o750],
  ] as const) {
    const path = folder(t, before);
    await prepareRunDir(path);
    t.equal(modeOf(path), after);
    rmdirSync(path);
  }
});

for (const [what, make, reason] of [
  ['that everybody may write to', (t: Test) => folder(t, 0o777), /mode 0777: anybody may write to it/],
  ['that everybody may write to, sticky bit or not', (t: Test) => folder(t, 0o1777), /mode 1777/],
  ['that is a link', linked, /is a link or no folder/],
  ['whose parent is a file', (t: Test) => join(filed(t), 'run'), /is a link or no folder/],
  ['that is a file', filed, /is a link or no folder/],
] as const) {
  t.test(`refuses one ${what}`, async (t) => {
    const path = make(t);
    await t.rejects(prepareRunDir(path), { code: 'run-dir.unwritable', message: reason });
  });
}

t.test('refuses one of another user', requires('root'), async (t) => {
  const path = folder(t, 0o755);
  chownSync(path, 65534, 65534);
  await t.rejects(prepareRunDir(path), {
    code: 'run-dir.unwritable',
    message: /belongs to user 65534, not to the service's user 0/,
  });
});

function linked(t: Test): string {
  const path = folder(t);
  symlinkSync('/tmp', path);
  return path;
}

function filed(t: Test): string {
  const path = folder(t);
  writeFileSync(path, '');
  return path;
}

t.test('a folder that cannot be made is a failure at once, below /proc too', async (t) => {
  for (const path of ['/proc/zeroforce', '/proc/zeroforce/run', '/dev/null/run']) {
    await t.rejects(prepareRunDir(path), { code: 'run-dir.unwritable' }, path);
  }
});
