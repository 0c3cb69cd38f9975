import { chmod, mkdir, readdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import t, { type Test } from 'tap';
import { HOST_KEY_FILE, loadHostKey } from '../../../src/gateway/ssh/host-key.ts';
import { Failure } from '../../../src/support/failures.ts';
import { run } from '../../support/processes.ts';
import { requires } from '../../support/requires.ts';
import { testLog } from '../../support/test-log.ts';
import { temporaryFolder } from './support.ts';

const needs = requires('ssh-keygen');
const load = (folder: string) => loadHostKey(folder, testLog().log);

async function keygen(t: Test, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run('ssh-keygen', args);
  t.equal(code, 0, stderr);
  return stdout.trim();
}

t.test('AC: the host key is made once, and ssh-keygen reads it', needs, async (t) => {
  const folder = await temporaryFolder(t);
  const { log, has } = testLog();
  const made = await loadHostKey(folder, log);
  t.ok(has(/a new SSH host key was made/));
  const path = join(folder, HOST_KEY_FILE);
  t.equal((await stat(path)).mode & 0o777, 0o600);
  t.equal(await readFile(path, 'utf8'), made.privateKey);
  t.equal((await keygen(t, '-y', '-f', path)).split(' ').slice(0, 2).join(' '), made.publicKey);
  t.equal(await readFile(`${path}.pub`, 'utf8'), `${made.publicKey}\n`);
  t.match(await keygen(t, '-l', '-f', `${path}.pub`), `256 ${made.fingerprint} `);
  t.strictSame((await readdir(folder)).sort(), [HOST_KEY_FILE, `${HOST_KEY_FILE}.pub`]);
  t.strictSame(await load(folder), made, 'the next start has the same');
  t.not((await load(await temporaryFolder(t))).publicKey, made.publicKey, 'another gateway has another');
});

t.test(
  'a key that ssh2 made and cannot read, as it does with one in 256, is thrown away and another made',
  async (t) => {
    const folder = await temporaryFolder(t);
    const broken = ssh2.utils.generateKeyPairSync('ed25519').private.replace(/.{8}\n-----END/, '\n-----END');
    const { privateKey: sound } = await load(await temporaryFolder(t));
    const keys = [broken, broken];
    const makes = () => keys.pop() ?? sound;
    t.equal((await loadHostKey(folder, testLog().log, makes)).privateKey, sound);
    t.equal(await readFile(join(folder, HOST_KEY_FILE), 'utf8'), sound);
    const other = await temporaryFolder(t);
    await t.rejects(
      loadHostKey(other, testLog().log, () => broken),
      { code: 'gateway.host-key-unusable' },
    );
    t.strictSame(await readdir(other), [], 'and none is written that cannot be read');
  },
);

t.test(
  'a key that ssh-keygen made is taken, and a public half that is missing or wrong is written anew',
  needs,
  async (t) => {
    const folder = await temporaryFolder(t);
    const path = join(folder, HOST_KEY_FILE);
    await keygen(t, '-q', '-t', 'ed25519', '-N', '', '-C', 'a comment', '-f', path);
    const [type, base64] = (await readFile(`${path}.pub`, 'utf8')).split(' ');
    await rm(`${path}.pub`);
    t.equal((await load(folder)).publicKey, `${type} ${base64}`);
    t.equal(await readFile(`${path}.pub`, 'utf8'), `${type} ${base64}\n`);
    await writeFile(`${path}.pub`, 'something else');
    await load(folder);
    t.equal(await readFile(`${path}.pub`, 'utf8'), `${type} ${base64}\n`);
  },
);

t.test('a key that cannot be used is refused, told, and left as it is', needs, async (t) => {
  const own = await load(await temporaryFolder(t));
  const other = await load(await temporaryFolder(t));
  const make =
    (...args: string[]) =>
    async (path: string) =>
      void (await keygen(t, '-q', ...args, '-f', path));
  const write = (text: string) => (path: string) => writeFile(path, text, { mode: 0o600 });
  const half = (text: string) => Buffer.from(text.split('\n').slice(1, -2).join(''), 'base64');
  // The public half of another key in ours: what a restore that mixed two files up could leave.
  const mixed = half(own.privateKey);
  half(other.privateKey).copy(mixed, 125, 125, 157);
  const armoured = `-----BEGIN OPENSSH PRIVATE KEY-----\n${mixed.toString('base64')}\n-----END OPENSSH PRIVATE KEY-----\n`;
  for (const [what, prepare, why] of [
    ['empty', write(''), /./],
    ['not a key', write('hello\n'), /./],
    ['cut off', write(own.privateKey.slice(0, 200)), /./],
    ['of two keys', write(armoured), /not of one key/],
    ['a public key', write(`${own.publicKey}\n`), /not a private key/],
    ['of another type', make('-t', 'ecdsa', '-N', ''), /of type ecdsa-sha2-nistp256, not ssh-ed25519/],
    ['encrypted', make('-t', 'ed25519', '-N', 'secret'), /[Ee]ncrypted/],
    ['a folder', (path: string) => mkdir(path), /not a regular file/],
    ['too long', (path: string) => write('')(path).then(() => truncate(path, 1e6)), /more than 16384 bytes/],
    ['a link in a circle', (path: string) => symlink(path, path), /ELOOP/],
    [
      'readable for the group',
      (path: string) => write(own.privateKey)(path).then(() => chmod(path, 0o640)),
      /mode 640/,
    ],
    ['readable for all', (path: string) => write(own.privateKey)(path).then(() => chmod(path, 0o604)), /mode 604/],
  ] as const) {
    const folder = await temporaryFolder(t);
    const path = join(folder, HOST_KEY_FILE);
    await prepare(path);
    const before = await readFile(path).catch(() => null);
    const failure = await load(folder).then(
      () => null,
      (error: unknown) => error,
    );
    t.ok(failure instanceof Failure, what);
    t.match(failure, { code: 'gateway.host-key-unusable', message: why }, what);
    t.match((failure as Failure).message, path, 'the file is named');
    t.notMatch((failure as Failure).message, own.privateKey.slice(40, 60));
    t.strictSame(await readFile(path).catch(() => null), before, 'and not touched');
  }
});

t.test('where it cannot be written no other is used instead', async (t) => {
  const folder = join(await temporaryFolder(t), 'missing');
  await t.rejects(load(folder), { code: 'gateway.data-dir-unusable', message: /ENOENT/ });
});
