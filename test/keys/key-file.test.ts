import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { KeyFile } from '../../src/pairing/key-file.ts';
import { parsePublicKey } from '../../src/pairing/public-key.ts';
import { Failure } from '../../src/support/failures.ts';
import { requires } from '../support/requires.ts';
import { testLog } from '../support/test-log.ts';
import { fingerprintsBySshKeygen, generateKey } from './support/ssh-keys.ts';

const keys = t.testdir();
const [one, two, three] = ['one', 'two', 'three'].map((comment) =>
  parsePublicKey(generateKey(keys, 'ed25519', undefined, comment).publicLine),
) as [ReturnType<typeof parsePublicKey>, ReturnType<typeof parsePublicKey>, ReturnType<typeof parsePublicKey>];
const RESTRICTION = 'restrict,port-forwarding,permitopen="localhost:3240",permitopen="localhost:5000"';
const STRANGER = 1234;

/** A key file in a folder of its own, made where only root can change anything. */
function place(t: Test, options: { keyOptions?: string } = {}) {
  const home = mkdtempSync(join(tmpdir(), 'zeroforce-keys-'));
  t.teardown(() => rmSync(home, { recursive: true }));
  const { log, lines } = testLog();
  const folder = join(home, '.ssh');
  const path = join(folder, 'authorized_keys');
  return { home, folder, path, lines, keyFile: new KeyFile({ path, log, ...options }) };
}

const modeOf = (path: string) => statSync(path).mode & 0o777;

t.test('without a file there is no key', async (t) => {
  const { keyFile, folder } = place(t);
  t.equal(await keyFile.current(), null);
  mkdirSync(folder);
  t.equal(await keyFile.current(), null);
});

t.test('the first key makes the folder, 0700, and the file, 0600, whatever the umask', async (t) => {
  for (const umask of [0o000, 0o077, 0o777]) {
    const { keyFile, folder, path } = place(t);
    const before = process.umask(umask);
    try {
      await keyFile.replace(one);
    } finally {
      process.umask(before);
    }
    t.equal(modeOf(folder), 0o700);
    t.equal(modeOf(path), 0o600);
    t.equal(readFileSync(path, 'utf8'), `${one.line}\n`);
    t.same(await keyFile.current(), one);
  }
});

t.test('exactly one key is kept, and the modes are set right again', async (t) => {
  const { keyFile, folder, path } = place(t);
  mkdirSync(folder, { mode: 0o755 });
  writeFileSync(path, `${one.line}\n${two.line}\n# mine\n`, { mode: 0o666 });
  await keyFile.replace(three);
  t.equal(readFileSync(path, 'utf8'), `${three.line}\n`);
  t.equal(modeOf(folder), 0o700);
  t.equal(modeOf(path), 0o600);
  t.same(readdirSync(folder), ['authorized_keys']);
});

t.test('the configured restriction stands before the key, and ssh-keygen reads the line', async (t) => {
  const { keyFile, path } = place(t, { keyOptions: RESTRICTION });
  await keyFile.replace(one);
  const text = readFileSync(path, 'utf8');
  t.equal(text, `${RESTRICTION} ${one.line}\n`);
  t.same(fingerprintsBySshKeygen(keys, [text.trim()]), [{ bits: 256, hash: one.fingerprint }]);
  t.same(await keyFile.current(), one);
});

t.test('a restriction that would not stay at the start of the line is refused when it is set', async (t) => {
  const { log } = testLog();
  for (const keyOptions of [
    `restrict\n${one.line}`,
    'restrict\0',
    'no-pty restrict',
    'command="open',
    ' restrict',
    'a\tb',
  ]) {
    t.throws(
      () => new KeyFile({ path: '/nowhere/authorized_keys', keyOptions, log }),
      { code: 'config.invalid' },
      keyOptions,
    );
  }
  for (const keyOptions of ['', 'restrict', RESTRICTION, 'command="say \\"two words\\""']) {
    t.doesNotThrow(() => new KeyFile({ path: '/nowhere/authorized_keys', keyOptions, log }), keyOptions);
  }
});

t.test('the current key is the first valid one, whatever stands around it', async (t) => {
  const { keyFile, folder, path } = place(t);
  mkdirSync(folder);
  const texts: Record<string, string> = {
    options: `${RESTRICTION} ${one.line}\n`,
    'options with blanks and quotes': `command="say \\"ssh-rsa \\"",no-pty ${one.line}`,
    'comments, empty and broken lines': `\n# ${two.line}\nssh-rsa AAAA\n${one.line}\n${two.line}\n`,
    'Windows line ends': `\r\n${one.line}\r\n`,
    tabs: `\trestrict\t${one.line.replaceAll(' ', '\t')}\n`,
    'bytes that are no text': `\0\xff\n${one.line}\n`,
  };
  for (const [name, text] of Object.entries(texts)) {
    writeFileSync(path, text, 'latin1');
    t.equal((await keyFile.current())?.fingerprint, one.fingerprint, name);
  }
  for (const text of [
    '',
    '\n\n',
    `# ${one.line}\n`,
    'ssh-rsa AAAA x\n',
    `"${one.line}\n`,
    `${'x'.repeat(70_000)}\n${one.line}\n`,
  ]) {
    writeFileSync(path, text);
    t.equal(await keyFile.current(), null, JSON.stringify(text.slice(0, 20)));
  }
});

t.test('what is in place of the file and cannot be read is a failure, and never hangs', async (t) => {
  const { keyFile, folder, path } = place(t);
  mkdirSync(path, { recursive: true });
  await t.rejects(keyFile.current(), { code: 'key.unreadable', message: /not a regular file/ });
  await t.rejects(keyFile.replace(one), { code: 'key.unwritable' });
  t.same(readdirSync(folder), ['authorized_keys'], 'no temporary file remains');
  rmSync(path, { recursive: true });
  execFileSync('mkfifo', [path]);
  await t.rejects(keyFile.current(), { code: 'key.unreadable', message: /not a regular file/ });
});

t.test('a link in place of the file is replaced; what it points to stays', async (t) => {
  const { keyFile, home, folder, path } = place(t);
  mkdirSync(folder);
  const target = join(home, 'precious');
  writeFileSync(target, `${one.line}\n`, { mode: 0o644 });
  symlinkSync(target, path);
  t.same(await keyFile.current(), one, 'reading follows it, as sshd does');
  await keyFile.replace(two);
  t.ok(lstatSync(path).isFile());
  t.same(await keyFile.current(), two);
  t.equal(readFileSync(target, 'utf8'), `${one.line}\n`);
  t.equal(modeOf(target), 0o644);
});

t.test('a folder behind a link of root is used', async (t) => {
  const { keyFile, home, folder } = place(t);
  mkdirSync(join(home, 'elsewhere'));
  symlinkSync('elsewhere', folder);
  await keyFile.replace(one);
  t.equal(readlinkSync(folder), 'elsewhere');
  t.equal(readFileSync(join(home, 'elsewhere', 'authorized_keys'), 'utf8'), `${one.line}\n`);
});

t.test('a folder behind a link of another user is refused: it could lead anywhere', requires('root'), async (t) => {
  const { keyFile, home, folder } = place(t);
  mkdirSync(join(home, 'elsewhere'), { mode: 0o755 });
  symlinkSync('elsewhere', folder);
  lchownSync(folder, STRANGER, STRANGER);
  await t.rejects(keyFile.replace(one), { code: 'key.unwritable', message: /link that belongs to user 1234/ });
  t.same(readdirSync(join(home, 'elsewhere')), []);
  t.equal(modeOf(join(home, 'elsewhere')), 0o755);
});

t.test('the key belongs to the owner of its folder', requires('root'), async (t) => {
  const { keyFile, folder, path } = place(t);
  mkdirSync(folder);
  chownSync(folder, STRANGER, STRANGER + 1);
  await keyFile.replace(one);
  t.match(statSync(path), { uid: STRANGER, gid: STRANGER + 1 });
  t.equal(modeOf(folder), 0o700);
});

t.test('a folder that is made belongs to the owner of the home', requires('root'), async (t) => {
  const { keyFile, home, folder, path } = place(t);
  chownSync(home, STRANGER, STRANGER + 1);
  await keyFile.replace(one);
  t.match(statSync(folder), { uid: STRANGER, gid: STRANGER + 1 });
  t.match(statSync(path), { uid: STRANGER, gid: STRANGER + 1 });
});

t.test('folders above the file are made too', async (t) => {
  const { home } = place(t);
  const path = join(home, 'a', 'b', 'authorized_keys');
  await new KeyFile({ path, log: testLog().log }).replace(one);
  t.equal(modeOf(join(home, 'a')), 0o700);
  t.equal(modeOf(join(home, 'a', 'b')), 0o700);
  t.equal(readFileSync(path, 'utf8'), `${one.line}\n`);
});

t.test('a folder of all users is neither closed to them nor used', async (t) => {
  const { home } = place(t);
  const folder = join(home, 'tmp');
  mkdirSync(folder);
  writeFileSync(join(folder, 'of somebody'), '');
  chmodSync(folder, 0o1777);
  const keyFile = new KeyFile({ path: join(folder, 'authorized_keys'), log: testLog().log });
  await t.rejects(keyFile.replace(one), { code: 'key.unwritable', message: /shared by all users/ });
  t.equal(statSync(folder).mode & 0o7777, 0o1777);
  t.same(readdirSync(folder), ['of somebody']);
});

t.test('a folder open to all that holds nothing but ours is closed to them and used', async (t) => {
  const { keyFile, folder, path } = place(t);
  mkdirSync(folder);
  writeFileSync(path, `${two.line}\n`);
  writeFileSync(join(folder, '.authorized_keys.0123456789ab.tmp'), 'left by a crash');
  chmodSync(folder, 0o1777);
  await keyFile.replace(one);
  t.equal(statSync(folder).mode & 0o7777, 0o700);
  t.same(readdirSync(folder), ['authorized_keys']);
  t.equal(readFileSync(path, 'utf8'), `${one.line}\n`);
});

t.test('a parent that others can change is reported, for sshd would refuse the key', async (t) => {
  const { keyFile, home, lines } = place(t);
  chmodSync(home, 0o775);
  await keyFile.replace(one);
  t.match(lines, [{ level: 'warn', folder: home, mode: '775', msg: /sshd may refuse/ }]);
});

t.test('only what an earlier crash left is cleaned, nothing else with a similar name', async (t) => {
  const { keyFile, folder } = place(t);
  mkdirSync(folder);
  const ours = ['.authorized_keys.0123456789ab.tmp', '.authorized_keys.ffffffffffff.tmp'];
  const others = [
    '.authorized_keys.0123456789AB.tmp',
    '.authorized_keys.0123456789a.tmp',
    '.authorized_keys.tmp',
    '.authorized_keys2.0123456789ab.tmp',
    'authorized_keys.0123456789ab.tmp',
    'known_hosts',
  ];
  for (const name of [...ours, ...others]) writeFileSync(join(folder, name), 'x');
  mkdirSync(join(folder, '.authorized_keys.abcdefabcdef.tmp'));
  await keyFile.replace(one);
  t.same(readdirSync(folder).sort(), ['.authorized_keys.abcdefabcdef.tmp', 'authorized_keys', ...others].sort());
});

t.test('a reader sees the old key or the new one at every moment', async (t) => {
  const { keyFile, path } = place(t);
  await keyFile.replace(one);
  const seen = new Set<string>();
  let done = false;
  const replacing = (async () => {
    for (let turn = 0; turn < 40; turn += 1) await keyFile.replace(turn % 2 === 0 ? two : one);
    done = true;
  })();
  while (!done) {
    seen.add(readFileSync(path, 'utf8'));
    await new Promise(setImmediate);
  }
  await replacing;
  t.same([...seen].sort(), [`${one.line}\n`, `${two.line}\n`].sort());
});

t.test('after a failure the next replacement works', async (t) => {
  const { keyFile, home, folder, path } = place(t);
  writeFileSync(folder, 'a file in the place of the folder');
  const failure = await keyFile.replace(one).then(
    () => null,
    (error: unknown) => error,
  );
  t.ok(failure instanceof Failure);
  t.match(failure, { code: 'key.unwritable', message: /could not be replaced: not a directory \(ENOTDIR\)/ });
  rmSync(folder);
  await keyFile.replace(two);
  t.same(readFileSync(path, 'utf8'), `${two.line}\n`);
  t.same(readdirSync(home), ['.ssh']);
});
