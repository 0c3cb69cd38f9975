import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { Failure } from '../../src/support/failures.ts';
import { until } from '../support/until.ts';
import { fewFilesChild } from './few-files-child.ts';
import {
  come,
  dial,
  fate,
  HTTP,
  LEASE_MS,
  ownAddress,
  RANGE,
  SSH,
  START_MS,
  startPorts,
  storeOf,
} from './ports-bench.ts';

t.test(
  'what a session forwards listens while that session is the device’s, and its streams are the session’s',
  async (t) => {
    const { ports, host } = await startPorts(t, { store: storeOf('a') });
    const session = come(ports, 'a', 'ssh');
    t.equal(await ports.forward(session, SSH), 20_000);
    t.equal(await ports.forward(session, HTTP), 20_001);
    t.equal(ports.portOf('a', 'http'), 20_001);
    t.strictSame(ports.counts(), { listening: 2, connections: 0, turnedAway: 0 });

    const open = await dial(host, 20_001);
    t.strictSame((await session.next()).service, HTTP);
    ports.offline(session);
    t.equal(await fate(host, 20_000), 'refused');
    t.equal(await fate(host, 20_001), 'refused');
    t.equal(ports.counts().connections, 1, 'an open connection is left to the session');
    open.destroy();

    const again = come(ports, 'a', 'ssh');
    t.equal(await fate(host, 20_000), 'refused', 'until it forwards the service again');
    t.equal(await ports.forward(again, SSH), 20_000);
    t.equal(await fate(host, 20_000), 'open');
  },
);

t.test('a connection is handed over unread, whole, and can be half-closed', async (t) => {
  const { ports, host } = await startPorts(t, { store: storeOf('a') });
  const session = come(ports, 'a');
  session.echo = false;
  const port = await ports.forward(session, SSH);
  const client = await dial(host, port);
  client.end('said before anybody listens');
  const { socket } = await session.next();
  t.equal(socket.isPaused(), true);
  t.equal(socket.allowHalfOpen, true);
  await turn();
  t.equal(socket.bytesRead, 0);
  const heard: Buffer[] = [];
  socket.on('data', (bytes: Buffer) => heard.push(bytes));
  await once(socket.resume(), 'end');
  t.equal(Buffer.concat(heard).toString(), 'said before anybody listens');
  socket.end('answered after the end');
  t.equal(String(await once(client, 'data')), 'answered after the end');
});

t.test('a leased port listens exactly while its device is online and can carry it', async (t) => {
  const store = storeOf('a', 'b');
  const { ports, host } = await startPorts(t, { store });
  const session = come(ports, 'a');
  const lease = await ports.lease(session, HTTP);
  t.match(lease, { deviceKey: 'a', name: 'http', localPort: 80, port: 20_000 });
  t.strictSame(ports.tunnels(), [lease]);
  t.match(await store.load(), { leases: [{ name: 'http', expiresAtMs: lease.expiresAtMs }] });
  t.equal(await fate(host, 20_000), 'open');

  ports.offline(session);
  t.equal(await fate(host, 20_000), 'refused');
  t.strictSame(ports.tunnels(), [], 'what does not listen is not told');

  const mute = come(ports, 'a', 'ssh');
  ports.offline(mute);
  mute.refused.add('http');
  ports.online(mute);
  await turn();
  t.equal(await fate(host, 20_000), 'refused', 'this session cannot carry it');
  await t.rejects(ports.lease(mute, HTTP), { code: 'gateway.service-not-forwarded', message: /http is not forwarded/ });

  come(ports, 'a');
  await until('the port listens again', () => ports.tunnels().length === 1);
  t.equal(await fate(host, 20_000), 'open');
});

t.test('a newer session takes a leased port over: the same number, never closed, never to the older', async (t) => {
  const { ports, host } = await startPorts(t, { store: storeOf('a') });
  let session = come(ports, 'a');
  const { port } = await ports.lease(session, HTTP);
  for (let takeover = 0; takeover < 20; takeover += 1) {
    const older = session;
    const before = [fate(host, port), fate(host, port)];
    older.end('session_replaced');
    const carried = older.carried.length;
    session = come(ports, 'a');
    ports.offline(older); // its end is reported late
    const fates = await Promise.all([...before, fate(host, port), fate(host, port)]);
    t.notOk(fates.includes('refused'));
    t.strictSame(fates.slice(2), ['open', 'open']);
    t.equal(older.carried.length, carried, 'an ended session is given nothing');
  }
});

t.test('a newer SSH session forwards the same service again at the same port, within milliseconds', async (t) => {
  const { ports, host } = await startPorts(t, { store: storeOf('a') });
  const older = come(ports, 'a', 'ssh');
  const port = await ports.forward(older, SSH);
  const stream = await dial(host, port);
  await older.next();
  const newer = come(ports, 'a', 'ssh');
  t.equal(await fate(host, port), 'refused', 'before its own request nobody could carry it');
  const startMs = performance.now();
  t.equal(await ports.forward(newer, SSH), port);
  t.ok(performance.now() - startMs < 100, `${performance.now() - startMs} ms`);
  ports.offline(older);
  ports.cancelForward(older, SSH);
  t.equal(await fate(host, port), 'open', 'what the older still says counts for nothing');
  t.equal(newer.carried.length, 1);
  await t.rejects(ports.forward(older, SSH), { code: 'gateway.session-over' });
  stream.destroy();
});

t.test('a request that is taken back closes the listener, unless a lease keeps it', async (t) => {
  const { ports, host } = await startPorts(t, { store: storeOf('a') });
  const session = come(ports, 'a', 'ssh');
  await ports.forward(session, SSH);
  ports.cancelForward(session, SSH);
  t.equal(await fate(host, 20_000), 'refused');
  await ports.forward(session, SSH);
  await ports.lease(session, SSH);
  ports.cancelForward(session, SSH);
  t.equal(await fate(host, 20_000), 'open');
});

t.test('at the end of a lease accepting stops, open streams go on, and it is deleted', async (t) => {
  const store = storeOf('a', 'b');
  const { ports, host, clock } = await startPorts(t, { store });
  const [a, b] = [come(ports, 'a'), come(ports, 'b')];
  const { port } = await ports.lease(a, HTTP);
  clock.advance(LEASE_MS / 2);
  await ports.lease(b, HTTP);
  const stream = await dial(host, port);
  await a.next();

  clock.advance(LEASE_MS / 2 + 1_000);
  t.equal(await fate(host, port), 'refused');
  t.equal(await fate(host, 20_001), 'open', 'the other lease runs');
  t.match((await store.load()).leases, [{ deviceKey: 'b' }]);
  t.equal((await store.load()).assignments.length, 2, 'the number never expires');
  stream.end('still here');
  t.equal(String(await once(stream, 'data')), 'still here');

  clock.advance(LEASE_MS);
  t.equal(await fate(host, 20_001), 'refused');
  t.equal(clock.pending, 0, 'and no timer is left');
});

t.test('asking again renews a lease, also with another local port', async (t) => {
  const { ports, host, clock } = await startPorts(t, { store: storeOf('a') });
  const session = come(ports, 'a');
  await ports.lease(session, HTTP);
  clock.advance(LEASE_MS - 1_000);
  t.match(await ports.lease(session, { name: 'http', localPort: 8080 }), { port: 20_000, localPort: 8080 });
  clock.advance(LEASE_MS - 1_000);
  t.equal(await fate(host, 20_000), 'open');
  t.equal((await session.next()).service.localPort, 8080);
  clock.advance(2_000);
  t.equal(await fate(host, 20_000), 'refused');
});

t.test('a wall clock that is set ends no lease and prolongs none', async (t) => {
  const startMs = START_MS;
  for (const jumpMs of [10 * 365 * 86_400_000, -10 * 365 * 86_400_000]) {
    let wallMs = startMs;
    const { ports, host, clock } = await startPorts(t, { store: storeOf('a'), nowMs: () => wallMs });
    const pass = (ms: number) => {
      wallMs += ms;
      clock.advance(ms);
    };
    const { port } = await ports.lease(come(ports, 'a'), HTTP);
    pass(1_000);
    wallMs += jumpMs;
    pass(LEASE_MS - 2_000);
    t.equal(await fate(host, port), 'open');
    t.equal(ports.tunnels()[0]?.expiresAtMs, wallMs + 1_000, 'its end is told by the clock as it goes now');
    pass(2_000);
    t.equal(await fate(host, port), 'refused');
  }
});

t.test('a gateway that was restarted has the same ports open as soon as the device is back', async (t) => {
  const store = storeOf('a', 'b', 'c');
  const host = ownAddress();
  let wallMs = START_MS;
  const nowMs = () => wallMs;
  const first = await startPorts(t, { store, nowMs, bindHost: host });
  await first.ports.forward(come(first.ports, 'b', 'ssh'), SSH);
  const { port, expiresAtMs } = await first.ports.lease(come(first.ports, 'a'), HTTP);
  await first.ports.stop();
  t.equal(await fate(host, port), 'refused');

  wallMs += LEASE_MS / 2;
  const second = await startPorts(t, { store, nowMs, bindHost: host });
  t.strictSame(second.ports.tunnels(), []);
  t.equal(await fate(host, port), 'refused', 'the device is not there yet');
  come(second.ports, 'a');
  await until('the leased port listens', () => second.ports.tunnels().length === 1);
  t.match(second.ports.tunnels(), [{ port, expiresAtMs }]);
  t.equal(await fate(host, port), 'open');
  t.equal(await second.ports.forward(come(second.ports, 'c', 'ssh'), SSH), 20_002, 'stored ports are reserved');
  t.equal(await second.ports.forward(come(second.ports, 'b', 'ssh'), SSH), 20_000);
  second.clock.advance(LEASE_MS / 2 + 1_000);
  t.equal(await fate(host, port), 'refused');
  await second.ports.stop();
});

t.test('a start with the wall clock set back, or long after, keeps no lease for ever', async (t) => {
  const store = storeOf('a');
  const host = ownAddress();
  let wallMs = START_MS;
  const nowMs = () => wallMs;
  const first = await startPorts(t, { store, nowMs, bindHost: host });
  const { port } = await first.ports.lease(come(first.ports, 'a'), HTTP);
  await first.ports.stop();

  wallMs = 0;
  const second = await startPorts(t, { store, nowMs, bindHost: host });
  come(second.ports, 'a');
  await until('the leased port listens', () => second.ports.tunnels().length === 1);
  second.clock.advance(LEASE_MS - 1_000);
  t.equal(await fate(host, port), 'open');
  second.clock.advance(2_000);
  t.equal(await fate(host, port), 'refused', 'no more than a whole lease');
  await second.ports.lease(come(second.ports, 'a'), HTTP);
  await second.ports.stop();

  wallMs = Date.UTC(2026, 10, 2);
  await startPorts(t, { store, nowMs, bindHost: host });
  t.strictSame((await store.load()).leases, [], 'what was over at the start is deleted');
});

t.test('a full pool says so, and serves again when a device was removed', async (t) => {
  const store = storeOf('a', 'b', 'c');
  const { ports, host } = await startPorts(t, { store, range: { start: 20_000, end: 20_001 } });
  const [a, b, c] = [come(ports, 'a', 'ssh'), come(ports, 'b', 'ssh'), come(ports, 'c')];
  await ports.forward(a, SSH);
  await ports.forward(b, SSH);
  await t.rejects(ports.forward(c, SSH), { code: 'gateway.no-port' });
  await t.rejects(ports.lease(c, HTTP), { code: 'gateway.no-port' });
  t.equal(await fate(host, 20_001), 'open', 'the others keep theirs');
  await store.deleteDevice('a');
  ports.drop('a', null);
  t.equal(await fate(host, 20_000), 'refused');
  t.equal(await ports.forward(c, SSH), 20_000);
});

t.test('services that are dropped lose listener, lease and port; the others stay', async (t) => {
  const store = storeOf('a', 'b');
  const { ports, host } = await startPorts(t, { store });
  const [a, b] = [come(ports, 'a', 'ssh'), come(ports, 'b', 'ssh')];
  await ports.forward(a, SSH);
  await ports.lease(a, HTTP);
  await store.setServices('a', [SSH], ['http']);
  ports.drop('a', ['http']);
  t.equal(await fate(host, 20_001), 'refused');
  t.equal(await fate(host, 20_000), 'open');
  t.strictSame(ports.tunnels(), []);
  t.equal(ports.portOf('a', 'http'), null);
  t.equal(await ports.forward(b, SSH), 20_002, 'not at once the one that another device had');
});

t.test('clients that connect and leave at once do no harm', async (t) => {
  const { ports, host } = await startPorts(t, { store: storeOf('a') });
  const session = come(ports, 'a');
  const port = await ports.forward(session, SSH);
  for (let round = 0; round < 10; round += 1) {
    const clients = await Promise.all(Array.from({ length: 20 }, () => dial(host, port)));
    for (const [index, client] of clients.entries()) {
      if (index % 2 === 0) client.resetAndDestroy();
      else client.destroy();
    }
  }
  await until('all are gone', () => session.carried.length === 200 && ports.counts().connections === 0);
  t.equal(await fate(host, port), 'open');
});

t.test('a flood fills one port up to its bound, and no other', async (t) => {
  const { ports, host, log } = await startPorts(t, { store: storeOf('a') });
  const session = come(ports, 'a');
  await ports.forward(session, SSH);
  await ports.forward(session, HTTP);
  const clients = await Promise.all(Array.from({ length: 300 }, () => dial(host, 20_000)));
  await until('those beyond the bound are closed', () => ports.counts().turnedAway === 44);
  t.equal(ports.counts().connections, 256);
  t.equal(session.carried.length, 256);
  t.equal(log.lines.filter(({ msg }) => /as many connections as it may/.test(msg)).length, 1, 'told once');
  t.equal(await fate(host, 20_001), 'open');
  // The bound is the port's, also when its listener was closed in between.
  ports.cancelForward(session, SSH);
  await ports.forward(session, SSH);
  t.equal(await fate(host, 20_000), 'closed');
  for (const { socket } of session.carried.slice(0, 10)) socket.destroy();
  await until('there is room', () => ports.counts().connections === 246);
  t.equal(await fate(host, 20_000), 'open');
  for (const client of clients) client.destroy();
});

t.test('a connection that the session fails to carry is closed, and the port stays', async (t) => {
  const { ports, host, log } = await startPorts(t, { store: storeOf('a') });
  const session = come(ports, 'a');
  const port = await ports.forward(session, SSH);
  session.fault = new Error('broken');
  t.equal(await fate(host, port), 'closed');
  t.ok(log.has(/could not be carried/));
  session.fault = null;
  t.equal(await fate(host, port), 'open');
  t.equal(ports.counts().turnedAway, 1);
});

t.test('while the session can carry nothing, connections are refused, but for the one that found it out', async (t) => {
  const { ports, host, clock } = await startPorts(t, { store: storeOf('a') });
  const session = come(ports, 'a');
  await ports.forward(session, SSH);
  await ports.lease(session, HTTP);
  for (const port of [20_000, 20_001]) {
    session.refused.add('ssh').add('http');
    t.equal(await fate(host, port), 'closed');
    t.equal(await fate(host, port), 'refused');
    clock.advance(1_000);
    t.equal(await fate(host, port), 'refused');
    session.refused.clear();
    clock.advance(1_000);
    await until('it listens again', () => ports.counts().listening === 2);
    t.equal(await fate(host, port), 'open');
  }
  session.end('operator_disconnect');
  t.equal(await fate(host, 20_000), 'closed', 'its end is not reported yet');
  t.equal(await fate(host, 20_000), 'refused');
  ports.offline(session);
  clock.advance(LEASE_MS + 1_000);
  t.equal(clock.pending, 0, 'nobody is asked any more');
});

t.test('a connection to a port that is not told yet does not keep it from being opened', async (t) => {
  const store = storeOf('a');
  const { ports, host } = await startPorts(t, { store });
  const session = come(ports, 'a', 'ssh');
  session.refused.add('ssh');
  const assignPort = store.assignPort.bind(store);
  store.assignPort = async (...args) => {
    t.equal(await fate(host, 20_000), 'closed');
    return assignPort(...args);
  };
  const port = await ports.forward(session, SSH);
  session.refused.clear(); // as of now it knows that it forwards it
  t.equal(await fate(host, port), 'open');
});

t.test('what a lease cannot have yet does not keep the session from forwarding it', async (t) => {
  const store = storeOf('a');
  await store.putLease({ deviceKey: 'a', ...SSH, expiresAtMs: START_MS * 2 });
  const { ports, host, clock } = await startPorts(t, { store });
  const session = come(ports, 'a', 'ssh');
  ports.offline(session);
  session.refused.add('ssh'); // as an SSH session does until it has the answer to its request
  ports.online(session);
  const assignPort = store.assignPort.bind(store);
  store.assignPort = async (...args) => {
    clock.advance(1_500);
    return assignPort(...args);
  };
  const port = await ports.forward(session, SSH);
  session.refused.clear();
  t.equal(await fate(host, port), 'open');
});

t.test('what could not be stored is neither told nor listens', async (t) => {
  const store = storeOf('a');
  const { ports, host } = await startPorts(t, { store });
  const session = come(ports, 'a');
  store.fail = new Failure('gateway.store-failed', 'the disk is full');
  await t.rejects(ports.forward(session, SSH), { code: 'gateway.store-failed' });
  await t.rejects(ports.lease(session, HTTP), { code: 'gateway.store-failed' });
  store.fail = null;
  t.equal(await fate(host, 20_000), 'refused');
  t.equal(ports.portOf('a', 'ssh'), null);
  t.equal(await ports.forward(session, HTTP), 20_000, 'the port is free again');

  store.fail = new Failure('gateway.store-failed', 'the disk is full');
  ports.cancelForward(session, HTTP);
  await t.rejects(ports.lease(session, HTTP), { code: 'gateway.store-failed' });
  t.equal(await fate(host, 20_000), 'refused', 'a lease that is not stored is none');
});

t.test('who asks at once for the same service shares one attempt', async (t) => {
  const store = storeOf('a');
  let assigned = 0;
  const assignPort = store.assignPort.bind(store);
  store.assignPort = async (...args) => {
    assigned += 1;
    await turn();
    return assignPort(...args);
  };
  const { ports } = await startPorts(t, { store });
  const session = come(ports, 'a');
  const asked = [1, 2, 3].flatMap(() => [
    ports.forward(session, SSH),
    ports.lease(session, SSH).then(({ port }) => port),
  ]);
  t.strictSame(new Set(await Promise.all(asked)), new Set([20_000]));
  t.equal(assigned, 1);
  t.equal(ports.counts().listening, 1);
});

t.test('a session that ends meanwhile leaves nothing listening, and its successor gets the port', async (t) => {
  const store = storeOf('a');
  const { ports, host } = await startPorts(t, { store });
  const session = come(ports, 'a');
  const [forwarded, leased] = [ports.forward(session, SSH), ports.lease(session, HTTP)];
  ports.offline(session);
  await t.rejects(forwarded, { code: 'gateway.session-over' });
  await t.rejects(leased, { code: 'gateway.session-over' });
  await t.rejects(ports.forward(session, SSH), { code: 'gateway.session-over' });
  t.equal(await fate(host, 20_000), 'refused');
  t.equal(await fate(host, 20_001), 'refused');

  const second = ports.forward(come(ports, 'a'), SSH);
  const third = ports.forward(come(ports, 'a'), SSH);
  await t.rejects(second, { code: 'gateway.session-over' });
  t.equal(await third, ports.portOf('a', 'ssh'));
  t.equal(await fate(host, await third), 'open');
  t.equal(ports.counts().listening, 1);
});

t.test('at whatever moment a session ends, nothing is left listening', async (t) => {
  const { ports, host, log } = await startPorts(t, { store: storeOf('a') });
  for (let moment = 0; moment < 40; moment += 1) {
    const session = come(ports, 'a');
    const asked = [ports.forward(session, SSH), ports.lease(session, HTTP)];
    for (let wait = 0; wait < moment; wait += 1) await (moment < 20 ? null : turn());
    ports.offline(session);
    await Promise.allSettled(asked);
    t.equal(ports.counts().listening, 0);
    t.equal(await fate(host, 20_000), 'refused');
    t.equal(await fate(host, 20_001), 'refused');
  }
  t.notOk(log.lines.some(({ level }) => level === 'warn' || level === 'error'));
});

t.test('a device that goes and comes at once has its leased port, without a word', async (t) => {
  const { ports, host, log } = await startPorts(t, { store: storeOf('a') });
  const { port } = await ports.lease(come(ports, 'a'), HTTP);
  for (let time = 0; time < 10; time += 1) {
    for (let flap = 0; flap < 5; flap += 1) ports.offline(come(ports, 'a'));
    come(ports, 'a');
    await until('it listens', () => ports.tunnels().length === 1);
    t.equal(await fate(host, port), 'open');
  }
  t.notOk(log.has(/session-over/));
});

t.test('a lease that ends while it is being renewed goes on', async (t) => {
  const store = storeOf('a');
  const { ports, host, clock } = await startPorts(t, { store });
  const session = come(ports, 'a');
  const { port } = await ports.lease(session, HTTP);
  const putLease = store.putLease.bind(store);
  store.putLease = async (lease) => {
    await putLease(lease);
    clock.advance(LEASE_MS - 500);
    t.equal(await fate(host, port), 'open');
  };
  clock.advance(2_000);
  await ports.lease(session, HTTP);
  t.equal((await store.load()).leases.length, 1);
  clock.advance(1_000);
  t.equal((await store.load()).leases.length, 0, 'from when it was asked for');
});

t.test('a service that is dropped while its port is being stored keeps that port reserved', async (t) => {
  const store = storeOf('a', 'b');
  const { ports } = await startPorts(t, { store });
  const assignPort = store.assignPort.bind(store);
  let write = () => {};
  const written = new Promise<void>((resolve) => {
    write = resolve;
  });
  const storing = new Promise<void>((resolve) => {
    store.assignPort = async (...args) => {
      resolve();
      await written;
      return assignPort(...args);
    };
  });
  const forwarded = ports.forward(come(ports, 'a'), SSH);
  await storing;
  await store.setServices('a', [HTTP], ['ssh']);
  ports.drop('a', ['ssh']);
  write();
  await t.rejects(forwarded, { code: 'gateway.session-over' });
  t.match((await store.load()).assignments, [{ deviceKey: 'a', port: 20_000 }]);
  t.equal(await ports.forward(come(ports, 'b'), SSH), 20_001);
  t.equal(ports.counts().listening, 1);
});

t.test('a lease that is granted to a service which is dropped meanwhile is none', async (t) => {
  const store = storeOf('a');
  const { ports, host } = await startPorts(t, { store });
  const session = come(ports, 'a');
  await ports.forward(session, SSH);
  const putLease = store.putLease.bind(store);
  store.putLease = async (lease) => {
    await putLease(lease);
    ports.drop('a', ['ssh']);
    t.equal(ports.counts().listening, 0);
  };
  await t.rejects(ports.lease(session, SSH), { code: 'gateway.session-over' });
  t.strictSame((await store.load()).leases, []);
  t.equal(await fate(host, 20_000), 'refused');
});

t.test('a damaged store: who lost a port has another one, durably', async (t) => {
  const store = storeOf('a', 'b');
  const load = store.load.bind(store);
  await store.assignPort({ deviceKey: 'a', service: 'ssh', port: 20_000 });
  await store.assignPort({ deviceKey: 'b', service: 'ssh', port: 20_005 });
  store.load = async () => {
    const stored = await load();
    return { ...stored, assignments: stored.assignments.map((one) => ({ ...one, port: 20_000 })) };
  };
  const { ports, audit, log } = await startPorts(t, { store });
  t.ok(log.has(/belongs to another service/));
  const detail = { service: 'ssh', old_port: 20_000, new_port: 20_001 };
  t.match(audit, [{ deviceKey: 'b', event: 'port_conflict_resolved', reason: /another service/, detail }]);
  t.equal(await ports.forward(come(ports, 'a'), SSH), 20_000);
  t.equal(await ports.forward(come(ports, 'b'), SSH), 20_001);
  t.match((await load()).assignments, [{ port: 20_000 }, { deviceKey: 'b', port: 20_001 }]);
});

t.test('an address that is not here is told as that, and costs no port', async (t) => {
  const store = storeOf('a');
  const { ports, audit, clock, log } = await startPorts(t, { store, bindHost: '203.0.113.9' });
  const session = come(ports, 'a');
  await t.rejects(ports.forward(session, SSH), {
    code: 'gateway.cannot-listen',
    message: /20000 of 203.0.113.9: .*not an address/,
  });
  t.equal(ports.portOf('a', 'ssh'), null);
  await store.assignPort({ deviceKey: 'a', service: 'ssh', port: RANGE.start });
  await store.putLease({ deviceKey: 'a', ...SSH, expiresAtMs: START_MS + clock.nowMs() + LEASE_MS });
  await ports.load(await store.load());
  come(ports, 'a');
  await until('it is told', () => log.lines.some(({ code }) => code === 'gateway.cannot-listen'));
  t.equal(ports.portOf('a', 'ssh'), RANGE.start, 'a stored one is not replaced for that');
  t.strictSame(audit, []);
  clock.advance(30_000);
  await until(
    'it was tried again',
    () => log.lines.filter(({ code }) => code === 'gateway.cannot-listen').length === 2,
  );
});

t.test(
  'with too many files open new ports are refused with the reason, what listens stays, and it recovers',
  async (t) => {
    const host = ownAddress();
    const child = spawn('sh', ['-c', 'ulimit -n 64; exec "$@"', 'sh', process.execPath, fewFilesChild, host], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    const exited = once(child, 'exit');
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const next = async () => {
      child.stdin.write('go on\n');
      return JSON.parse((await lines.next()).value ?? 'null');
    };
    const failed = await next();
    t.match(failed, { code: 'gateway.cannot-listen', message: /as many open files/, assigned: null });
    t.ok(failed.opened > 10 && failed.opened < 64, `${failed.opened} ports`);
    t.equal(await fate(host, 20_000), 'closed', 'no file is left for the connection; the process goes on');
    t.strictSame(await next(), { port: 20_000 });
    t.equal(await fate(host, 20_000), 'open');
    child.stdin.end('the end\n');
    t.strictSame(await exited, [0, null]);
  },
);

t.test('before the end listeners close first, and connections at last', async (t) => {
  const { ports, host, clock } = await startPorts(t, { store: storeOf('a') });
  const session = come(ports, 'a');
  const { port } = await ports.lease(session, SSH);
  const client = await dial(host, port);
  await session.next();
  ports.stopAccepting();
  t.equal(await fate(host, port), 'refused');
  await t.rejects(ports.forward(session, HTTP), { code: 'gateway.session-over' });
  client.write('still here');
  t.equal(String(await once(client, 'data')), 'still here');
  const closed = once(client, 'end');
  await ports.stop();
  await closed;
  t.equal(clock.pending, 0);
  t.equal(ports.counts().connections, 0);
});

t.test('no timer is left of a port that is asked about, or tried, again', async (t) => {
  const { ports, host, clock } = await startPorts(t, { store: storeOf('a') });
  const session = come(ports, 'a');
  const port = await ports.forward(session, SSH);
  session.refused.add('ssh');
  t.equal(await fate(host, port), 'closed');
  t.equal(clock.pending, 1);
  ports.offline(session);
  t.equal(clock.pending, 0);

  const store = storeOf('a');
  await store.assignPort({ deviceKey: 'a', service: 'ssh', port: 20_000 });
  await store.putLease({ deviceKey: 'a', ...SSH, expiresAtMs: START_MS * 2 });
  const nowhere = await startPorts(t, { store, bindHost: '203.0.113.9' });
  come(nowhere.ports, 'a');
  await until('it failed', () => nowhere.clock.pending === 2); // with that of the lease
  await nowhere.ports.stop();
  t.equal(nowhere.clock.pending, 0);
});
