import t from 'tap';
import { MIGRATIONS, migrate } from '../../../src/gateway/sql-store/migrations.ts';
import { SqlStore } from '../../../src/gateway/sql-store/sql-store.ts';
import { openFile, SQLITE_SPELLING, type Sqlite, sqliteFailure } from '../../../src/gateway/sql-store/sqlite.ts';
import { aDevice, anEntry, observed } from '../samples.ts';
import { storeContract } from '../store-contract.ts';
import { open } from './support.ts';

storeContract('SQLite', async (t) => (await open(t.testdir())).store);

/** A store in memory, where only the bounds and the queue are looked at. */
async function quickStore(): Promise<{ store: SqlStore; sqlite: Sqlite }> {
  const sqlite = openFile(':memory:');
  await migrate(sqlite.kysely, SQLITE_SPELLING, 0, MIGRATIONS);
  const store = new SqlStore({ kysely: sqlite.kysely, failure: sqliteFailure, close: async () => sqlite.close() });
  return { store, sqlite };
}

const entries = (deviceKey: string | null, count: number) =>
  Array.from({ length: count }, (_, at) => anEntry(deviceKey, at));

t.test('the audit as a whole has a bound, and what strangers do pushes out no device', async (t) => {
  const { store, sqlite } = await quickStore();
  const count = (where = '1') => Number(sqlite.column(`select count(*) from audit where ${where}`)[0]);
  await store.observe(observed({ audit: entries('first', 500) }));
  for (let at = 0; at < 12; at += 1) await store.observe(observed({ audit: entries(null, 1000) }));
  t.ok(count('device_key is null') >= 10_000 && count('device_key is null') <= 10_100);
  t.equal(count("device_key = 'first'"), 500);
  for (let at = 0; at < 200; at += 1) await store.observe(observed({ audit: entries(`d${at}`, 1000) }));
  t.ok(count() >= 200_000 && count() <= 201_000, `${count()} are kept`);
  t.equal(count("device_key = 'first'"), 0, 'the oldest go first');
  t.equal(count("device_key = 'd199'"), 1000);
  await store.close();
});

t.test('a restart cleans what the one before had no time for', async (t) => {
  const { store, sqlite } = await quickStore();
  await store.observe(observed({ audit: entries('a', 1000) }));
  await store.observe(observed({ audit: entries('b', 10) }));
  await store.observe(observed({ audit: entries('a', 99) }));
  await store.observe(observed({ audit: entries(null, 1500) }));
  const counts = () => sqlite.column('select count(*) from audit group by device_key');
  t.strictSame(counts(), [1500, 1099, 10]);
  await store.cleanAudit();
  t.strictSame(counts(), [1500, 1000, 10]);
  await store.close();
});

t.test('a long queue lets the rest of the program have its turns', async (t) => {
  const { store } = await quickStore();
  await store.insertDevice(aDevice('d'));
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 1);
  await Promise.all(Array.from({ length: 500 }, (_, at) => store.updateDevice('d', { pausedUntilMs: at })));
  clearInterval(timer);
  t.ok(turns > 5, `${turns} turns`);
  await store.close();
});
