import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Libsql from 'libsql';
import t, { type Test } from 'tap';
import { testLog } from '../../support/test-log.ts';
import { aDevice, anEntry, observed } from '../samples.ts';
import { open } from './support.ts';

const DAY_MS = 86_400_000;
const NOW_MS = Date.UTC(2026, 10, 7, 12, 1, 2);

/** A folder with a database of two devices, closed, and the state of before in a copy: one device. */
async function usedFolder(t: Test): Promise<string> {
  const folder = t.testdir();
  const { store, keepCopy } = await open(folder);
  await store.insertDevice(aDevice('first'));
  t.equal(await keepCopy(), true);
  await store.insertDevice(aDevice('second'));
  for (let at = 0; at < 300; at += 1) {
    await store.observe(observed({ audit: [anEntry('first', at, { reason: 'x'.repeat(100) })] }));
  }
  await store.close();
  return folder;
}

async function devicesIn(folder: string, more = {}): Promise<string[]> {
  const { store, fleet } = await open(folder, more);
  await store.close();
  return fleet.devices.map((device) => device.key).sort();
}

t.test('a first start begins empty, without a word, and what was stored is there after the next', async (t) => {
  const folder = t.testdir();
  const { log, lines } = testLog();
  const { store, fleet } = await open(folder, { log });
  t.strictSame(fleet.devices, []);
  t.strictSame(lines, []);
  await store.insertDevice(aDevice('d'));
  t.strictSame(readdirSync(folder).sort(), ['gateway.db', 'gateway.db-wal']);
  for (const name of readdirSync(folder)) t.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
  await store.close();
  t.strictSame(readdirSync(folder), ['gateway.db'], 'one file, which may be copied');
  t.strictSame(await devicesIn(folder, { log }), ['d']);
  t.strictSame(lines, []);
});

t.test('files that a gateway does not make are no trace of one', async (t) => {
  const folder = t.testdir({
    'lost+found': {},
    'gateway.lock': '',
    'tls.pem': '',
    '.gateway.db.0123456789ab.tmp': 'x',
  });
  t.strictSame(await devicesIn(folder), []);
  t.notOk(existsSync(join(folder, '.gateway.db.0123456789ab.tmp')), 'what a killed start left is removed');
});

for (const name of [
  'gateway.key',
  'gateway.db.backup',
  'gateway.db-wal',
  'gateway.db.corrupt-20260101T000000Z',
  'host.key',
]) {
  t.test(`a missing database beside ${name} was lost: no start without being told to`, async (t) => {
    const folder = t.testdir({ [name]: 'x' });
    const traces = ['host.key'];
    const missing = { code: 'gateway.store-missing', message: new RegExp(`there is ${name}; there is no good copy`) };
    await t.rejects(open(folder, { traces }), missing);
    await t.rejects(open(folder, { traces }), missing, 'again');
    t.strictSame(readdirSync(folder), [name], 'nothing was made');
    t.strictSame(await devicesIn(folder, { traces, emptyStore: true }), []);
    t.strictSame(await devicesIn(folder, { traces }), [], 'and from then on it is there');
  });
}

t.test('begun empty on purpose, the copies of before are kept under another name', async (t) => {
  const folder = await usedFolder(t);
  rmSync(join(folder, 'gateway.db'));
  await t.rejects(open(folder), {
    code: 'gateway.store-missing',
    message: /newest good copy is .*gateway\.db\.backup, of 20/,
  });
  const { store, keepCopy } = await open(folder, { emptyStore: true, nowMs: () => NOW_MS });
  await keepCopy();
  await store.close();
  t.ok(existsSync(join(folder, 'gateway.db.backup.before-20261107T120102Z')));
  rmSync(join(folder, 'gateway.db'));
  rmSync(join(folder, 'gateway.db.backup'));
  await t.rejects(open(folder), { message: /newest good copy is .*backup\.before-20261107T120102Z/ });
});

t.test('an option that stays set does not empty a database that is there', async (t) => {
  const folder = await usedFolder(t);
  t.strictSame(await devicesIn(folder, { emptyStore: true }), ['first', 'second']);
});

/** Each spoils a closed database. */
const DAMAGES: Record<string, (path: string) => void> = {
  'an empty file': (path) => truncateSync(path, 0),
  'a file of 50 bytes': (path) => truncateSync(path, 50),
  'half a file': (path) => truncateSync(path, Math.floor(statSync(path).size / 2)),
  'a file cut within a page': (path) => truncateSync(path, statSync(path).size - 100),
  'the first page only': (path) => truncateSync(path, 4096),
  zeros: (path) => writeFileSync(path, Buffer.alloc(statSync(path).size)),
  'zeros after the first page': (path) => overwrite(path, 4096, Buffer.alloc(statSync(path).size - 4096)),
  'a text': (path) => writeFileSync(path, 'Dear operator,\n'.repeat(1000)),
  'a database of another program': (path) => {
    rmSync(path);
    const other = new Libsql(path);
    other.exec('create table devices (key text)');
    other.close();
  },
  'a broken header': (path) => overwrite(path, 16, Buffer.from('rubbish')),
  'a table that is gone': (path) => sql(path, 'drop table known_addresses'),
  'no version': (path) => sql(path, 'delete from schema_version'),
  'a text that is not ours': (path) => sql(path, `update devices set services = '[{"name":"ssh"' where key = 'first'`),
  'services of another form': (path) => sql(path, `update devices set services = '[{"name":1}]' where key = 'first'`),
  'a port of nobody': (path) =>
    sql(path, `pragma foreign_keys = off; insert into assignments values ('gone', 'ssh', 1)`),
};

for (const [name, spoil] of Object.entries(DAMAGES)) {
  t.test(`${name}: set aside and told, and no start until somebody decides`, async (t) => {
    const folder = await usedFolder(t);
    const path = join(folder, 'gateway.db');
    spoil(path);
    const spoiled = readFileSync(path);
    const aside = join(folder, 'gateway.db.corrupt-20261107T120102Z');
    await t.rejects(open(folder, { nowMs: () => NOW_MS }), {
      code: 'gateway.store-corrupt',
      message: new RegExp(
        `is damaged \\(.+\\); it was set aside as ${aside}; the newest good copy is .*gateway\\.db\\.backup, of 20`,
      ),
    });
    t.ok(readFileSync(aside).equals(spoiled), 'as it was');
    t.strictSame(readdirSync(folder).sort(), ['gateway.db.backup', 'gateway.db.corrupt-20261107T120102Z']);
    await t.rejects(open(folder), { code: 'gateway.store-missing' });

    copyFileSync(join(folder, 'gateway.db.backup'), path);
    t.strictSame(await devicesIn(folder), ['first'], 'the copy in its place is what a restore is');
  });
}

t.test('any page of bytes that are flipped: told, or without effect on what is loaded', async (t) => {
  const folder = await usedFolder(t);
  const path = join(folder, 'gateway.db');
  const whole = readFileSync(path);
  let told = 0;
  const pages = whole.length / 4096;
  for (let page = 0; page < pages; page += 1) {
    const bytes = Buffer.from(whole);
    for (let at = page * 4096; at < page * 4096 + 16; at += 1) bytes[at] = (bytes[at] ?? 0) ^ 0xff;
    writeFileSync(path, bytes);
    try {
      t.strictSame(await devicesIn(folder), ['first', 'second'], `page ${page}`);
    } catch (error) {
      t.match(error, { code: 'gateway.store-corrupt' }, `page ${page}`);
      told += 1;
    }
    rmSync(path, { force: true });
  }
  t.ok(pages > 20 && told > pages / 2, `${told} of ${pages}`);
});

t.test('set aside twice in a second, nothing is overwritten', async (t) => {
  const folder = t.testdir();
  for (const text of ['one', 'two', 'three']) {
    writeFileSync(join(folder, 'gateway.db'), text);
    writeFileSync(join(folder, 'gateway.db-wal'), `${text} wal`);
    await t.rejects(open(folder, { nowMs: () => NOW_MS }), { code: 'gateway.store-corrupt', message: /no good copy/ });
  }
  const name = 'gateway.db.corrupt-20261107T120102Z';
  t.strictSame(
    readdirSync(folder)
      .sort()
      .map((file) => [file, readFileSync(join(folder, file), 'utf8')]),
    [
      [name, 'one'],
      [`${name}-wal`, 'one wal'],
      [`${name}.2`, 'two'],
      [`${name}.2-wal`, 'two wal'],
      [`${name}.3`, 'three'],
      [`${name}.3-wal`, 'three wal'],
    ],
  );
});

t.test('a database of a later version is refused and not touched', async (t) => {
  const folder = await usedFolder(t);
  const path = join(folder, 'gateway.db');
  sql(path, 'update schema_version set version = 1000; drop table leases; create table later (x)');
  const before = readFileSync(path);
  await t.rejects(open(folder), { code: 'gateway.store-newer', message: /version 1000/ });
  t.ok(readFileSync(path).equals(before));
});

t.test('what is no file, or not ours to read, is told and left', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'gateway.db');
  mkdirSync(path);
  await t.rejects(open(folder), { code: 'gateway.store-failed', message: /not a regular file/ });
  rmSync(path, { recursive: true });
  symlinkSync('/dev/null', path);
  await t.rejects(open(folder), { code: 'gateway.store-failed', message: /it is a link/ });
  t.strictSame(readdirSync(folder), ['gateway.db']);
});

t.test('a database that a person has open in another program is not touched', async (t) => {
  const folder = await usedFolder(t);
  const other = new Libsql(join(folder, 'gateway.db'));
  other.exec('begin exclusive');
  const before = readdirSync(folder);
  await t.rejects(open(folder), { code: 'gateway.store-failed', message: /another program has locked it/ });
  t.strictSame(readdirSync(folder), before);
  other.exec('rollback');
  other.close();
});

t.test('a database that was put back readable for all is closed to others', async (t) => {
  const folder = await usedFolder(t);
  const path = join(folder, 'gateway.db');
  chmodSync(path, 0o644);
  await devicesIn(folder);
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test('a copy is made when the newest is a day old and something was written since', async (t) => {
  const folder = t.testdir();
  const copy = join(folder, 'gateway.db.backup');
  let aheadMs = 0;
  const nowMs = () => Date.now() + aheadMs;
  const { store, keepCopy } = await open(folder, { nowMs });
  t.equal(await keepCopy(), true, 'there was none');
  t.equal(statSync(copy).mode & 0o777, 0o600);
  await store.insertDevice(aDevice('d'));
  t.equal(await keepCopy(), false, 'it is new');
  aheadMs = DAY_MS + 1000;
  t.equal(await keepCopy(), true, 'it is a day old');
  aheadMs = 0;
  ageCopy(copy, 2 * DAY_MS);
  ageCopy(join(folder, 'gateway.db'), 3 * DAY_MS);
  ageCopy(join(folder, 'gateway.db-wal'), 3 * DAY_MS);
  t.equal(await keepCopy(), false, 'nothing was written since');
  await store.updateDevice('d', { authorized: false });
  t.equal(await keepCopy(), true);
  ageCopy(copy, -2 * DAY_MS);
  await store.updateDevice('d', { authorized: true });
  t.equal(await keepCopy(), true, 'a copy of the future: the clock was set back');
  await store.close();
  t.strictSame(readdirSync(folder).sort(), ['gateway.db', 'gateway.db.backup']);
  rmSync(copy);
  await t.rejects(keepCopy(), { code: 'gateway.store-failed' });
  t.strictSame(readdirSync(folder), ['gateway.db']);
});

t.test('restored beside the journal of the database before: the journal is set aside, not mixed in', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'gateway.db');
  const { store, keepCopy } = await open(folder);
  await store.insertDevice(aDevice('kept'));
  await keepCopy();
  await store.deleteDevice('kept');
  for (let at = 0; at < 50; at += 1) await store.insertDevice(aDevice(`later-${at}`));
  const journal = readFileSync(`${path}-wal`);
  await store.close();

  copyFileSync(join(folder, 'gateway.db.backup'), path);
  writeFileSync(`${path}-wal`, journal);
  t.strictSame(await devicesIn(folder, { nowMs: () => NOW_MS }), ['kept']);
  t.ok(readFileSync(join(folder, 'gateway.db.before-20261107T120102Z-wal')).equals(journal));

  const { store: after } = await open(folder);
  await after.insertDevice(aDevice('new'));
  writeFileSync(join(folder, 'killed-wal'), readFileSync(`${path}-wal`));
  const killed = readFileSync(path);
  await after.close();
  writeFileSync(path, killed);
  renameSync(join(folder, 'killed-wal'), `${path}-wal`);
  t.strictSame(await devicesIn(folder), ['kept', 'new'], 'its own journal counts from then on');
});

function ageCopy(path: string, ageMs: number): void {
  if (!existsSync(path)) return;
  const seconds = (Date.now() - ageMs) / 1000;
  utimesSync(path, seconds, seconds);
}

function overwrite(path: string, at: number, bytes: Buffer): void {
  const all = readFileSync(path);
  bytes.copy(all, at);
  writeFileSync(path, all);
}

function sql(path: string, text: string): void {
  const database = new Libsql(path);
  database.exec(text);
  database.close();
}
