import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import t, { type Test } from 'tap';
import { Secrets } from '../../../src/gateway/secrets.ts';
import { requires } from '../../support/requires.ts';

const unusable = (message: RegExp) => ({ code: 'gateway.secret-key-unusable', message });
const LINE = `${Buffer.alloc(32, 7).toString('base64')}\n`;

function folderWith(t: Test, content?: string | Buffer, mode = 0o600): string {
  const folder = t.testdir();
  if (content !== undefined) {
    writeFileSync(join(folder, 'gateway.key'), content);
    chmodSync(join(folder, 'gateway.key'), mode);
  }
  return folder;
}

t.test('the first start makes a key that nobody else can read; later ones use it', async (t) => {
  const folder = folderWith(t);
  const first = await Secrets.open(folder);
  const path = join(folder, 'gateway.key');
  const line = readFileSync(path, 'utf8');
  t.match(line, /^[A-Za-z0-9+/]{43}=\n$/);
  t.equal(statSync(path).mode & 0o7777, 0o600);
  t.strictSame(readdirSync(folder), ['gateway.key']);
  const second = await Secrets.open(folder, [{ key: 'd', tunnelTokenSealed: first.seal('token', 'd') }]);
  t.equal(readFileSync(path, 'utf8'), line);
  t.equal(second.fingerprint('token'), first.fingerprint('token'));
  t.notMatch(inspect(second, { depth: 9, showHidden: true }), /[0-9a-f]{2} [0-9a-f]{2}/, 'the keys are not shown');
});

t.test('another key gives other fingerprints; neither is the plain hash of the token', async (t) => {
  const first = await Secrets.open(folderWith(t, LINE));
  t.match(first.fingerprint('token'), /^[0-9a-f]{64}$/);
  t.not(first.fingerprint('token'), first.fingerprint('Token'));
  t.not(first.fingerprint('token'), (await Secrets.open(t.testdir())).fingerprint('token'));
  t.equal(
    (await Secrets.open(folderWith(t, LINE.trimEnd()))).fingerprint('token'),
    first.fingerprint('token'),
    'an editor may have taken the end of the line',
  );
});

t.test('the same key gives the same fingerprint in every version: a change would lock every device out', async (t) => {
  const secrets = await Secrets.open(folderWith(t, LINE));
  t.equal(secrets.fingerprint('token'), '4084dd8b28ed1e56c416e4b9808d54b289c2e4ba3e5d098fb04273fda7003bba');
  t.equal(secrets.unseal('v1.P4-uiYaNPPwZSkdx-cZPC_1rYJEZAOAgXJ9vPlrpo99Y', 'device-1'), 'token');
});

t.test('a sealed token opens for its device only, and only as it was', async (t) => {
  const secrets = await Secrets.open(t.testdir());
  for (const token of ['token', '', 'žluťoučký 👩‍👩‍👧', 'x'.repeat(5000)]) {
    const sealed = secrets.seal(token, 'device-1');
    t.match(sealed, /^v1\.[A-Za-z0-9_-]+$/);
    t.not(sealed, secrets.seal(token, 'device-1'), 'never the same twice');
    t.equal(secrets.unseal(sealed, 'device-1'), token);
  }
  const sealed = secrets.seal('token', 'device-1');
  const refused = unusable(/^the token of .* does not open with this gateway\.key/);
  const bytes = Buffer.from(sealed.slice(3), 'base64url');
  t.throws(() => secrets.unseal(sealed, 'device-2'), refused);
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    t.throws(() => secrets.unseal(`v1.${changed.toString('base64url')}`, 'device-1'), refused);
  }
  for (const text of ['', 'v1.', `v2.${sealed.slice(3)}`, sealed.slice(0, -4), `${sealed} `, 'v1.AAAA', 'token']) {
    t.throws(() => secrets.unseal(text, 'device-1'), refused, text);
  }
  const other = await Secrets.open(folderWith(t, LINE));
  t.throws(() => other.unseal(sealed, 'device-1'), refused);
});

t.test('a missing key is not made anew where devices have tokens', async (t) => {
  const folder = t.testdir();
  const devices = [
    { key: 'd', tunnelTokenSealed: null },
    { key: 'e', tunnelTokenSealed: null },
  ];
  await t.rejects(Secrets.open(folder, devices), unusable(/gateway\.key is missing, and the tokens of 2 devices/));
  t.strictSame(readdirSync(folder), []);
});

t.test('a key that is not the one of the database is told at the start', async (t) => {
  const devices = [
    { key: 'd', tunnelTokenSealed: null },
    { key: 'e', tunnelTokenSealed: (await Secrets.open(t.testdir())).seal('token', 'e') },
  ];
  await t.rejects(Secrets.open(folderWith(t, LINE), devices), unusable(/token of e does not open/));
});

for (const [name, content] of [
  ['empty', ''],
  ['short', LINE.slice(4)],
  ['long', `${Buffer.alloc(48).toString('base64')}\n`],
  ['of two lines', LINE + LINE],
  ['with something before it', ` ${LINE}`],
  ['of raw bytes', Buffer.alloc(32, 7)],
  ['a giant', 'A'.repeat(100_000)],
] as const) {
  t.test(`a key file that is ${name} is refused, left, and not shown`, async (t) => {
    const folder = folderWith(t, content);
    const error = await Secrets.open(folder).then(
      () => null,
      (reason: unknown) => reason as Error,
    );
    t.match(error, unusable(/gateway\.key cannot be used: it /));
    t.notMatch(inspect(error, { depth: 9 }), /BwcHBwc/);
    t.ok(readFileSync(join(folder, 'gateway.key')).equals(Buffer.from(content)));
  });
}

for (const mode of [0o640, 0o604, 0o660, 0o622]) {
  t.test(`a key file of mode ${mode.toString(8)} is refused`, async (t) => {
    await t.rejects(Secrets.open(folderWith(t, LINE, mode)), unusable(/it is open to others: mode 0/));
  });
}

t.test('what is no regular file, or of another user, is refused', async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, 'gateway.key'));
  await t.rejects(Secrets.open(folder), unusable(/it is not a regular file/));
  const linked = t.testdir({ target: LINE });
  chmodSync(join(linked, 'target'), 0o600);
  symlinkSync('target', join(linked, 'gateway.key'));
  await t.rejects(Secrets.open(linked), unusable(/it is a link/));
  t.ok(existsSync(join(linked, 'target')));
});

t.test('a key file of another user is refused', requires('root'), async (t) => {
  const folder = folderWith(t, LINE);
  chownSync(join(folder, 'gateway.key'), 12345, 12345);
  await t.rejects(Secrets.open(folder), unusable(/belongs to user 12345/));
});

t.test('where the key cannot be written, nothing starts with one that the next start would not have', async (t) => {
  await t.rejects(Secrets.open(join(t.testdir(), 'none')), unusable(/could not be made: no such file or directory/));
});
