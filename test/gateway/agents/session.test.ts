import { once } from 'node:events';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { startAgentChild } from '../../support/agent-child.ts';
import { frame, openPayload } from '../../support/raw-proxy.ts';
import { startEcho, startService } from '../../support/tcp-services.ts';
import { startAgent } from '../../support/tunnel-bench.ts';
import { until } from '../../support/until.ts';
import { type Entry, helloOf, Peer, publicPort, startEntry } from './support.ts';

const SETTINGS = Buffer.from('{"v":1,"maxStreams":8,"window":65536}');

/** A raw agent that was accepted. */
async function agentOf(t: Test, { port }: Entry, mode: 'legacy' | 'v1' = 'legacy'): Promise<Peer> {
  const agent = await Peer.connect(t, port);
  agent.socket.write(helloOf());
  await agent.reply();
  if (mode === 'v1') agent.socket.write(frame('X', 0, SETTINGS));
  return agent;
}

const startsWith = (bytes: Buffer) => (received: Buffer) => received.subarray(0, bytes.length).equals(bytes);
const goingAway = (text: string, min = 0, max = 0) => {
  const payload = Buffer.alloc(4);
  payload.writeUInt16BE(min, 0);
  payload.writeUInt16BE(max, 2);
  return frame('G', 0, Buffer.concat([payload, Buffer.from(text)]));
};

t.test('a legacy agent is spoken to in N, D and C only', async (t) => {
  const entry = await startEntry(t);
  const agent = await agentOf(t, entry);
  const { port } = await publicPort(t, entry.host, 22);
  t.match((await entry.host.session()).facts(), { client: 'legacy', streams: 0 });
  const client = await Peer.connect(t, port, { allowHalfOpen: true });
  client.socket.write('question');
  await agent.until((bytes) => bytes.length >= 28);
  t.same(agent.received, Buffer.concat([frame('N', 1, openPayload(22)), frame('D', 1, Buffer.from('question'))]));
  // What concerns no stream means nothing, large ids included.
  agent.socket.write(
    Buffer.concat([
      frame('D', 305_113, Buffer.from('stray')),
      frame('C', 4_294_967_295),
      frame('D', 1, Buffer.from('answer')),
      frame('D', 1),
      frame('C', 1),
    ]),
  );
  await client.until((bytes) => bytes.toString() === 'answer');
  client.socket.end();
  await client.closed;
  t.match((await entry.host.session()).facts(), { streams: 0, opened: 1 });

  agent.received = Buffer.alloc(0);
  const second = await Peer.connect(t, port);
  second.socket.end();
  await agent.until((bytes) => bytes.length >= 20);
  t.same(agent.received, Buffer.concat([frame('N', 2, openPayload(22)), frame('C', 2)]), 'ids are never used twice');
});

t.test('many clients at once of a legacy agent each get their own bytes', async (t) => {
  const entry = await startEntry(t);
  const agent = await agentOf(t, entry);
  const { port } = await publicPort(t, entry.host, 22);
  const clients = await Promise.all(Array.from({ length: 40 }, () => Peer.connect(t, port)));
  await agent.until((bytes) => bytes.length === 40 * 11);
  const order = [...clients.keys()];
  for (const index of order) clients[index]?.socket.write(`client ${String(index).padStart(2, '0')}`);
  await agent.until((bytes) => bytes.length === 40 * (11 + 9 + 9));
  agent.socket.write(agent.received.subarray(40 * 11)); // each D back as it came
  await Promise.all(
    clients.map((client, index) =>
      client.until((bytes) => bytes.toString() === `client ${String(index).padStart(2, '0')}`),
    ),
  );
  t.equal((await entry.host.session()).facts().streams, 40);
});

t.test('the same device twice: the newer one wins at once, and the older is told why', async (t) => {
  const entry = await startEntry(t);
  const first = await agentOf(t, entry, 'v1');
  const { host } = entry;
  const before = await host.session();
  await until('v1', () => before.facts().client === 'v1');
  const startMs = performance.now();
  const second = await agentOf(t, entry, 'v1');
  t.ok(performance.now() - startMs < 1_000);
  await first.closed;
  t.ok(startsWith(goingAway('session_replaced'))(first.received));
  await host.until(() => host.ends.length === 1);
  t.match(host.ends, [{ session: before, reason: 'session_replaced', detail: null }]);
  t.not(await host.session(), before);
  t.equal(second.socket.destroyed, false);
});

t.test('two agents of one device at the same instant end as one session', async (t) => {
  const entry = await startEntry(t);
  const { host, port } = entry;
  const peers = await Promise.all([Peer.connect(t, port), Peer.connect(t, port)]);
  for (const peer of peers) peer.socket.write(helloOf());
  await host.until(() => host.started_.length === 2 && host.ends.length === 1);
  t.equal(peers.filter(({ socket }) => socket.destroyed).length <= 1, true);
  t.equal(host.current.size, 1);
});

for (const reason of ['paused_by_operator', 'token_rotated', 'operator_disconnect', 'shutdown'] as const) {
  t.test(`a session that is ended (${reason}) says so to a v1 agent, and takes nothing more`, async (t) => {
    const entry = await startEntry(t);
    const agent = await agentOf(t, entry, 'v1');
    const session = await entry.host.session();
    await until('v1', () => session.facts().client === 'v1');
    session.end(reason);
    session.end('connection_error');
    t.type(session.refusal({ name: 'ssh', localPort: 22 }), 'string');
    await agent.closed;
    t.same(agent.received, goingAway(reason));
    await entry.host.until(() => entry.host.ends.length === 1);
    t.match(entry.host.ends, [{ reason, detail: null }]);
    const { port } = await publicPort(t, entry.host, 22);
    const client = await Peer.connect(t, port);
    await client.closed;
  });
}

t.test('a legacy agent that takes nothing more is cut within 2 s of the end, its clients too', async (t) => {
  const entry = await startEntry(t);
  const agent = await agentOf(t, entry);
  const { port } = await publicPort(t, entry.host, 22);
  const client = connect(port, '127.0.0.1');
  client.on('error', () => {});
  client.pause();
  await agent.until((bytes) => bytes.length === 11);
  agent.socket.pause();
  client.write(Buffer.alloc(4_000_000));
  agent.socket.write(frame('D', 1, Buffer.alloc(7_000_000)));
  const session = await entry.host.session();
  const startMs = performance.now();
  session.end('operator_disconnect');
  client.resume();
  await once(client, 'close');
  await entry.host.until(() => entry.host.ends.length === 1);
  t.ok(performance.now() - startMs < 4_000, 'about 2 s');
  t.match(entry.host.ends, [{ reason: 'operator_disconnect' }]);
});

t.test('a drain lets open streams finish, opens none, and tells a v1 agent when to come back', async (t) => {
  const echo = await startEcho();
  t.teardown(() => echo.close());
  const { host, port } = await startEntry(t);
  const { until: seen } = startAgent(t, port, { services: { echo: echo.port } });
  const session = await host.session();
  await until('v1', () => session.facts().client === 'v1');
  const publicSide = await publicPort(t, host, echo.port);
  const client = await Peer.connect(t, publicSide.port);
  client.socket.write('before');
  await client.until((bytes) => bytes.toString() === 'before');
  session.drain({ minMs: 5_000, maxMs: 20_000 });
  t.equal(session.refusal({ name: 'echo', localPort: echo.port }), 'the session is ending');
  client.socket.write(' and after');
  await client.until((bytes) => bytes.toString() === 'before and after');
  t.same(host.ends, []);
  client.socket.end();
  await host.until(() => host.ends.length === 1);
  t.match(host.ends, [{ reason: 'shutdown', detail: null }]);
  const { nextAttemptInMs } = await seen(({ state }) => state === 'waiting');
  t.ok((nextAttemptInMs ?? 0) > 4_000 && (nextAttemptInMs ?? 0) <= 20_000, `comes back in ${nextAttemptInMs} ms`);
});

t.test('a drain without open streams ends the session at once; the end after it says nothing twice', async (t) => {
  const entry = await startEntry(t);
  const idle = await agentOf(t, entry);
  (await entry.host.session()).drain({ minMs: 1000, maxMs: 2000 });
  await idle.closed;
  await entry.host.until(() => entry.host.ends.length === 1);
  t.match(entry.host.ends, [{ reason: 'shutdown' }]);

  const busy = await agentOf(t, entry, 'v1');
  const session = await entry.host.session();
  await until('v1', () => session.facts().client === 'v1');
  const { port } = await publicPort(t, entry.host, 22);
  await Peer.connect(t, port);
  await busy.until((bytes) => bytes.length === 15);
  busy.received = Buffer.alloc(0);
  session.drain({ minMs: 1_000, maxMs: 2_500 });
  await busy.until(startsWith(goingAway('shutdown', 1, 3)));
  session.end('shutdown');
  await busy.closed;
  t.same(busy.received, Buffer.concat([goingAway('shutdown', 1, 3), frame('C', 1)]));
});

t.test('how sessions end is told: closed, broken, protocol broken', async (t) => {
  const entry = await startEntry(t);
  const { host } = entry;
  const closes = await agentOf(t, entry);
  closes.socket.end();
  await host.until(() => host.ends.length === 1);
  t.match(host.ends.pop(), { reason: 'connection_closed', detail: 'the peer closed the session' });

  const resets = await agentOf(t, entry);
  resets.socket.resetAndDestroy();
  await host.until(() => host.ends.length === 1);
  t.match(host.ends.pop(), { reason: 'connection_error', detail: /ECONNRESET/ });

  const lies = await agentOf(t, entry);
  lies.socket.write(frame('C', 1, Buffer.alloc(2000)));
  await host.until(() => host.ends.length === 1);
  t.match(host.ends.pop(), {
    reason: 'connection_error',
    detail: /the peer broke the protocol: a frame 'C' claims 2000/,
  });

  const leaves = await agentOf(t, entry, 'v1');
  leaves.socket.end(goingAway('shutdown'));
  await host.until(() => host.ends.length === 1);
  t.match(host.ends.pop(), { reason: 'connection_closed', detail: /the peer is going away: shutdown/ });
});

t.test('an agent that is killed is noticed at once, its clients are closed', async (t) => {
  const service = await startService();
  t.teardown(() => service.close());
  const entry = await startEntry(t);
  const child = startAgentChild(t, [{ name: 'device-1', port: entry.port }], { test: service.port });
  const { host } = entry;
  host.authentication = (deviceKey) => ({ device: { key: deviceKey } as never });
  await host.session('device-1');
  const { port } = await publicPort(t, host, service.port, 'device-1');
  const client = await Peer.connect(t, port);
  await service.next();
  child.kill();
  await client.closed;
  await host.until(() => host.ends.length === 1);
  t.match(host.ends[0]?.reason, /^connection_/);
});

t.test('more clients than the agent takes are closed, and the refusal says why', async (t) => {
  const entry = await startEntry(t);
  const agent = await agentOf(t, entry, 'v1');
  const session = await entry.host.session();
  await until('v1', () => session.facts().client === 'v1');
  const { port } = await publicPort(t, entry.host, 22);
  await Promise.all(Array.from({ length: 8 }, () => Peer.connect(t, port)));
  await agent.until((bytes) => bytes.length === 8 * 15);
  t.equal(session.refusal({ name: 'ssh', localPort: 22 }), '8 streams are open');
  const ninth = await Peer.connect(t, port);
  await ninth.closed;
});
