import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { openAdminToken } from '../../src/gateway/admin-token.ts';
import { temporaryFolder } from '../device/support.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';

const unusable = (message: RegExp) => ({ code: 'gateway.admin-token-unusable', message });

t.test('the token is made at the first start, and is the same at the next', async (t) => {
  const path = join(temporaryFolder(t), 'made', 'admin-token');
  const first = await openAdminToken(path);
  t.equal(first.made, true);
  t.match(first.token.reveal(), /^[A-Za-z0-9_-]{43}$/);
  t.equal(readFileSync(path, 'utf8'), `${first.token.reveal()}\n`);
  t.equal(statSync(path).mode & 0o777, 0o600);
  const second = await openAdminToken(path);
  t.equal(second.made, false);
  t.equal(second.token.reveal(), first.token.reveal());
  t.not((await openAdminToken(`${path}-2`)).token.reveal(), first.token.reveal());
  t.notMatch(JSON.stringify(first), first.token.reveal(), 'it does not show itself');
});

t.test('a token of somebody else is taken as it is, through a link, and read-only', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'secret');
  writeFileSync(path, 'a token by hand, no: blanks'.replaceAll(' ', '-'), { mode: 0o400 });
  symlinkSync(path, join(folder, 'link'));
  const { token, made } = await openAdminToken(join(folder, 'link'));
  t.strictSame([token.reveal(), made], ['a-token-by-hand,-no:-blanks', false]);
});

t.test('a file that is broken, or open to others, is refused and stays', async (t) => {
  const good = 'x'.repeat(16);
  const table: [string, string, number, RegExp][] = [
    ['empty', '', 0o600, /not one line of 16 to 256/],
    ['too short', 'x'.repeat(15), 0o600, /16 to 256/],
    ['too long', 'x'.repeat(257), 0o600, /16 to 256/],
    ['giant', 'x'.repeat(100_000), 0o600, /more than 1024 bytes/],
    ['two lines', `${good}\n${good}\n`, 0o600, /one line/],
    ['with blanks', `${good} ${good}`, 0o600, /one line/],
    ['in no ASCII', 'ü'.repeat(20), 0o600, /ASCII/],
    ['with NUL', `${good}\0`, 0o600, /ASCII/],
    ['readable for the group', good, 0o640, /mode 640/],
    ['readable for all', good, 0o604, /mode 604/],
    ['writable for all', good, 0o602, /mode 602/],
  ];
  for (const [what, text, mode, message] of table) {
    const path = join(temporaryFolder(t), 'admin-token');
    writeFileSync(path, text);
    chmodSync(path, mode);
    await t.rejects(openAdminToken(path), unusable(message), what);
    t.equal(readFileSync(path, 'utf8'), text, `${what}: it stays`);
  }
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'admin-token'));
  await t.rejects(openAdminToken(join(folder, 'admin-token')), unusable(/not a regular file/));
  await t.rejects(openAdminToken('/proc/nothing/admin-token'), unusable(/cannot be used/));
  const { message } = await openAdminToken(join(folder, 'admin-token')).then(
    () => new Error('it was taken'),
    (error: Error) => error,
  );
  t.match(message, folder, 'the path is named');
});

t.test('a file of another user is refused', { ...requires('root', 'chown') }, async (t) => {
  const path = join(temporaryFolder(t), 'admin-token');
  writeFileSync(path, 'x'.repeat(32), { mode: 0o600 });
  await run('chown', ['65534', path]);
  await t.rejects(openAdminToken(path), unusable(/another user/));
});

t.test('a full disk leaves nothing behind', { ...requires('root', 'namespaces') }, async (t) => {
  const folder = temporaryFolder(t);
  const script = `
    import { openAdminToken } from '${join(import.meta.dirname, '../../src/gateway/admin-token.js')}';
    await openAdminToken('${folder}/admin-token').then(() => console.log('made'), (error) => console.log(error.code, error.message));`;
  const mount = `mount -t tmpfs -o size=4k tmpfs ${folder} && head -c 4096 /dev/zero >${folder}/full; `;
  const { stdout } = await run('unshare', [
    ...['-m', 'sh', '-c', `${mount} "$0" --input-type=module -e "$1"; ls -A ${folder}`, process.execPath, script],
  ]);
  t.match(stdout, /^gateway\.admin-token-unusable .*no space left on device/);
  t.match(stdout, /\nfull\n$/);
  t.strictSame(readdirSync(folder), []);
});
