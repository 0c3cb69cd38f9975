import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { KeyFile } from '../../src/pairing/key-file.ts';
import { requires } from '../support/requires.ts';
import { testLog } from '../support/test-log.ts';

function place(t: Test) {
  const folder = join(t.testdir(), '.ssh');
  const path = join(folder, 'authorized_keys');
  return { folder, path, keyFile: new KeyFile({ path, log: testLog().log }) };
}

t.test('every key is gone, ours and others, and what a killed replacement left', async (t) => {
  const { folder, path, keyFile } = place(t);
  mkdirSync(folder);
  writeFileSync(path, 'one\ntwo\n# three\n');
  writeFileSync(join(folder, '.authorized_keys.0123456789ab.tmp'), 'old');
  writeFileSync(join(folder, 'id_ed25519'), 'not ours');
  await keyFile.remove();
  t.same(readdirSync(folder), ['id_ed25519']);
  t.equal(await keyFile.current(), null);
  await t.resolves(keyFile.remove(), 'what is not there is removed already');
});

t.test('no folder is no key', async (t) => {
  const { folder, keyFile } = place(t);
  await keyFile.remove();
  t.throws(() => lstatSync(folder), { code: 'ENOENT' });
});

t.test('a link is removed itself', async (t) => {
  const { folder, path, keyFile } = place(t);
  mkdirSync(folder);
  const other = join(folder, 'other');
  writeFileSync(other, 'precious');
  symlinkSync(other, path);
  await keyFile.remove();
  t.same(readdirSync(folder), ['other']);
  t.equal(readFileSync(other, 'utf8'), 'precious');
});

t.test('what cannot be removed is told', async (t) => {
  const { folder, path, keyFile } = place(t);
  mkdirSync(path, { recursive: true });
  await t.rejects(keyFile.remove(), { code: 'key.unwritable', message: /authorized_keys could not be removed: / });
  const below = new KeyFile({ path: join(folder, 'file', 'authorized_keys'), log: testLog().log });
  writeFileSync(join(folder, 'file'), '');
  await t.rejects(below.remove(), { code: 'key.unwritable', message: /not a directory/ });
});

t.test('the folder is synced after the file is gone: a power cut brings no key back', requires('ptrace'), async (t) => {
  const { folder, path } = place(t);
  mkdirSync(folder);
  writeFileSync(path, 'one\n');
  const trace = join(folder, 'trace');
  const script = join(folder, 'remove.mjs');
  const module = resolve(import.meta.dirname, '../../src/pairing/key-file.js');
  writeFileSync(
    script,
    `import { KeyFile } from ${JSON.stringify(module)};
await new KeyFile({ path: ${JSON.stringify(path)}, log: null }).remove();`,
  );
  execFileSync('strace', ['-f', '-y', '-e', 'trace=unlink,fsync', '-o', trace, process.execPath, script]);
  const calls = readFileSync(trace, 'utf8').split('\n');
  const removed = calls.findIndex((call) => /unlink\(.*authorized_keys"/.test(call));
  const synced = calls.findIndex((call) => new RegExp(`fsync\\(\\d+<${folder}>`).test(call));
  t.ok(removed >= 0 && synced > removed, calls.join('\n'));
});
