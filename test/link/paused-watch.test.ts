import t from 'tap';
import { PausedWatch } from '../../src/link/paused-watch.ts';
import { connectionOf, readPeerState, type TcpState } from '../../src/link/tcp-table.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startService } from '../support/tcp-services.ts';
import { startAgent, startProxy } from '../support/tunnel-bench.ts';
import { until } from '../support/until.ts';

const OPEN: TcpState = { unacknowledgedBytes: 0, unreadBytes: 100, tries: 0, peerClosed: false };
const CLOSED: TcpState = { ...OPEN, peerClosed: true };

function watch(state: TcpState | null) {
  const clock = new FakeClock();
  const it = { clock, state, overs: 0 };
  const paused = new PausedWatch(
    clock,
    () => it.state,
    () => {
      it.overs += 1;
    },
  );
  return Object.assign(it, { paused });
}

t.test('a connection that is gone is noticed at the next look', async (t) => {
  const it = watch(OPEN);
  it.paused.reading(false);
  it.clock.advance(60_000);
  t.equal(it.overs, 0, 'an open one may be paused for long');
  it.state = null;
  it.clock.advance(5_000);
  t.equal(it.overs, 1);
  t.equal(it.clock.pending, 0);
});

t.test('what a peer sent before its end gets 20 s', async (t) => {
  const it = watch(CLOSED);
  it.paused.reading(false);
  it.clock.advance(19_999);
  t.equal(it.overs, 0);
  it.clock.advance(1);
  t.equal(it.overs, 1);
});

t.test('nothing is looked at while the connection is read', async (t) => {
  const it = watch(null);
  it.paused.reading(false);
  it.clock.advance(4_999);
  it.paused.reading(true);
  t.equal(it.clock.pending, 0);
  it.paused.reading(false);
  it.paused.stop();
  t.equal(it.clock.pending, 0);
  t.equal(it.overs, 0);
});

t.test('a proxy that resets while a slow service holds up the reading does not stay up', async (t) => {
  // It takes something all the time, so it is not cut off, and holds up the reading for a quarter of a minute.
  const slow = await startService((socket) => {
    socket.pause();
    const timer = setInterval(() => socket.read(), 500);
    socket.once('close', () => clearInterval(timer));
  });
  t.teardown(() => slow.close());
  const proxy = await startProxy(t, { mode: 'legacy' });
  const device = startAgent(t, proxy.port, { services: { slow: slow.port } });
  const peer = await proxy.nextAgent();
  peer.open(slow.port).write(Buffer.alloc(32 * 1024 * 1024));
  const connection = connectionOf(peer.socket);
  if (connection === null) throw new Error('no connection');
  let before = 0;
  await until('the reading to be paused', async () => {
    const unread = readPeerState(connection)?.unreadBytes ?? 0;
    const same = unread > 0 && unread === before;
    before = unread;
    if (!same) await new Promise((resolve) => setTimeout(resolve, 300));
    return same;
  });
  peer.socket.resetAndDestroy();
  const { lastFailure } = await device.until(({ state }) => state === 'waiting');
  t.match(lastFailure, { code: 'session.closed', sentence: /closed the connection while slow services/ });
});
