import { setMaxListeners } from 'node:events';
import t from 'tap';
import type { Authentication } from '../../src/gateway/entry.ts';
import { FakeSession } from './fake-session.ts';
import { makeCore, settled, WALL_MS } from './fleet-parts.ts';
import { MemoryStore } from './memory-store.ts';

type Made = Awaited<ReturnType<typeof makeCore>>;

/** A session whose end is reported to the host at once, as an entry does. */
function online({ host, operations }: Made, deviceKey: string, entry: 'agent' | 'ssh' = 'agent') {
  const session = new FakeSession(deviceKey, entry);
  session.onEnd = (reason) => host.ended(session, reason, null);
  return { session, let: host.started(session, operations.status(deviceKey).device) };
}

const events = async ({ core }: Made, key: string | null) =>
  (await core.audit.newest(key, 200))
    .map(({ event, reason }) => (reason === null ? event : `${event}: ${reason}`))
    .reverse();

/** The answer, once it came; null before. */
function later(asked: Promise<Authentication>): { answer: Authentication | null } {
  const found: { answer: Authentication | null } = { answer: null };
  void asked.then((answer) => {
    found.answer = answer;
  });
  return found;
}

const INVALID = { refusal: { code: 'invalid', reason: 'the device is unknown, or its token is wrong' } };

t.test('the right Meeting token lets a device in at once', async (t) => {
  const made = await makeCore(t);
  const device = await made.create('one', '41e291');
  const claim = { deviceKey: 'one', token: '41e291', address: '192.0.2.1' };
  t.strictSame(await made.host.authenticateAgent(claim), { device });
  t.equal(made.core.counts().authentications.agent.accepted, 1);
});

t.test('an unknown device and a wrong token have one answer, after the same time', async (t) => {
  const made = await makeCore(t);
  await made.create('short', '41e291');
  await made.create('strong');
  for (const [i, deviceKey] of ['short', 'strong', 'nobody'].entries()) {
    for (const [round, delayMs] of [500, 1000, 2000, 4000, 4000, 4000, 4000, 4000].entries()) {
      const address = `192.0.2.${i}`;
      const asked = later(made.host.authenticateAgent({ deviceKey, token: `wrong ${round}`, address }));
      await settled();
      made.clock.advance(delayMs - 1);
      await settled();
      t.equal(asked.answer, null, `${deviceKey}, ${round}`);
      made.clock.advance(1);
      await settled();
      t.strictSame(asked.answer, INVALID);
    }
  }
  t.match(made.core.counts().authentications.agent, { accepted: 0, invalid: 21, unlooked: 3 });
});

t.test('wrong tokens of a known device are in its audit; those of an unknown one are nobody’s', async (t) => {
  const made = await makeCore(t);
  await made.create('one');
  for (const deviceKey of ['one', 'no\u001bbody']) {
    const asked = made.host.authenticateAgent({ deviceKey, token: 'secret guess', address: '::ffff:192.0.2.1' });
    made.clock.advance(4000);
    await asked;
  }
  t.match(await made.core.audit.newest('one', 1), [
    { event: 'rejected', deviceKey: 'one', detail: { entry: 'agent', address: '192.0.2.1' } },
  ]);
  const all = await made.core.audit.newest(null, 10);
  t.match(all[0], { event: 'rejected', deviceKey: null, detail: { claimed: 'no body' } });
  t.notMatch(JSON.stringify([all, made.lines]), /secret guess/);
});

t.test('wire 5.1: the tunnel token is the user name; a wrong one takes its time', async (t) => {
  const made = await makeCore(t);
  await made.create('one');
  const token = await made.operations.tunnelToken('one', { rotate: false });
  t.match(await made.host.authenticateToken({ token, address: '192.0.2.1' }), { device: { key: 'one' } });
  const first = later(made.host.authenticateToken({ token: 'admin', address: '192.0.2.9' }));
  made.clock.advance(499);
  await settled();
  t.equal(first.answer, null);
  made.clock.advance(1);
  await settled();
  t.strictSame(first.answer, INVALID);
  for (const wrong of ['root', '', token.toLowerCase(), `A${token.slice(1)}`, 'one has a long token']) {
    const asked = later(made.host.authenticateToken({ token: wrong, address: '192.0.2.1' }));
    await settled();
    t.equal(asked.answer, null);
    made.clock.advance(4000);
    await settled();
    t.strictSame(asked.answer, INVALID);
  }
});

t.test('what was wrong is told only once the token was right', async (t) => {
  const made = await makeCore(t);
  await made.create('one');
  const token = await made.operations.tunnelToken('one', { rotate: false });
  const ask = (tokenCode: string) =>
    made.host.authenticateAgent({ deviceKey: 'one', token: tokenCode, address: '192.0.2.1' });
  await made.operations.pause('one', WALL_MS + 60_000);
  t.match(await ask('one has a long token'), {
    refusal: { code: 'paused', reason: 'the device is paused until 2026-11-21T12:01:00.000Z' },
  });
  t.match(await made.host.authenticateToken({ token, address: '192.0.2.1' }), { refusal: { code: 'paused' } });
  const wrong = later(ask('wrong'));
  made.clock.advance(500);
  await settled();
  t.strictSame(wrong.answer, INVALID);
  await made.operations.authorize('one', false);
  t.match(await ask('one has a long token'), { refusal: { code: 'unauthorized' } });
  await made.operations.authorize('one', true);
  made.clock.advance(60_000);
  t.match(await ask('one has a long token'), { device: { key: 'one' } }, 'a pause ends by itself');
  made.core.stopAccepting();
  t.match(await ask('one has a long token'), { refusal: { code: 'busy' } });
});

t.test('a stop does not wait for wrong answers', async (t) => {
  const made = await makeCore(t);
  const asked = made.host.authenticateAgent({ deviceKey: 'one', token: 'wrong', address: '192.0.2.1' });
  await made.core.stop();
  t.strictSame(await asked, INVALID);
  t.equal(made.clock.pending, 0);
});

t.test('addresses that devices came from are known after a restart, to the gates and to the guesses', async (t) => {
  const store = new MemoryStore();
  const first = await makeCore(t, { store });
  await first.create('one', '41e291');
  await first.host.authenticateAgent({ deviceKey: 'one', token: '41e291', address: '::ffff:192.0.2.1' });
  await first.core.stop();
  t.match((await store.load()).addresses, [{ deviceKey: 'one', address: '192.0.2.1', atMs: WALL_MS }]);

  const second = await makeCore(t, { store, secrets: first.secrets });
  const { signal } = new AbortController();
  setMaxListeners(0, signal);
  for (let i = 0; i < 30; i += 1) void second.host.admit('agent', `198.51.100.${i}`, signal);
  t.ok(await second.host.admit('agent', '192.0.2.1', signal));
  t.equal(await second.host.admit('agent', '192.0.2.2', signal), null);
  for (let i = 0; i < 30; i += 1) {
    void second.host.authenticateAgent({ deviceKey: 'one', token: `${i}`, address: `198.51.100.${i}` });
  }
  const ask = (address: string) => second.host.authenticateAgent({ deviceKey: 'one', token: '41e291', address });
  t.match(await ask('192.0.2.1'), { device: { key: 'one' } });
  const elsewhere = later(ask('192.0.2.2'));
  second.clock.advance(4000);
  await settled();
  t.strictSame(elsewhere.answer, INVALID);
  await second.operations.remove('one');
  for (let i = 0; i < 60; i += 1) void second.host.admit('agent', `198.51.100.${i}`, signal);
  t.equal(await second.host.admit('agent', '192.0.2.1', signal), null, 'and forgotten with the device');
});

t.test('the entries do not share their places', async (t) => {
  const made = await makeCore(t);
  const { signal } = new AbortController();
  setMaxListeners(0, signal);
  for (let i = 0; i < 30; i += 1) await made.host.admit('agent', '192.0.2.1', signal);
  t.ok(await made.host.admit('ssh', '192.0.2.1', signal));
  t.match(made.core.counts().gates, { agent: { admitted: 11, refusedByRate: 19 }, ssh: { admitted: 1 } });
  t.strictSame(await events(made, null), ['rejected: too many new connections', 'rejected: too many new connections']);
});

t.test('a session makes the device online, and its end offline', async (t) => {
  const made = await makeCore(t);
  await made.create('one');
  const { session, let: ok } = online(made, 'one');
  t.ok(ok);
  t.equal(made.core.sessions.current('one'), session);
  t.match(made.operations.status('one'), {
    session: { deviceKey: 'one', entry: 'agent', client: 'fake' },
    device: { lastConnectedAtMs: WALL_MS, lastSeenAtMs: WALL_MS },
  });
  made.clock.advance(90_000);
  session.end('keepalive_timeout');
  t.match(made.operations.status('one'), { session: null, device: { lastSeenAtMs: WALL_MS + 90_000 } });
  t.strictSame(await events(made, 'one'), ['device_created', 'connect', 'disconnect: keepalive_timeout']);
  t.match(made.core.counts(), { sessionsStarted: { agent: 1, ssh: 0 }, sessionsEnded: { keepalive_timeout: 1 } });
  await made.core.audit.flush();
  t.match((await made.store.load()).devices, [{ lastConnectedAtMs: WALL_MS + 90_000 }]);
});

t.test('wire 5.6: the newer wins, its ports stay, whether the older reports its end at once or later', async (t) => {
  for (const isLate of [false, true]) {
    const made = await makeCore(t, { realTime: true });
    await made.create('one');
    const ssh = { name: 'ssh', localPort: 22 };
    const older = online(made, 'one', 'ssh').session;
    const port = await made.host.forward(older, ssh);
    if (isLate) older.onEnd = () => {};
    const newer = online(made, 'one').session;
    t.strictSame(older.ends, ['session_replaced']);
    t.equal(await made.host.forward(newer, ssh), port);
    if (isLate) made.host.ended(older, 'session_replaced', null);
    t.equal(made.core.sessions.current('one'), newer);
    t.equal(made.host.assignedPort('one', 'ssh'), port);
    t.match(made.core.counts().ports, { listening: 1 });
    await t.rejects(made.host.forward(older, ssh), { code: 'gateway.session-over' });
    t.strictSame(await events(made, 'one'), ['device_created', 'connect', 'replaced: session_replaced', 'connect']);
    t.match(made.core.counts(), { sessionsEnded: { session_replaced: 1 } });
    newer.end('connection_closed');
    t.equal(made.core.sessions.current('one'), null);
    t.match(made.core.counts().ports, { listening: 0 });
  }
});

t.test('who is no longer allowed when the handshake ends is not let in', async (t) => {
  const made = await makeCore(t);
  const ask = (key: string) =>
    made.host.authenticateAgent({ deviceKey: key, token: `${key} has a long token`, address: '192.0.2.1' });
  const since = async (key: string, what: () => Promise<unknown>) => {
    await made.create(key);
    const answer = await ask(key);
    await what();
    if (!('device' in answer)) throw new Error(answer.refusal.reason);
    const { device } = answer;
    return made.host.started(new FakeSession(key), device);
  };
  const { operations } = made;
  t.equal(await since('a', () => operations.remove('a')), false, 'removed');
  t.equal(await since('b', () => operations.pause('b', WALL_MS + 1000)), false, 'paused');
  t.equal(await since('c', () => operations.authorize('c', false)), false, 'no longer authorised');
  t.equal(await since('d', () => operations.setTokenCode('d', null)), false, 'its token changed');
  t.equal(await since('e', () => operations.tunnelToken('e', { rotate: true })), true, 'its other token changed');
  t.equal(await since('f', async () => made.core.stopAccepting()), false, 'the gateway stops');
  t.strictSame(
    made.core.sessions.all().map(({ deviceKey }) => deviceKey),
    ['e'],
  );
});

t.test('an entry’s own refusals are counted, and kept in the audit', async (t) => {
  const made = await makeCore(t);
  for (let i = 0; i < 100; i += 1) made.host.rejected('ssh', '::ffff:192.0.2.1', 'no version line\nwithin 10 s');
  t.equal(made.core.counts().authentications.ssh.broken, 100);
  t.strictSame(await events(made, null), [
    'rejected: no version line within 10 s',
    'rejected: no version line within 10 s',
  ]);
});
