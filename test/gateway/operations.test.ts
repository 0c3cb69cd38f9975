import t from 'tap';
import type { DeviceChanges } from '../../src/gateway/store.ts';
import { isTunnelToken } from '../../src/gateway/tokens.ts';
import { Failure } from '../../src/support/failures.ts';
import { FakeSession } from './fake-session.ts';
import { makeCore, settled, WALL_MS } from './fleet-parts.ts';
import { MemoryStore } from './memory-store.ts';

type Made = Awaited<ReturnType<typeof makeCore>>;

function online({ host, operations }: Made, deviceKey: string, entry: 'agent' | 'ssh' = 'agent') {
  const session = new FakeSession(deviceKey, entry);
  session.onEnd = (reason) => host.ended(session, reason, null);
  if (!host.started(session, operations.status(deviceKey).device)) throw new Error(`${deviceKey} is not let in`);
  return session;
}

const events = async ({ operations }: Made, key: string) => {
  const entries = await operations.audit(key, 200);
  return entries.map(({ event }) => event).reverse();
};

t.test('created, generated, listed, removed', async (t) => {
  const made = await makeCore(t);
  const { operations } = made;
  await made.create('one');
  const { device, tokenCode } = await operations.generate('');
  t.match(device.key, /^[0-9A-F]{32}$/);
  t.match(tokenCode, /^[0-9a-f]{32}$/);
  t.match(device, { type: 'generic', tokenCodeStrong: true, authorized: true });
  t.strictSame(
    operations.devices().map(({ key }) => key),
    ['one', device.key],
  );
  t.ok(await operations.isTokenOf(device.key, tokenCode, '192.0.2.1'));
  await t.rejects(made.create('one'), { code: 'gateway.device-exists' });
  t.throws(() => operations.status('nobody'), { code: 'gateway.device-unknown' });
  t.throws(() => operations.disconnect('nobody'), { code: 'gateway.device-unknown' });
  await t.rejects(operations.pause('nobody', 1), { code: 'gateway.device-unknown' });
  await t.rejects(async () => operations.audit('nobody', 1), { code: 'gateway.device-unknown' });
});

t.test('a removed device is disconnected, and its ports are free for others, the unused ones first', async (t) => {
  const made = await makeCore(t, { realTime: true });
  const { operations, host } = made;
  await made.create('one');
  const session = online(made, 'one');
  const port = await host.forward(session, { name: 'ssh', localPort: 22 });
  await operations.remove('one');
  t.strictSame(session.ends, ['operator_disconnect']);
  t.equal(made.core.sessions.current('one'), null);
  t.equal(host.assignedPort('one', 'ssh'), null);
  await made.create('two');
  const given = await host.forward(online(made, 'two'), { name: 'ssh', localPort: 22 });
  t.not(given, port, 'who still has the number must not find another device there at once');
  const all = await operations.audit(null, 100);
  t.strictSame(
    all.filter(({ deviceKey }) => deviceKey === 'one').map(({ event, reason }) => reason ?? event),
    ['device_removed', 'operator_disconnect', 'connect', 'device_created'],
  );
});

/** Tells the test of each change before it is made, and waits for its answer. */
class SlowStore extends MemoryStore {
  asked: (() => void) | null = null;

  override async updateDevice(key: string, changes: DeviceChanges): Promise<void> {
    await new Promise<void>((resolve) => {
      this.asked = resolve;
    });
    return super.updateDevice(key, changes);
  }
}

t.test('a pause is stored before the session ends', async (t) => {
  const store = new SlowStore();
  const made = await makeCore(t, { store });
  await made.create('one');
  const session = online(made, 'one');
  let stored: number | null | undefined;
  session.onEnd = (reason) => {
    void store.load().then(({ devices }) => {
      stored = devices[0]?.pausedUntilMs;
    });
    made.host.ended(session, reason, null);
  };
  const paused = made.operations.pause('one', WALL_MS + 60_000);
  await settled();
  t.strictSame(session.ends, [], 'not before');
  store.asked?.();
  t.equal((await paused).pausedUntilMs, WALL_MS + 60_000);
  await settled();
  t.strictSame(session.ends, ['paused_by_operator']);
  t.equal(stored, WALL_MS + 60_000);
  t.equal(made.host.started(new FakeSession('one'), made.operations.status('one').device), false);
  const resumed = made.operations.resume('one');
  await settled();
  store.asked?.();
  t.equal((await resumed).pausedUntilMs, null);
  online(made, 'one');
  t.strictSame(await events(made, 'one'), ['device_created', 'connect', 'disconnect', 'paused', 'resumed', 'connect']);
});

t.test('what cannot be stored is not done', async (t) => {
  const made = await makeCore(t);
  const { operations, store } = made;
  await made.create('one');
  const session = online(made, 'one');
  await made.core.audit.flush();
  store.fail = new Failure('gateway.store-failed', 'The disk is full');
  const tries: Promise<unknown>[] = [
    operations.pause('one', WALL_MS + 60_000),
    operations.authorize('one', false),
    operations.tunnelToken('one', { rotate: true }),
    operations.setTokenCode('one', null),
    operations.setForwards('one', [{ name: 'ssh', localPort: 22 }]),
    operations.remove('one'),
    operations.generate('camera'),
  ];
  for (const one of tries) await t.rejects(one, { code: 'gateway.store-failed' });
  t.strictSame(session.ends, []);
  store.fail = null;
  t.strictSame(await events(made, 'one'), ['device_created', 'connect']);
});

t.test('the tunnel token is made once, shown again, and rotated; that ends the session', async (t) => {
  const made = await makeCore(t);
  const { operations } = made;
  await made.create('one');
  const token = await operations.tunnelToken('one', { rotate: false });
  t.ok(isTunnelToken(token));
  t.equal(operations.deviceOfTunnelToken(token)?.key, 'one');
  const session = online(made, 'one', 'ssh');
  t.equal(await operations.tunnelToken('one', { rotate: false }), token);
  t.strictSame(session.ends, []);
  const next = await operations.tunnelToken('one', { rotate: true });
  t.not(next, token);
  t.strictSame(session.ends, ['token_rotated']);
  t.equal(operations.deviceOfTunnelToken(token), null);
  t.equal(operations.deviceOfTunnelToken(next)?.key, 'one');
  t.strictSame(await events(made, 'one'), [
    'device_created',
    'token_created',
    'connect',
    'disconnect',
    'token_rotated',
  ]);
  t.notMatch(JSON.stringify([await operations.audit(null, 100), made.lines]), new RegExp(`${token}|${next}`));
  await operations.pause('one', WALL_MS + 1000);
  t.equal(operations.deviceOfTunnelToken(next), null, 'not while it is paused');
  await operations.resume('one');
  await operations.authorize('one', false);
  t.equal(operations.deviceOfTunnelToken(next), null, 'nor without authorisation');
});

t.test('another Meeting token ends the session, and guesses at the old one are forgotten', async (t) => {
  const made = await makeCore(t);
  const { operations } = made;
  await made.create('one', '41e291');
  const session = online(made, 'one');
  for (let i = 0; i < 10; i += 1) void operations.isTokenOf('one', `guess ${i}`, `198.51.100.${i}`);
  t.equal(await operations.setTokenCode('one', '41e292'), '41e292');
  t.strictSame(session.ends, ['token_rotated']);
  t.ok(await operations.isTokenOf('one', '41e292', '192.0.2.1'));
  const wrong = operations.isTokenOf('one', '41e291', '192.0.2.1');
  made.clock.advance(4000);
  t.notOk(await wrong);
  t.match(await operations.setTokenCode('one', null), /^[0-9a-f]{32}$/);
});

t.test('withdrawn authorisation ends the session; disconnect tells whether there was one', async (t) => {
  const made = await makeCore(t);
  const { operations } = made;
  await made.create('one');
  t.equal(operations.disconnect('one'), false);
  const first = online(made, 'one');
  t.equal(operations.disconnect('one'), true);
  t.strictSame(first.ends, ['operator_disconnect']);
  const second = online(made, 'one');
  t.equal((await operations.authorize('one', true)).authorized, true);
  t.strictSame(second.ends, []);
  t.equal((await operations.authorize('one', false)).authorized, false);
  t.strictSame(second.ends, ['operator_disconnect']);
});

t.test('each reason why a service cannot be opened has its name', async (t) => {
  const made = await makeCore(t, { realTime: true });
  const { operations } = made;
  const open = (service: string, relayPort: number | null = null) => operations.open('one', service, relayPort);
  await t.rejects(open('ssh'), { code: 'gateway.device-unknown' });
  await made.create('one');
  await operations.authorize('one', false);
  await operations.pause('one', Date.now() + 60_000);
  await t.rejects(open('ssh'), { code: 'gateway.not-authorized' });
  await operations.authorize('one', true);
  await t.rejects(open('ssh'), { code: 'gateway.device-paused', message: /paused until 20/ });
  await operations.resume('one');
  await t.rejects(open('ssh'), { code: 'gateway.device-offline', message: /was never connected/ });
  const session = online(made, 'one');
  session.refused.add('http');
  await t.rejects(open('http'), { code: 'gateway.service-not-forwarded', message: /http is not forwarded/ });
  for (const [service, port] of [
    ['gopher', null],
    ['toString', null],
    ['relay', null],
    ['relay', 0],
    ['relay', 65_536],
  ] as const) {
    await t.rejects(open(service, port), { code: 'gateway.service-not-forwarded' }, `${service} ${port}`);
  }
  t.match(await open('ssh'), { deviceKey: 'one', name: 'ssh', localPort: 22 });
  session.end('connection_closed');
  await t.rejects(open('ssh'), { code: 'gateway.device-offline', message: /offline since 20/ });
});

t.test('the local port is that of the service, or of the entry', async (t) => {
  const made = await makeCore(t, { realTime: true });
  const { operations } = made;
  const localPort = async (service: string, relayPort: number | null = null) =>
    (await operations.open('one', service, relayPort)).localPort;
  await made.create('one');
  online(made, 'one', 'agent');
  t.equal(await localPort('http'), 5000);
  t.equal(await localPort('vnc'), 5900);
  t.equal(await localPort('relay', 8080), 8080);
  const ssh = await operations.open('one', 'ssh', null);
  const scp = await operations.open('one', 'scp', null);
  t.strictSame([scp.name, scp.port], [ssh.name, ssh.port]);
  t.strictSame(
    operations.status('one').services.map(({ name, localPort }) => `${name} ${localPort}`),
    ['ssh 22', 'http 5000', 'vnc 5900', 'relay-8080 8080'],
  );
  t.equal(operations.tunnels().length, 4);
  online(made, 'one', 'ssh');
  t.equal(await localPort('http'), 80);
  await operations.setForwards('one', [
    { name: 'ssh', localPort: 2222 },
    { name: 'web', localPort: 8443 },
  ]);
  t.equal(await localPort('scp'), 2222);
  t.equal(await localPort('web'), 8443);
  t.equal(await localPort('http'), 80, 'usual, though nobody configured it');
});

t.test('services that are dropped lose their ports, the others keep theirs', async (t) => {
  const made = await makeCore(t, { realTime: true });
  const { operations, host, store } = made;
  await made.create('one');
  const session = online(made, 'one', 'ssh');
  const ssh = await host.forward(session, { name: 'ssh', localPort: 22 });
  await host.forward(session, { name: 'http', localPort: 80 });
  await operations.setForwards('one', [
    { name: 'ssh', localPort: 2222 },
    { name: 'web', localPort: 80 },
  ]);
  t.strictSame(operations.status('one').services, [
    { name: 'ssh', localPort: 2222, tunnelPort: ssh },
    { name: 'web', localPort: 80, tunnelPort: null },
  ]);
  t.strictSame((await store.load()).assignments, [{ deviceKey: 'one', service: 'ssh', port: ssh }]);
  t.match(await operations.audit('one', 1), [{ event: 'forwards_changed', detail: { services: 'ssh:2222 web:80' } }]);
});

t.test('sixteen relays; one more takes the place of the oldest that nobody uses', async (t) => {
  const made = await makeCore(t, { realTime: true });
  const { operations, store } = made;
  await made.create('one');
  online(made, 'one');
  for (let port = 8001; port <= 8016; port += 1) await operations.open('one', 'relay', port);
  await t.rejects(operations.open('one', 'relay', 8017), { code: 'gateway.no-port', message: /16 relays/ });
  t.ok(await operations.open('one', 'relay', 8003), 'one of them is renewed');
  const { leases } = await store.load();
  t.equal(leases.length, 16);
});

t.test('a relay that has no lease gives its place to another', async (t) => {
  const store = new MemoryStore();
  const made = await makeCore(t, { store });
  await made.create('one');
  for (let i = 1; i <= 16; i += 1)
    await store.assignPort({ deviceKey: 'one', service: `relay-${i}`, port: made.config.portRange.start + i });
  const next = await makeCore(t, { store, secrets: made.secrets, realTime: true });
  online(next, 'one');
  t.ok(await next.operations.open('one', 'relay', 8000));
  const names = next.operations.status('one').services.map(({ name }) => name);
  t.notOk(names.includes('relay-1'));
  t.ok(names.includes('relay-2') && names.includes('relay-8000'));
  t.notOk((await store.load()).assignments.some(({ service }) => service === 'relay-1'));
});

t.test('heartbeats are kept, with the address that they came from', async (t) => {
  const made = await makeCore(t);
  const { operations, store } = made;
  await made.create('one');
  t.strictSame(operations.heartbeat('one', { note: 'fine' }, '192.0.2.1'), { lastSeenAtMs: WALL_MS });
  t.match(operations.status('one').device, {
    lastSeenAtMs: WALL_MS,
    heartbeat: { ip_address: '192.0.2.1', note: 'fine' },
  });
  operations.heartbeat('one', { ip_address: '10.0.0.1' }, '192.0.2.1');
  await made.core.audit.flush();
  t.match((await store.load()).devices, [{ heartbeat: { ip_address: '10.0.0.1' } }]);
  t.throws(() => operations.heartbeat('nobody', {}, ''), { code: 'gateway.device-unknown' });
});

t.test('a public key is stored, and told once', async (t) => {
  const made = await makeCore(t);
  await made.create('one');
  for (const line of ['key a', 'key a', 'key b', 'key b']) await made.operations.setPublicKey('one', line);
  t.equal(made.operations.status('one').device.publicKey, 'key b');
  t.strictSame(await events(made, 'one'), ['device_created', 'settings_changed', 'settings_changed']);
});
