import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bootFileContent } from '../../src/reset/boot-file.ts';

t.test('every content has its own name, the empty one too; the same content has the same', async (t) => {
  const path = join(t.testdir(), 'zeroforce-reset');
  const names: (string | null)[] = [];
  for (const text of ['', ' ', 'again', 'a'.repeat(64 * 1024), 'a'.repeat(64 * 1024 + 1)]) {
    writeFileSync(path, text);
    const name = await bootFileContent(path);
    t.match(name, /^[0-9a-f]{64}$/);
    t.equal(await bootFileContent(path), name);
    names.push(name);
  }
  t.equal(new Set(names).size, names.length);
});

t.test('no file, no folder of it, no partition: nothing is asked for', async (t) => {
  const folder = t.testdir({ file: '' });
  for (const path of ['missing', 'no/such/folder', 'file/below']) {
    t.equal(await bootFileContent(join(folder, path)), null, path);
  }
});

t.test('a huge file is not read whole', async (t) => {
  const path = join(t.testdir(), 'huge');
  execFileSync('truncate', ['-s', '1T', path]);
  t.match(await bootFileContent(path), /^[0-9a-f]{64}$/);
  rmSync(path);
});

t.test('what is no regular file is reported and waits for nobody', async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, 'folder'));
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  for (const name of ['folder', 'pipe']) {
    await t.rejects(bootFileContent(join(folder, name)), { code: 'reset.file-unreadable', message: /regular file/ });
  }
});
