import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { chown } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readServerKey } from '../../src/meeting/answers.ts';
import { withKey } from '../../src/meeting/authorized-keys.ts';
import { editFile } from '../../src/meeting/edit-file.ts';
import { keepKnownHosts, keepMaintenanceKey, readOwnKey } from '../../src/meeting/kept-files.ts';
import { temporaryFolder } from '../device/support.ts';
import { run } from '../support/processes.ts';
import { freshKeyLine, freshRsaKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import { makeKey, sshOptions, startSshd } from '../support/sshd.ts';

const MARK = 'zeroforce-meeting@meeting.example';
const two = (line: string) => line.split(' ').slice(0, 2).join(' ');
const [A, B, MINE] = [two(freshKeyLine()), two(freshRsaKeyLine()), freshKeyLine('me@home')];
const add = (file: string, line: string) => withKey(file, readServerKey(line), MARK);

t.test('the key is added at the end, and not twice', async (t) => {
  for (const [before, after] of [
    ['', ''],
    [MINE, `${MINE}\n`],
    [`# keys\n${MINE}\n\n`, `# keys\n${MINE}\n\n`],
    ['caf\xe9\r\n', 'caf\xe9\r\n'],
  ]) {
    const file = add(before ?? '', A);
    t.equal(file, `${after}${A} ${MARK}\n`);
    t.equal(add(file ?? '', A), null);
  }
});

t.test('a key that is there in any line is not added, whatever stands around it', async (t) => {
  for (const line of [A, `  ${A} other`, `from="10.0.0.0/8",command="echo \\"x y\\"" ${A}`, `restrict\t${A}\r`]) {
    t.equal(add(`${MINE}\n${line}\n`, A), null, line);
  }
  for (const line of [`# ${A}`, `command="${A}" ${B}`, `x "${A}`, A.slice(0, -4)]) {
    t.not(add(`${line}\n`, A), null, line);
  }
});

t.test('a key that the server had before is exchanged in the line that has our mark, its options stay', async (t) => {
  const file = `${MINE}\nfrom="10.0.0.0/8" ${B} ${MARK}\n${B} other\n`;
  t.equal(add(file, A), `${MINE}\nfrom="10.0.0.0/8" ${A} ${MARK}\n${B} other\n`);
  t.equal(add(`${A} by hand\n${B} ${MARK}\n`, A), `${A} by hand\n`, 'it is there already: the old one only goes');
  t.equal(add(`${B} ${MARK}\n${B} ${MARK}\n`, A), `${A} ${MARK}\n`);
});

t.test('a maintenance file is made 0600 in a folder 0700, and then left alone', async (t) => {
  const folder = join(temporaryFolder(t), 'home', '.ssh');
  const file = join(folder, 'authorized_keys');
  const key = readServerKey(A);
  t.equal(await keepMaintenanceKey(file, '/nowhere/keys', key, 'meeting.example'), true);
  t.equal(readFileSync(file, 'utf8'), `${A} ${MARK}\n`);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(statSync(folder).mode & 0o777, 0o700);
  const before = statSync(file);
  t.equal(await keepMaintenanceKey(file, '/nowhere/keys', key, 'meeting.example'), false);
  t.strictSame([statSync(file).ino, statSync(file).mtimeMs], [before.ino, before.mtimeMs], 'nothing was written');
  t.strictSame(readdirSync(folder), ['authorized_keys']);
});

t.test('a file keeps its owner and mode, but for what lets others write', requires('root'), async (t) => {
  const folder = join(temporaryFolder(t), '.ssh');
  mkdirSync(folder);
  const file = join(folder, 'authorized_keys');
  await chown(folder, 4321, 4322);
  writeFileSync(file, MINE);
  chmodSync(file, 0o664);
  await chown(file, 4321, 4323);
  await editFile(file, () => 'x', { newMode: 0o600 });
  t.match(statSync(file), { uid: 4321, gid: 4323 });
  t.equal(statSync(file).mode & 0o777, 0o644);
  await editFile(join(folder, 'fresh'), () => 'x', { newMode: 0o600 });
  t.match(statSync(join(folder, 'fresh')), { uid: 4321, gid: 4322 });
});

t.test('the file of the paired key is refused under whatever name', async (t) => {
  const key = readServerKey(A);
  const refused = { code: 'meeting.maintenance-file', message: /pairing would erase the maintenance keys/ };
  for (const exists of [true, false]) {
    const root = temporaryFolder(t);
    mkdirSync(join(root, 'ssh'), { mode: 0o700 });
    mkdirSync(join(root, 'else'), { mode: 0o700 });
    const pairing = join(root, 'ssh', 'authorized_keys');
    if (exists) writeFileSync(pairing, MINE);
    symlinkSync(join(root, 'ssh'), join(root, 'linked'));
    const names = [pairing, join(root, 'linked', 'authorized_keys'), join(root, 'ssh', '..', 'ssh', 'authorized_keys')];
    if (exists) {
      linkSync(pairing, join(root, 'else', 'hard'));
      symlinkSync(pairing, join(root, 'else', 'soft'));
      names.push(join(root, 'else', 'hard'), join(root, 'else', 'soft'));
    }
    for (const name of names) await t.rejects(keepMaintenanceKey(name, pairing, key, 'm'), refused, name);
    await t.rejects(keepMaintenanceKey(pairing, join(root, 'linked', 'authorized_keys'), key, 'm'), refused);
    t.equal(exists ? readFileSync(pairing, 'utf8') : existsSync(pairing), exists ? MINE : false);
    t.equal(await keepMaintenanceKey(join(root, 'ssh', 'authorized_keys2'), pairing, key, 'm'), true);
  }
});

t.test('links, second names and folders of everybody are refused, and nothing is read or written there', async (t) => {
  const root = temporaryFolder(t);
  const secret = join(root, 'secret');
  writeFileSync(secret, 'root:hash\n', { mode: 0o600 });
  const folder = join(root, 'home');
  mkdirSync(folder, { mode: 0o700 });
  symlinkSync(secret, join(folder, 'soft'));
  linkSync(secret, join(folder, 'hard'));
  mkdirSync(join(folder, 'folder'));
  writeFileSync(join(folder, 'large'), 'x'.repeat(300_000));
  const open = join(root, 'open');
  mkdirSync(open);
  chmodSync(open, 0o1777);
  for (const [file, message] of [
    [join(folder, 'soft'), /it is a link/],
    [join(folder, 'hard'), /second name/],
    [join(folder, 'folder'), /not a regular file/],
    [join(folder, 'large'), /more than/],
    [join(open, 'file'), /others than the owner can write/],
  ] as [string, RegExp][]) {
    const edit = () => t.fail('it was read') as never;
    await t.rejects(editFile(file, edit, { newMode: 0o600 }), { message }, file);
  }
  t.equal(readFileSync(secret, 'utf8'), 'root:hash\n');
  t.ok(lstatSync(join(folder, 'soft')).isSymbolicLink());
  t.notOk(existsSync(join(open, 'file')));
});

t.test('a folder that another user made a link of is refused', requires('root'), async (t) => {
  const { lchown } = await import('node:fs/promises');
  const root = temporaryFolder(t);
  const [home, target] = [join(root, 'home'), join(root, 'target')];
  for (const folder of [home, target]) mkdirSync(folder, { mode: 0o700 });
  await chown(home, 4321, 4321);
  symlinkSync(target, join(home, '.ssh'));
  await lchown(join(home, '.ssh'), 4321, 4321);
  await t.rejects(
    editFile(join(home, '.ssh', 'x'), () => 'x', { newMode: 0o600 }),
    { message: /link that another/ },
  );
  t.strictSame(readdirSync(target), []);
  symlinkSync(target, join(root, 'ours'));
  t.equal(await editFile(join(root, 'ours', 'x'), () => 'x', { newMode: 0o600 }), true, 'one of root is followed');
});

t.test('what a killed replacement left behind is no second name', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'known_hosts');
  writeFileSync(file, 'a\n');
  linkSync(file, join(folder, '.known_hosts.0123456789ab.tmp'));
  t.equal(await editFile(file, (text) => `${text}b\n`, { newMode: 0o600 }), true);
  t.strictSame(readdirSync(folder), ['known_hosts']);
  t.equal(readFileSync(file, 'utf8'), 'a\nb\n');
});

t.test('known_hosts: made 0644 where it is missing, and an answer about others changes nothing', async (t) => {
  const file = join(temporaryFolder(t), 'known_hosts');
  const hosts = [{ host: 'meeting.example', ports: [443] }];
  const [type = '', base64 = ''] = A.split(' ');
  const line = (name: string) => [{ names: [name], key: { type, base64 } }];
  await t.rejects(keepKnownHosts({ file, hosts }, line('github.com')), {
    code: 'meeting.api-answer',
    message: /no host key of meeting.example/,
  });
  t.notOk(existsSync(file));
  t.equal(await keepKnownHosts({ file, hosts }, line('meeting.example')), true);
  t.equal(readFileSync(file, 'utf8'), `meeting.example ${A}\n`);
  t.equal(statSync(file).mode & 0o777, 0o644);
  await t.rejects(keepKnownHosts({ file: '/proc/nowhere/x', hosts }, line('meeting.example')), {
    code: 'meeting.known-hosts-file',
  });
});

t.test('our own key: the line is published, a private key or anything else never', async (t) => {
  const folder = temporaryFolder(t);
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  t.equal(await readOwnKey(file('a.pub', `${MINE}\n`)), MINE);
  const privateKey = `-----BEGIN OPENSSH PRIVATE KEY-----\n${createHash('sha512').update('x').digest('base64')}\n`;
  await t.rejects(readOwnKey(file('a', privateKey)), { code: 'meeting.public-key-file', message: /PRIVATE key/ });
  await t.rejects(readOwnKey(file('b', `${MINE}\n${privateKey}`)), { message: /PRIVATE key/ });
  for (const text of ['', 'hello', `${MINE}\n${MINE}`, `from="x" ${MINE}`]) {
    await t.rejects(readOwnKey(file('c', text)), { code: 'meeting.public-key-file', message: /not one line/ });
  }
  await t.rejects(readOwnKey(join(folder, 'none')), { code: 'meeting.public-key-file', message: /ENOENT/ });
  await t.rejects(readOwnKey(folder), { code: 'meeting.public-key-file' });
});

t.test(
  'a real sshd lets the server in with the key that was added, and the user as before',
  requires('sshd', 'ssh'),
  async (t) => {
    const root = temporaryFolder(t);
    const [server, user] = [await makeKey(join(root, 'server'), 'meeting'), await makeKey(join(root, 'user'), 'user')];
    const keys = join(root, '.ssh', 'authorized_keys');
    mkdirSync(join(root, '.ssh'), { mode: 0o700 });
    writeFileSync(keys, user.publicKey); // without the end of the line
    const sshd = await startSshd(join(root, 'sshd'), `AuthorizedKeysFile ${keys}\nPermitRootLogin prohibit-password`);
    t.teardown(() => sshd.stop());
    const known = join(root, 'known_hosts');
    writeFileSync(known, `${sshd.knownHosts}\n`);
    const login = (identity: string) =>
      run('ssh', [
        ...sshOptions(identity, known),
        '-p',
        String(sshd.port),
        `${userInfo().username}@127.0.0.1`,
        'echo in',
      ]);
    t.not((await login(server.path)).code, 0);
    await keepMaintenanceKey(keys, '/nowhere', readServerKey(server.publicKey), 'meeting.example');
    t.match(await login(server.path), { code: 0, stdout: 'in\n' });
    t.match(await login(user.path), { code: 0, stdout: 'in\n' });
    await keepMaintenanceKey(keys, '/nowhere', readServerKey(A), 'meeting.example');
    t.not((await login(server.path)).code, 0, 'the old key of a server that has a new one');
    t.match(await login(user.path), { code: 0, stdout: 'in\n' });
  },
);
