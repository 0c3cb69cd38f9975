import t, { type Test } from 'tap';
import { Fleet, isPaused } from '../../src/gateway/fleet.ts';
import type { DeviceChanges } from '../../src/gateway/store.ts';
import { makeTunnelToken } from '../../src/gateway/tokens.ts';
import { Failure } from '../../src/support/failures.ts';
import { makeSecrets, WALL_MS } from './fleet-parts.ts';
import { MemoryStore } from './memory-store.ts';

const FULL = new Failure('gateway.store-failed', 'The disk is full');
const camera = { type: 'camera', distribution: 'buildroot', productSerial: null };

async function setUp(t: Pick<Test, 'teardown'>, store = new MemoryStore()) {
  const secrets = await makeSecrets(t);
  const fleet = new Fleet({ store, secrets, nowMs: () => WALL_MS });
  const create = (key: string, tokenCode = `token of ${key}`) => fleet.create({ key, tokenCode, ...camera });
  return { store, secrets, fleet, create };
}

t.test('a created device is authorised and has ssh and http', async (t) => {
  const { fleet, store, create, secrets } = await setUp(t);
  const device = await create('one', '41e291');
  t.match(device, { key: 'one', authorized: true, pausedUntilMs: null, createdAtMs: WALL_MS, tokenCodeStrong: false });
  t.strictSame(
    device.services.map(({ name }) => name),
    ['ssh', 'http'],
  );
  t.notMatch(JSON.stringify(device), /41e291/);
  const stored = await store.load();
  t.strictSame(stored.devices, [device]);
  const next = new Fleet({ store, secrets, nowMs: () => WALL_MS });
  next.load(stored);
  t.strictSame(next.all(), [device]);
  t.strictSame(next.checkTokenCode('one', '41e291').right, true);
  t.equal(fleet.get('two'), null);
  t.throws(() => fleet.need('two'), { code: 'gateway.device-unknown' });
});

t.test('two creates of one key at once: one of them makes it', async (t) => {
  const { fleet, create } = await setUp(t);
  const results = await Promise.allSettled([create('one', 'token a'), create('one', 'token b'), create('two')]);
  t.strictSame(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  t.match(results[1], { reason: { code: 'gateway.device-exists' } });
  t.ok(fleet.checkTokenCode('one', 'token a').right);
});

t.test('two devices may have the same Meeting token: 6 hex digits meet by chance in a large fleet', async (t) => {
  const { fleet, create } = await setUp(t);
  await Promise.all([create('one', '41e291'), create('two', '41e291')]);
  await create('three', 'another');
  await fleet.setTokenCode('three', '41e291');
  for (const key of ['one', 'two', 'three']) t.ok(fleet.checkTokenCode(key, '41e291').right, key);
  await fleet.remove('one');
  await fleet.setTokenCode('two', 'a new one');
  t.ok(fleet.checkTokenCode('three', '41e291').right);
  t.notOk(fleet.checkTokenCode('two', '41e291').right);
});

t.test('a right token is that of its own device only', async (t) => {
  const { fleet, create } = await setUp(t);
  await create('one');
  await create('two');
  t.ok(fleet.checkTokenCode('one', 'token of one').right);
  t.notOk(fleet.checkTokenCode('one', 'token of two').right);
  t.notOk(fleet.checkTokenCode('three', 'token of one').right);
  t.notOk(fleet.checkTokenCode('one', '').right);
});

t.test('a rotated token is worth nothing, in memory and in the index', async (t) => {
  const { fleet, create } = await setUp(t);
  await create('one');
  await fleet.setTokenCode('one', 'another');
  t.notOk(fleet.checkTokenCode('one', 'token of one').right);
  t.ok(fleet.checkTokenCode('one', 'another').right);
  await create('two', 'token of one');

  const first = await fleet.tunnelToken('one', false, makeTunnelToken);
  t.strictSame(await fleet.tunnelToken('one', false, makeTunnelToken), { ...first, made: false, first: false });
  t.equal(fleet.byTunnelToken(first.token)?.key, 'one');
  const second = await fleet.tunnelToken('one', true, makeTunnelToken);
  t.strictSame({ ...second, token: '' }, { token: '', made: true, first: false });
  t.equal(fleet.byTunnelToken(first.token), null);
  t.equal(fleet.byTunnelToken(second.token)?.key, 'one');
  t.equal(fleet.byTunnelToken('token of one'), null);
  await fleet.remove('one');
  t.equal(fleet.byTunnelToken(second.token), null);
  await create('one', 'another');
});

t.test('asked for at once by many, a tunnel token is made once', async (t) => {
  const { fleet, create } = await setUp(t);
  await create('one');
  const answers = await Promise.all(Array.from({ length: 20 }, () => fleet.tunnelToken('one', false, makeTunnelToken)));
  t.equal(new Set(answers.map(({ token }) => token)).size, 1);
  t.equal(answers.filter(({ made }) => made).length, 1);
});

t.test('a store that fails changes nothing', async (t) => {
  const { fleet, store, create } = await setUp(t);
  await create('one');
  const { token } = await fleet.tunnelToken('one', false, makeTunnelToken);
  const before = fleet.all();
  store.fail = FULL;
  const attempts: Promise<unknown>[] = [
    create('two'),
    fleet.remove('one'),
    fleet.setTokenCode('one', 'another'),
    fleet.tunnelToken('one', true, makeTunnelToken),
    fleet.change('one', () => ({ pausedUntilMs: WALL_MS + 1000, authorized: false })),
    fleet.setServices('one', [{ name: 'ssh', localPort: 2222 }]),
  ];
  for (const attempt of attempts) await t.rejects(attempt, { code: 'gateway.store-failed' });
  t.strictSame(fleet.all(), before);
  t.ok(fleet.checkTokenCode('one', 'token of one').right);
  t.equal(fleet.byTunnelToken(token)?.key, 'one');
  store.fail = null;
  t.ok(await create('two'), 'and afterwards all is well');
  t.ok((await fleet.change('one', () => ({ authorized: false }))).authorized === false);
});

/** A disk that takes as long for each write as the test wants. */
class SlowStore extends MemoryStore {
  readonly writes: { changes: DeviceChanges; go: () => void }[] = [];

  override updateDevice(key: string, changes: DeviceChanges): Promise<void> {
    return new Promise((resolve, reject) => {
      this.writes.push({ changes, go: () => void super.updateDevice(key, changes).then(resolve, reject) });
    });
  }
}

t.test('decisions on one device are made one after the other, and count when they are stored', async (t) => {
  const store = new SlowStore();
  const { fleet, create } = await setUp(t, store);
  await create('one');
  await create('two');
  const order: string[] = [];
  const first = fleet.change('one', () => ({ authorized: false })).then(() => order.push('first'));
  const second = fleet
    .change('one', ({ authorized }) => ({ authorized: !authorized }))
    .then(() => order.push('second'));
  const other = fleet.change('two', () => ({ authorized: false })).then(() => order.push('other'));
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(store.writes.length, 2, 'another device does not wait');
  t.equal(fleet.need('one').authorized, true);
  fleet.saw('one', { lastSeenAtMs: 5 });
  store.writes[1]?.go();
  await other;
  store.writes[0]?.go();
  await first;
  t.match(fleet.need('one'), { authorized: false, lastSeenAtMs: 5 }, 'what was seen meanwhile stays');
  store.writes[2]?.go();
  await second;
  t.equal(fleet.need('one').authorized, true, 'the second decided on what the first had done');
  t.strictSame(order, ['other', 'first', 'second']);
});

t.test('a device that is removed while a change waits: the change is refused', async (t) => {
  const { fleet, create } = await setUp(t);
  await create('one');
  const removed = fleet.remove('one');
  const changed = fleet.change('one', () => ({ authorized: false }));
  const again = fleet.remove('one');
  const anew = create('one');
  await removed;
  await t.rejects(changed, { code: 'gateway.device-unknown' });
  await t.rejects(again, { code: 'gateway.device-unknown' });
  t.ok(await anew);
  fleet.saw('nobody', { lastSeenAtMs: 5 });
  t.equal(fleet.get('nobody'), null);
});

t.test('services that are dropped are named, and gone from the store with their ports', async (t) => {
  const { fleet, store, create } = await setUp(t);
  await create('one');
  await store.assignPort({ deviceKey: 'one', service: 'http', port: 40_001 });
  const { device, dropped } = await fleet.setServices('one', [
    { name: 'ssh', localPort: 22 },
    { name: 'web', localPort: 8080 },
  ]);
  t.strictSame(dropped, ['http']);
  t.strictSame(device.services, fleet.need('one').services);
  t.strictSame((await store.load()).assignments, []);
});

t.test('a pause ends by itself', async (t) => {
  const { create } = await setUp(t);
  const device = { ...(await create('one')), pausedUntilMs: WALL_MS };
  t.ok(isPaused(device, WALL_MS - 1));
  t.notOk(isPaused(device, WALL_MS));
  t.notOk(isPaused({ ...device, pausedUntilMs: null }, WALL_MS));
});
