import t from 'tap';
import { Audit } from '../../src/gateway/audit.ts';
import type { Observations } from '../../src/gateway/store.ts';
import type { AuditEntry } from '../../src/gateway/types.ts';
import { deferred } from '../../src/support/deferred.ts';
import { Failure } from '../../src/support/failures.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/test-log.ts';
import { settled, wallOf } from './fleet-parts.ts';
import { MemoryStore } from './memory-store.ts';

const FULL = new Failure('gateway.store-failed', 'The disk is full');

/** Tells how often it was written to. */
class CountingStore extends MemoryStore {
  readonly batches: Observations[] = [];

  override observe(observations: Observations): Promise<void> {
    this.batches.push(observations);
    return super.observe(observations);
  }
}

function setUp() {
  const clock = new FakeClock();
  const nowMs = wallOf(clock);
  const store = new CountingStore();
  const { log, lines } = testLog();
  const audit = new Audit({ store, clock, nowMs, log });
  const record = (event: AuditEntry['event'], deviceKey: string | null = 'one', n = 0) =>
    audit.record({ deviceKey, event, reason: null, detail: { n } });
  const reject = (deviceKey: string | null, reason: string, address: string) =>
    audit.record({ deviceKey, event: 'rejected', reason, detail: { entry: 'agent', address } });
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 1000) {
      clock.advance(Math.min(left, 1000));
      await settled();
    }
  };
  return { clock, nowMs, store, lines, audit, record, reject, pass };
}

t.test('entries are written together, within 200 ms, and an idle gateway writes nothing', async (t) => {
  const { store, record, pass, clock } = setUp();
  record('connect');
  record('disconnect');
  await pass(199);
  t.equal(store.batches.length, 0);
  await pass(1);
  t.strictSame(
    store.batches.map(({ audit }) => audit.map(({ event }) => event)),
    [['connect', 'disconnect']],
  );
  await pass(60_000);
  t.equal(store.batches.length, 1);
  t.equal(clock.pending, 0);
});

t.test('many entries do not wait, and go 500 at a time', async (t) => {
  const { store, record, pass } = setUp();
  for (let n = 0; n < 1200; n += 1) record('connect', 'one', n);
  await pass(1);
  t.strictSame(
    store.batches.map(({ audit }) => audit.length),
    [500, 500, 200],
  );
  t.strictSame(
    store.batches.flatMap(({ audit }) => audit.map(({ detail }) => detail.n)),
    Array.from({ length: 1200 }, (_, n) => n),
  );
});

t.test('the newest come first, with what is not on disk yet, each once', async (t) => {
  const { audit, record, reject, pass, clock } = setUp();
  for (let n = 0; n < 5; n += 1) {
    record('connect', n % 2 === 0 ? 'one' : 'two', n);
    clock.advance(1);
  }
  await pass(200);
  record('disconnect', 'one', 5);
  reject('one', 'wrong', '192.0.2.1');
  reject('one', 'wrong', '192.0.2.1');
  const told = (entries: readonly AuditEntry[]) =>
    entries.map(({ event, detail }) => (event === 'rejected' ? `${event} ${detail.count ?? 1}` : detail.n));
  t.strictSame(told(await audit.newest(null, 200)), ['rejected 1', 'rejected 1', 5, 4, 3, 2, 1, 0]);
  t.strictSame(told(await audit.newest('one', 4)), ['rejected 1', 'rejected 1', 5, 4]);
  t.strictSame(told(await audit.newest('two', 200)), [3, 1]);
  const reading = Promise.all([audit.newest('one', 200), audit.flush(), audit.newest('one', 200)]);
  clock.advance(1);
  record('connect', 'one', 6);
  const [before, , after] = await reading;
  t.strictSame(told(before), [6, 'rejected 1', 'rejected 1', 5, 4, 2, 0], 'while it is being written, too');
  t.strictSame(told(after), told(before));
});

t.test('what is being written while somebody reads is told once', async (t) => {
  const { audit, record, store, clock } = setUp();
  const written = deferred<void>();
  const { observe } = store;
  store.observe = async (observations) => {
    await observe.call(store, observations);
    await written.promise;
  };
  record('connect');
  clock.advance(200);
  await settled();
  t.equal(store.batches.length, 1);
  const reading = audit.newest('one', 10);
  await settled();
  written.resolve();
  t.equal((await reading).length, 1);
});

t.test('a failing disk is told once, and all of it is written when it works again', async (t) => {
  const { store, record, pass, lines, audit } = setUp();
  store.fail = FULL;
  for (let n = 0; n < 100; n += 1) {
    record('connect', 'one', n);
    await pass(1000);
  }
  t.strictSame(
    lines.map(({ level }) => level),
    ['error'],
  );
  t.match(lines[0], { code: 'gateway.store-failed', msg: /The disk is full/ });
  t.equal(audit.counts().unwritten, 100);
  t.ok(store.batches.length <= 21, 'it is tried every five seconds');
  await t.rejects(audit.newest('one', 10), { code: 'gateway.store-failed' });
  store.fail = null;
  await pass(5000);
  t.equal(audit.counts().unwritten, 0);
  t.equal((await store.auditOf('one', 1000)).length, 100);
  t.equal(lines.length, 2);
  store.fail = FULL;
  record('connect');
  await pass(1000);
  t.equal(lines.length, 3, 'a second failure is news');
});

t.test('while the disk fails memory is bounded, and rejections go first', async (t) => {
  const { store, record, reject, pass, audit } = setUp();
  store.fail = FULL;
  for (let n = 0; n < 10; n += 1) record('replaced', 'one', n);
  for (let n = 0; n < 50; n += 1) reject(`device ${n}`, 'wrong', '192.0.2.1');
  for (let n = 0; n < 9_990; n += 1) record('connect', 'one', n);
  t.strictSame(audit.counts(), { unwritten: 10_000, dropped: 50 });
  store.fail = null;
  await pass(5000);
  const written = store.batches.flatMap((batch) => batch.audit);
  t.equal(written.filter(({ event }) => event === 'rejected').length, 0);
  t.equal(written.length, 10_000);
});

t.test('equal rejections become one entry and a count, told less and less often', async (t) => {
  const { reject, pass, store } = setUp();
  for (let second = 0; second < 7200; second += 1) {
    reject('one', 'wrong', '192.0.2.1');
    await pass(1000);
  }
  const entries = await store.auditOf('one', 1000);
  t.ok(entries.length <= 9, `${entries.length} entries in two hours`);
  t.strictSame(entries.at(-1)?.detail, { entry: 'agent', address: '192.0.2.1' }, 'the first was told at once');
  const counted = entries.reduce((sum, { detail }) => sum + Number(detail.count ?? 1), 0);
  t.ok(counted > 3600 && counted <= 7200);
});

t.test('a rejection that comes again after a quiet time is told at once', async (t) => {
  const { reject, pass, store, clock } = setUp();
  reject('one', 'wrong', '192.0.2.1');
  await pass(71_000);
  t.equal(clock.pending, 0, 'nothing is kept');
  reject('one', 'wrong', '192.0.2.1');
  await pass(1000);
  t.strictSame(
    (await store.auditOf('one', 10)).map(({ detail }) => detail.count),
    [undefined, undefined],
  );
});

t.test('a flood from many addresses does not push out what a device did', async (t) => {
  const { reject, record, pass, store } = setUp();
  record('connect', 'one');
  for (let i = 0; i < 100_000; i += 1) {
    reject('one', 'wrong', `198.51.${(i >> 8) & 255}.${i & 255}`);
    if (i % 1000 === 0) await pass(1000);
  }
  await pass(120_000);
  const entries = await store.auditOf('one', 1000);
  t.equal(entries.at(-1)?.event, 'connect');
  t.ok(entries.length < 30, `${entries.length} entries`);
  t.ok(entries.some(({ detail }) => detail.address === 'several' && Number(detail.count) > 1000));
});

t.test('a million kinds of rejections are not remembered', async (t) => {
  const { reject, pass, store, audit } = setUp();
  for (let i = 0; i < 1_000_000; i += 1) {
    reject(null, `reason ${i}`, `198.51.100.${i & 255}`);
    if (i % 100_000 === 0) await pass(1000);
  }
  t.ok(audit.counts().unwritten <= 1100);
  await pass(120_000);
  const written = store.batches.flatMap((batch) => batch.audit);
  t.ok(written.length < 1100, `${written.length} entries`);
  t.equal(
    written.reduce((sum, { detail }) => sum + Number(detail.count ?? 1), 0),
    1_000_000,
    'but counted',
  );
});

t.test('strangers who invent reasons do not hide what is refused to a device', async (t) => {
  const { reject, pass, store } = setUp();
  for (let i = 0; i < 5_000; i += 1) reject(null, `reason ${i}`, '198.51.100.1');
  reject('one', 'the device is paused', '192.0.2.1');
  await pass(1000);
  t.match(await store.auditOf('one', 10), [{ deviceKey: 'one', reason: 'the device is paused' }]);
});

t.test('of what was seen only the newest is written, less often', async (t) => {
  const { audit, store, pass } = setUp();
  audit.saw('one', { lastSeenAtMs: 1 });
  audit.saw('one', { lastConnectedAtMs: 2 });
  audit.saw('two', { lastSeenAtMs: 3 });
  audit.saw('one', { lastSeenAtMs: 4, heartbeat: { note: 'fine' } });
  await pass(4000);
  t.equal(store.batches.length, 0);
  await pass(1000);
  t.strictSame(store.batches, [
    {
      audit: [],
      addresses: [],
      seen: [
        { key: 'one', lastSeenAtMs: 4, lastConnectedAtMs: 2, heartbeat: { note: 'fine' } },
        { key: 'two', lastSeenAtMs: 3 },
      ],
    },
  ]);
  audit.sawAddress({ deviceKey: 'one', address: '192.0.2.1', atMs: 5 });
  audit.saw('one', { lastSeenAtMs: 6 });
  await pass(200);
  t.match(store.batches[1], { addresses: [{ address: '192.0.2.1' }], seen: [{ lastSeenAtMs: 6 }] });
});

t.test('what is seen while it is being written is written next', async (t) => {
  const { audit, store, pass } = setUp();
  audit.saw('one', { lastSeenAtMs: 1 });
  const flushed = audit.flush();
  await Promise.resolve();
  audit.saw('one', { lastSeenAtMs: 2 });
  await flushed;
  await pass(5000);
  t.strictSame(
    store.batches.map(({ seen }) => seen[0]?.lastSeenAtMs),
    [1, 2],
  );
});

t.test('a stop writes the rest, counts included, and leaves no timer', async (t) => {
  const { audit, store, record, reject, clock } = setUp();
  record('connect');
  for (let i = 0; i < 10; i += 1) reject('one', 'wrong', '192.0.2.1');
  await audit.stop();
  t.strictSame(
    (await store.auditOf('one', 10)).map(({ detail }) => detail.count ?? null),
    [9, null, null],
  );
  t.equal(clock.pending, 0);
});

t.test('a stop ends while the disk fails', async (t) => {
  const { audit, store, record, clock } = setUp();
  store.fail = FULL;
  record('connect');
  await audit.stop();
  t.equal(clock.pending, 0);
});
