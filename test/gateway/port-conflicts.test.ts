import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/support/clock.ts';
import { Failure } from '../../src/support/failures.ts';
import { until } from '../support/until.ts';
import { come, fate, HTTP, ownAddress, passing, SSH, START_MS, startPorts, storeOf } from './ports-bench.ts';

/** Another program that holds ports of an address, until it is ended. */
async function hold(t: Test, host: string, ...ports: number[]): Promise<{ end(): Promise<void> }> {
  const program = `
    const [host, ...ports] = process.argv.slice(1);
    let waiting = ports.length;
    for (const port of ports) require('node:net').createServer().listen(Number(port), host, () => {
      waiting -= 1;
      if (waiting === 0) console.log('they are mine');
    });
    process.stdin.resume().on('end', () => process.exit());`;
  const child: ChildProcess = spawn(process.execPath, ['-e', program, host, ...ports.map(String)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const end = async () => {
    child.stdin?.end();
    await exited;
  };
  t.teardown(end);
  if (child.stdout) await once(child.stdout, 'data');
  return { end };
}

t.test('a port that another program holds for a second is kept', async (t) => {
  const host = ownAddress();
  const store = storeOf('a');
  await store.assignPort({ deviceKey: 'a', service: 'ssh', port: 20_003 });
  const program = await hold(t, host, 20_003);
  const { ports, audit } = await startPorts(t, { store, bindHost: host, clock: systemClock });
  const startMs = performance.now();
  const forwarded = ports.forward(come(ports, 'a'), SSH);
  setTimeout(() => void program.end(), 1_000);
  t.equal(await forwarded, 20_003);
  t.ok(performance.now() - startMs >= 1_000);
  t.equal(await fate(host, 20_003), 'open');
  t.strictSame([audit, ports.blocked()], [[], []]);
});

t.test('a port that another program keeps is replaced, blocked, told, and free again by the operator', async (t) => {
  const host = ownAddress();
  const store = storeOf('a', 'b', 'c', 'd');
  await store.assignPort({ deviceKey: 'a', service: 'ssh', port: 20_000 });
  const program = await hold(t, host, 20_000);
  const { ports, audit, clock, log } = await startPorts(t, { store, bindHost: host });
  const startMs = clock.nowMs();
  t.equal(await passing(clock, ports.forward(come(ports, 'a', 'ssh'), SSH)), 20_001);
  const tookMs = clock.nowMs() - startMs;
  t.ok(tookMs >= 5_000 && tookMs < 8_000, `${tookMs} ms`);
  t.equal(await fate(host, 20_001), 'open');

  const conflict = {
    deviceKey: 'a',
    event: 'port_conflict_resolved',
    reason: null,
    detail: { service: 'ssh', old_port: 20_000, new_port: 20_001 },
  };
  t.strictSame(audit, [conflict]);
  t.ok(log.has(/another program has taken a port/));
  t.match(ports.blocked(), [{ port: 20_000, deviceKey: 'a', service: 'ssh', newPort: 20_001 }]);
  const stored = await store.load();
  t.match(stored.assignments, [{ deviceKey: 'a', service: 'ssh', port: 20_001 }]);
  t.strictSame(stored.blockedPorts, ports.blocked());

  await program.end();
  t.equal(await ports.forward(come(ports, 'b'), SSH), 20_002, 'not given to another device, though it is free now');
  await ports.stop();
  const later = await startPorts(t, { store, bindHost: host });
  t.equal(await later.ports.forward(come(later.ports, 'a', 'ssh'), SSH), 20_001, 'nor does it come back');
  t.equal(await later.ports.forward(come(later.ports, 'c'), SSH), 20_003, 'nor after a restart');

  t.equal(await later.ports.releaseBlocked(20_009), false);
  const released = await Promise.all([later.ports.releaseBlocked(20_000), later.ports.releaseBlocked(20_000)]);
  t.strictSame(released.sort(), [false, true]);
  t.strictSame(later.audit, [{ deviceKey: 'a', event: 'port_released', reason: null, detail: { port: 20_000 } }]);
  t.strictSame([later.ports.blocked(), (await store.load()).blockedPorts], [[], []]);
  t.equal(await later.ports.forward(come(later.ports, 'd'), SSH), 20_000);
});

t.test('a first port that is taken is passed over at once, without a word in the audit, for a minute', async (t) => {
  const host = ownAddress();
  const store = storeOf('a', 'b', 'c');
  const program = await hold(t, host, 20_000, 20_001);
  const { ports, audit, clock } = await startPorts(t, { store, bindHost: host });
  t.equal(await ports.forward(come(ports, 'a'), SSH), 20_002, 'the clock stood still');
  t.strictSame([audit, ports.blocked()], [[], []]);
  t.match((await store.load()).assignments, [{ port: 20_002 }]);
  await program.end();
  t.equal(await ports.forward(come(ports, 'b'), SSH), 20_003);
  clock.advance(60_000);
  t.equal(await ports.forward(come(ports, 'c'), SSH), 20_000);
});

t.test('where other programs hold all that is free, that is said, and costs nobody a port', async (t) => {
  const host = ownAddress();
  const store = storeOf('a', 'b');
  await store.assignPort({ deviceKey: 'b', service: 'ssh', port: 20_000 });
  const all = Array.from({ length: 100 }, (_, index) => 20_000 + index);
  const program = await hold(t, host, ...all);
  const range = { start: 20_000, end: 20_099 };
  const { ports, audit, clock } = await startPorts(t, { store, bindHost: host, range });
  const [a, b] = [come(ports, 'a'), come(ports, 'b')];
  // Two calls at least: each tries so many ports, and no more.
  for (let call = 0; call < 3; call += 1) await t.rejects(ports.forward(a, SSH), { code: 'gateway.port-taken' });
  await t.rejects(passing(clock, ports.forward(b, SSH)), { code: 'gateway.port-taken' });
  t.strictSame([ports.portOf('a', 'ssh'), ports.portOf('b', 'ssh')], [null, 20_000]);
  t.strictSame([audit, ports.blocked()], [[], []]);
  await program.end();
  t.equal(await ports.forward(b, SSH), 20_000);
});

t.test(
  'a session that ends while its port is waited for leaves nothing behind, and its successor goes on',
  async (t) => {
    const host = ownAddress();
    const store = storeOf('a');
    await store.assignPort({ deviceKey: 'a', service: 'ssh', port: 20_000 });
    const program = await hold(t, host, 20_000);
    const { ports, audit, clock } = await startPorts(t, { store, bindHost: host });
    const session = come(ports, 'a', 'ssh');
    const forwarded = ports.forward(session, SSH);
    const failed = t.rejects(forwarded, { code: 'gateway.session-over' });
    await until('the first try failed', () => clock.pending > 0);
    ports.offline(session);
    await failed;
    t.equal(clock.pending, 0);

    const older = ports.forward(come(ports, 'a', 'ssh'), SSH);
    const replaced = t.rejects(older, { code: 'gateway.session-over' });
    await until('the first try failed', () => clock.pending > 0);
    const newer = come(ports, 'a', 'ssh');
    const again = ports.forward(newer, SSH);
    await replaced;
    await program.end();
    t.equal(await passing(clock, again), 20_000);
    t.equal(await fate(host, 20_000), 'open');
    t.equal(newer.carried.length, 1);
    t.strictSame(audit, []);
  },
);

t.test('a service that is dropped while its port is waited for has none', async (t) => {
  const host = ownAddress();
  const store = storeOf('a', 'b');
  await store.assignPort({ deviceKey: 'a', service: 'ssh', port: 20_000 });
  const program = await hold(t, host, 20_000);
  const { ports, clock } = await startPorts(t, { store, bindHost: host });
  const failed = t.rejects(ports.forward(come(ports, 'a', 'ssh'), SSH), { code: 'gateway.session-over' });
  await until('the first try failed', () => clock.pending > 0);
  await store.deleteDevice('a');
  ports.drop('a', null);
  await failed;
  await program.end();
  t.equal(ports.portOf('a', 'ssh'), null);
  t.equal(await fate(host, 20_000), 'refused');
  t.equal(await ports.forward(come(ports, 'b'), SSH), 20_001, 'the other was in use');
});

t.test('a new port that cannot be stored is not used; the conflict is resolved later', async (t) => {
  const host = ownAddress();
  const store = storeOf('a');
  await store.assignPort({ deviceKey: 'a', service: 'ssh', port: 20_000 });
  await hold(t, host, 20_000);
  const { ports, audit, clock } = await startPorts(t, { store, bindHost: host });
  const session = come(ports, 'a', 'ssh');
  store.fail = new Failure('gateway.store-failed', 'the disk is full');
  await t.rejects(passing(clock, ports.forward(session, SSH)), { code: 'gateway.store-failed' });
  t.equal(ports.portOf('a', 'ssh'), 20_000);
  t.equal(await fate(host, 20_001), 'refused');
  t.strictSame([audit, ports.blocked()], [[], []]);
  store.fail = null;
  t.equal(await passing(clock, ports.forward(session, SSH)), 20_001);
  t.equal(audit.length, 1);
});

t.test('a leased port that another program took is replaced as its device comes back, and listed', async (t) => {
  const host = ownAddress();
  const store = storeOf('a');
  await store.assignPort({ deviceKey: 'a', service: 'http', port: 20_000 });
  await store.putLease({ deviceKey: 'a', ...HTTP, expiresAtMs: START_MS + 3600_000_000 });
  await hold(t, host, 20_000);
  const { ports, clock } = await startPorts(t, { store, bindHost: host });
  come(ports, 'a');
  await passing(
    clock,
    until('it listens', () => ports.tunnels().length === 1),
  );
  t.match(ports.tunnels(), [{ deviceKey: 'a', name: 'http', port: 20_001 }]);
  t.equal(await fate(host, 20_001), 'open');
});
