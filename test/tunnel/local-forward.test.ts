import { once } from 'node:events';
import t, { type Test } from 'tap';
import { BufferPool } from '../../src/link/buffer-pool.ts';
import { connectionOf, readPeerState } from '../../src/link/tcp-table.ts';
import type { LocalEnd } from '../../src/protocol/endpoints.ts';
import { type Clock, systemClock } from '../../src/support/clock.ts';
import { LocalForward } from '../../src/tunnel/local-forward.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startHangingPort } from '../support/hanging-port.ts';
import { freePort } from '../support/processes.ts';
import { startEcho, startService } from '../support/tcp-services.ts';
import { until } from '../support/until.ts';

/** Opens a local end whose events are kept in order, data as its text. */
function open(t: Test, port: number, { clock = systemClock as Clock, allowed = [port] } = {}) {
  const events: string[] = [];
  const waiting = new Set<() => void>();
  const note = (event: string) => {
    events.push(event);
    for (const wake of waiting) wake();
  };
  const services = Object.fromEntries(allowed.map((each) => [`service${each}`, each]));
  const forward = new LocalForward({ services, sourceAddress: '127.0.0.77', pool: new BufferPool(), clock });
  const end: LocalEnd = forward.open(port, {
    opened: () => note('opened'),
    failed: (result, sentence) => note(`failed ${result}: ${sentence}`),
    data: (lease) => note(`data ${lease.bytes.toString()}`),
    ended: () => note('ended'),
    closed: (error) => note(`closed ${error === null ? 'in order' : (error as NodeJS.ErrnoException).code}`),
  });
  t.teardown(() => end.destroy());
  const seen = (event: RegExp) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!events.some((each) => event.test(each))) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  return { end, events, until: seen, forward };
}

t.test('bytes written before the connection stands reach the service, and its answer comes back', async (t) => {
  const echo = await startEcho();
  t.teardown(() => echo.close());
  const { end, events, until } = open(t, echo.port);
  await new Promise<void>((resolve) => end.write(Buffer.from('hello'), resolve));
  await until(/data/);
  t.same(events, ['opened', 'data hello']);
});

t.test('streams come from the loopback address of the tunnel', async (t) => {
  const service = await startService();
  t.teardown(() => service.close());
  open(t, service.port);
  t.equal((await service.next()).remoteAddress, '127.0.0.77');
});

t.test('each direction ends by itself', async (t) => {
  const service = await startService();
  t.teardown(() => service.close());
  const { end, events, until } = open(t, service.port);
  const socket = await service.next();
  end.end();
  await once(socket.resume(), 'end');
  socket.write('still speaking');
  await until(/data/);
  socket.end();
  await until(/closed/);
  t.same(events, ['opened', 'data still speaking', 'ended', 'closed in order']);
});

t.test('a port that is not a service is refused, and nothing is dialled', async (t) => {
  const service = await startService();
  t.teardown(() => service.close());
  const { end, events, until } = open(t, service.port, { allowed: [22] });
  t.same(events, [], 'not synchronously');
  await new Promise<void>((resolve) => end.write(Buffer.from('x'), resolve));
  await until(/failed/);
  t.same(events, [`failed not-allowed: port ${service.port} is not among the services`]);
  t.equal(service.sockets.size, 0);
});

t.test('a service that does not run is refused', async (t) => {
  const port = await freePort();
  const { end, events, until } = open(t, port);
  let done = 0;
  end.write(Buffer.from('x'), () => done++);
  await until(/failed/);
  t.same(events, [`failed refused: 127.0.0.1:${port} does not accept connections: ECONNREFUSED`]);
  t.equal(done, 1, 'a write that went nowhere is done all the same');
});

t.test('a service that hangs has failed after 10 s', async (t) => {
  const hanging = await startHangingPort();
  t.teardown(() => hanging.close());
  const clock = new FakeClock();
  const { events } = open(t, hanging.port, { clock });
  clock.advance(9999);
  t.same(events, []);
  clock.advance(1);
  t.same(events, [`failed timeout: 127.0.0.1:${hanging.port} did not accept the connection within 10 s`]);
  t.equal(clock.pending, 0);
});

t.test('an end that was destroyed while it was connecting does not fail later', async (t) => {
  const hanging = await startHangingPort();
  t.teardown(() => hanging.close());
  const clock = new FakeClock();
  const { end, events } = open(t, hanging.port, { clock });
  end.destroy();
  clock.advance(10_000);
  t.same(events, []);
  t.equal(clock.pending, 0);
});

t.test('a reset by the service closes with its error', async (t) => {
  const service = await startService();
  t.teardown(() => service.close());
  const { events, until } = open(t, service.port);
  await until(/opened/);
  (await service.next()).resetAndDestroy();
  await until(/closed/);
  t.same(events, ['opened', 'closed ECONNRESET']);
});

t.test('what the service has not taken is counted, in the kernel too', async (t) => {
  const service = await startService((socket) => void socket.pause());
  t.teardown(() => service.close());
  const { end, until: seen } = open(t, service.port);
  await seen(/opened/);
  t.equal(end.untakenBytes?.(), 0);
  const bytes = 16 * 1024 * 1024;
  end.write(Buffer.alloc(bytes), () => {});
  const socket = await service.next();
  await new Promise((resolve) => setImmediate(resolve));
  const before = end.untakenBytes?.() ?? 0;
  t.ok(before >= bytes);
  socket.resume();
  await until('the service to take bytes', () => (end.untakenBytes?.() ?? 0) < before);
});

t.test('a stop lets services take what is left for them, and cuts off those that do not', async (t) => {
  const takes = await startService((socket) => void socket.resume().once('end', () => socket.end()));
  const stalls = await startService((socket) => void socket.pause());
  t.teardown(() => Promise.all([takes.close(), stalls.close()]));
  const clock = new FakeClock();
  const { end, until, forward, events } = open(t, takes.port, { clock, allowed: [takes.port, stalls.port] });
  await until(/opened/);
  end.end();
  await forward.stop(500);
  t.same(events.slice(0, 3), ['opened', 'ended', 'closed in order']);
  t.equal(clock.pending, 0);

  const second = open(t, stalls.port, { clock });
  await second.until(/opened/);
  second.end.end();
  const stopped = second.forward.stop(500);
  clock.advance(500);
  await stopped;
  await second.until(/closed/);
  t.equal(clock.pending, 0);
});

t.test('a paused end reads nothing until it is resumed', async (t) => {
  const service = await startService();
  t.teardown(() => service.close());
  const { end, events, until: seen } = open(t, service.port);
  const socket = await service.next();
  await seen(/opened/);
  end.pause();
  socket.write('late');
  const connection = connectionOf(socket);
  const unreadBytes = () => (connection === null ? 0 : readPeerState(connection)?.unreadBytes);
  await until('the bytes to arrive', () => unreadBytes() === 4);
  // The loop polls between two of these: a socket that is read would be read by the second.
  for (const _ of [1, 2]) await new Promise((resolve) => setImmediate(resolve));
  t.equal(unreadBytes(), 4);
  t.same(events, ['opened']);
  end.resume();
  await seen(/data/);
  t.same(events, ['opened', 'data late']);
});

t.test('after destroy no event follows', async (t) => {
  const echo = await startEcho();
  t.teardown(() => echo.close());
  const { end, events, until } = open(t, echo.port);
  await until(/opened/);
  const socket = await echo.next();
  let done = 0;
  end.write(Buffer.from('x'), () => done++);
  end.destroy();
  await once(socket, 'close');
  await new Promise((resolve) => setImmediate(resolve));
  t.same(events, ['opened']);
  t.equal(done, 1);
});
