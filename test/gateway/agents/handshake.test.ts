import { once } from 'node:events';
import { createServer } from 'node:net';
import t from 'tap';
import { AgentEntry } from '../../../src/gateway/agents/listener.ts';
import type { Authentication } from '../../../src/gateway/entry.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { deferred } from '../../../src/support/deferred.ts';
import { frame } from '../../support/raw-proxy.ts';
import { listen } from '../../support/tcp-services.ts';
import { testLog } from '../../support/test-log.ts';
import { until } from '../../support/until.ts';
import { DEVICE_KEY, deviceOf, helloOf, Peer, startEntry, TestHost } from './support.ts';

const REFUSED = { error: 'auth_failed' };

t.test('an agent is accepted by one line, v1 is offered, and its session begins', async (t) => {
  const { port, host } = await startEntry(t);
  const agent = await Peer.connect(t, port);
  agent.socket.write(helloOf());
  t.same(await agent.reply(), { status: 'authenticated', device_key: DEVICE_KEY, ext: { v: 1 } });
  const session = await host.session();
  t.match(session, { entry: 'agent', address: '127.0.0.1', deviceKey: DEVICE_KEY });
  t.ok(Math.abs(session.connectedAtMs - Date.now()) < 60_000);
  t.equal(host.inside, 0, 'its place is free again while the session lasts');
  t.equal(agent.received.length, 0, 'a legacy agent is told nothing more');
});

t.test('frames in the segment of the hello are frames', async (t) => {
  const { port, host } = await startEntry(t);
  const agent = await Peer.connect(t, port);
  const settings = Buffer.from('{"v":1,"maxStreams":8,"window":65536}');
  agent.socket.write(
    Buffer.concat([Buffer.from(helloOf()), frame('X', 0, settings), frame('P', 0, Buffer.alloc(8, 7))]),
  );
  await agent.reply();
  await agent.until((received) => received.equals(frame('p', 0, Buffer.alloc(8, 7))));
  t.equal((await host.session()).facts().client, 'v1');
});

t.test('a hello that comes byte by byte is read', async (t) => {
  const { port } = await startEntry(t);
  const agent = await Peer.connect(t, port);
  for (const byte of Buffer.from(helloOf())) {
    agent.socket.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.match(await agent.reply(), { status: 'authenticated' });
});

t.test('half a handshake ends at the deadline, and a byte now and then does not extend it', async (t) => {
  const { port, host } = await startEntry(t, { handshakeTimeoutMs: 400 });
  const [silent, half, slow] = [await Peer.connect(t, port), await Peer.connect(t, port), await Peer.connect(t, port)];
  const startMs = performance.now();
  half.socket.write('{"token":');
  const dribble = setInterval(() => slow.socket.write('{'), 50);
  t.teardown(() => clearInterval(dribble));
  for (const peer of [silent, half, slow]) {
    t.match(await peer.reply(), { ...REFUSED, reason: 'no complete first line within 0.4 s' });
  }
  clearInterval(dribble);
  await Promise.all([silent.closed, half.closed]);
  t.ok(performance.now() - startMs < 5_000);
  await host.until(() => host.inside === 0);
  t.equal(host.rejections.length, 3);
});

t.test('a giant first line is answered while it is still being sent', async (t) => {
  const { port, host } = await startEntry(t);
  const agent = await Peer.connect(t, port, { allowHalfOpen: true });
  agent.socket.write(Buffer.alloc(10 * 1024 * 1024, 0x61));
  t.match(await agent.reply(), { ...REFUSED, reason: 'the first line has no end within 4096 bytes' });
  agent.socket.end();
  await agent.closed;
  t.same(agent.events, ['end']);
  t.same(host.rejections, ['the first line has no end within 4096 bytes']);
});

t.test('other protocols, wrong types and broken lines are answered, and told to the host', async (t) => {
  const { port, host } = await startEntry(t);
  for (const [bytes, reason] of [
    ['GET / HTTP/1.1\r\n\r\n', /not for HTTP/],
    ['SSH-2.0-OpenSSH_9.2\r\n', /not for SSH/],
    [Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]), /TLS is not spoken/],
    ['{"token":1,"name":"x"}\n', /"token" is not/],
    ['[]\n', /no JSON object/],
  ] as const) {
    const peer = await Peer.connect(t, port);
    peer.socket.write(bytes);
    t.match(await peer.reply(), { ...REFUSED, reason });
    await peer.closed;
    t.match(host.rejections.pop(), reason);
  }
  t.equal(host.inside, 0);
});

t.test('a refusal of the host is told with its reason, and nothing of it is lost', async (t) => {
  const { port, host } = await startEntry(t);
  const wrong = await Peer.connect(t, port);
  // More than a hello: a close with unread bytes would reset the connection, and the answer with it.
  wrong.socket.write(Buffer.concat([Buffer.from(helloOf(DEVICE_KEY, 'wrong!')), Buffer.alloc(100_000)]));
  t.match(await wrong.reply(), { ...REFUSED, reason: 'unknown device or wrong token' });
  await wrong.closed;
  t.same(wrong.events, ['end'], 'no reset');

  host.authentication = () => ({ refusal: { code: 'paused', reason: 'paused by the operator for 5 minutes' } });
  const paused = await Peer.connect(t, port);
  paused.socket.write(helloOf());
  t.match(await paused.reply(), { ...REFUSED, reason: 'paused by the operator for 5 minutes' });
  t.equal(host.inside, 0);
  t.same(host.rejections, [], 'the host knows of its own refusals');
});

t.test(
  'the place is held while the host takes its time with a wrong token, and a peer that goes is no session',
  async (t) => {
    const { port, host } = await startEntry(t);
    const answer = deferred<Authentication>();
    host.authentication = () => answer.promise;
    const agent = await Peer.connect(t, port);
    agent.socket.write(helloOf());
    await host.until(() => host.inside === 1);
    agent.socket.resetAndDestroy();
    answer.resolve({ device: deviceOf(DEVICE_KEY) });
    await host.until(() => host.inside === 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await host.until(() => host.started_.length === host.ends.length);
    t.pass();
  },
);

t.test('who closes without a word is no rejection; who closes in the middle is', async (t) => {
  const { port, host } = await startEntry(t);
  const scan = await Peer.connect(t, port);
  await host.until(() => host.inside === 1);
  scan.socket.end();
  await host.until(() => host.inside === 0);
  t.same(host.rejections, []);
  const half = await Peer.connect(t, port);
  half.socket.end('{"token":');
  await host.until(() => host.rejections.length === 1);
  t.match(host.rejections[0], /closed in the middle/);
});

t.test('a flood of strangers gets short answers and holds little; a known device gets in', async (t) => {
  const { port, host, entry } = await startEntry(t);
  host.places = 0;
  // They read their answer, and stay.
  const strangers = await Promise.all(
    Array.from({ length: 500 }, () => Peer.connect(t, port, { allowHalfOpen: true })),
  );
  await Promise.all(strangers.map((peer) => until('an end', () => peer.events.length > 0)));
  const answered = strangers.filter(({ received }) => received.toString().startsWith('{"error":"auth_failed"'));
  t.ok(answered.length >= 200 && answered.length < 500, `${answered.length} were answered, the others cut`);
  t.match(answered[0]?.received.toString(), /busy/);
  t.same(entry.status(), { sessions: 0, handshakes: 0 });
  host.places = 1;
  const known = await Peer.connect(t, port);
  known.socket.write(helloOf());
  t.match(await known.reply(), { status: 'authenticated' });
  t.same(host.rejections, [], 'the host has counted them itself');
});

t.test('nothing is read before a place is given, and who waits in vain is told', async (t) => {
  const { port, host, entry } = await startEntry(t, { handshakeTimeoutMs: 300 });
  const admission = deferred<void>();
  host.admission = admission.promise;
  const waiting = await Peer.connect(t, port);
  waiting.socket.write(helloOf());
  await until('the visitor', () => entry.status().handshakes === 1);
  t.match(await waiting.reply(), { ...REFUSED, reason: /busy/ });
  admission.resolve();
  await host.until(() => host.admitted === 1 && host.inside === 0);
  t.equal(host.current.size, 0);
});

t.test('a device that the host no longer allows is ended', async (t) => {
  const { port, host } = await startEntry(t);
  host.allowed = false;
  const agent = await Peer.connect(t, port);
  agent.socket.write(helloOf());
  await agent.closed;
  await host.until(() => host.ends.length === 1);
  t.match(host.ends, [{ reason: 'operator_disconnect' }]);
});

t.test('a port that is taken, or no address of ours, is told', async (t) => {
  const other = createServer();
  const port = await listen(other);
  t.teardown(() => void other.close());
  for (const [host, why] of [
    ['127.0.0.1', /another program holds the port/],
    ['192.0.2.1', /no address of this machine/],
  ] as const) {
    const entry = new AgentEntry({
      host,
      port,
      tls: 'off',
      handshakeTimeoutMs: 1000,
      keepaliveMs: 30_000,
      entryHost: new TestHost(),
      certificate: null,
      clock: systemClock,
      nowMs: Date.now,
      log: testLog().log,
    });
    await t.rejects(entry.start(), { code: 'gateway.cannot-listen', message: why });
    t.equal(entry.address, null);
    await entry.stop();
  }
});

t.test('a stop ends handshakes and sessions, and leaves nothing', async (t) => {
  const { port, host, entry } = await startEntry(t);
  const half = await Peer.connect(t, port);
  const agent = await Peer.connect(t, port);
  agent.socket.write(helloOf());
  await agent.reply();
  entry.stopAccepting();
  t.equal(entry.address, null);
  const late = new Peer((await import('node:net')).connect(port, '127.0.0.1'));
  await late.closed;
  t.same(late.events, ['ECONNREFUSED']);
  t.equal(host.current.size, 1, 'sessions go on');
  const startMs = performance.now();
  await entry.stop();
  t.ok(performance.now() - startMs < 3_000);
  await Promise.all([half.closed, agent.closed]);
  t.match(host.ends, [{ reason: 'shutdown' }]);
  t.same(entry.status(), { sessions: 0, handshakes: 0 });
});

t.test('on :: an IPv4 device has its IPv4 address', async (t) => {
  const { host, entry } = await startEntry(t, { host: '::' });
  const agent = await Peer.connect(t, entry.address?.port ?? 0, { from: '127.0.0.9' });
  agent.socket.write(helloOf());
  await agent.reply();
  t.equal((await host.session()).address, '127.0.0.9');
  agent.socket.end();
  await once(agent.socket, 'close');
});
