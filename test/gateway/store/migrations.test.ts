import t from 'tap';
import { MIGRATIONS, type Migration, migrate, versionOf } from '../../../src/gateway/sql-store/migrations.ts';
import { SqlStore } from '../../../src/gateway/sql-store/sql-store.ts';
import { openFile, SQLITE_SPELLING, sqliteFailure } from '../../../src/gateway/sql-store/sqlite.ts';
import { aDevice } from '../samples.ts';

t.test('every earlier version becomes the newest, with what is in it', async (t) => {
  for (let version = 0; version < MIGRATIONS.length; version += 1) {
    const sqlite = openFile(':memory:');
    await migrate(sqlite.kysely, SQLITE_SPELLING, 0, MIGRATIONS.slice(0, version));
    await migrate(sqlite.kysely, SQLITE_SPELLING, version);
    t.equal(await versionOf(sqlite.kysely), MIGRATIONS.length);
    const store = new SqlStore({ kysely: sqlite.kysely, failure: sqliteFailure, close: async () => sqlite.close() });
    await store.insertDevice(aDevice('d'));
    t.strictSame((await store.load()).devices, [aDevice('d')], `from version ${version}`);
    await store.close();
  }
});

t.test('a step that fails leaves the tables of the version before, and those before it their work', async (t) => {
  const { kysely, column, close } = openFile(':memory:');
  const broken: readonly Migration[] = [
    ...MIGRATIONS,
    () => ['create table two (x)'],
    () => ['create table three (x)', 'drop table devices', 'this is no SQL'],
  ];
  await t.rejects(migrate(kysely, SQLITE_SPELLING, 0, broken), /syntax error/);
  t.equal(await versionOf(kysely), MIGRATIONS.length + 1);
  const tables = column("select name from sqlite_schema where type = 'table'");
  t.ok(tables.includes('two') && tables.includes('devices') && !tables.includes('three'));
  const repaired = [...broken.slice(0, -1), () => ['create table three (x)']];
  await migrate(kysely, SQLITE_SPELLING, MIGRATIONS.length + 1, repaired);
  t.equal(await versionOf(kysely), MIGRATIONS.length + 2);
  close();
});

t.test('what binding would do wrong, or end the process at, is refused before', async (t) => {
  const { kysely, close } = openFile(':memory:');
  await migrate(kysely, SQLITE_SPELLING, 0);
  for (const value of [
    true,
    undefined,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    'a\0b',
    [1],
    {},
    new Date(),
    Symbol('x'),
  ]) {
    const insert = kysely.insertInto('schemaVersion').values({ version: value as number });
    if (value === undefined) continue; // kysely leaves it out
    await t.rejects(insert.execute(), TypeError, String(value));
  }
  close();
});
