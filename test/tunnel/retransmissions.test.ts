import { connect } from 'node:net';
import t from 'tap';
import {
  connectionOf,
  findUnacknowledged,
  readUnacknowledged,
  type Unacknowledged,
  UnacknowledgedWatch,
} from '../../src/tunnel/retransmissions.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startService } from '../support/tcp-services.ts';
import { until } from '../support/until.ts';

// Lines of a little-endian machine, from a dead peer with data under way and from one with a closed window.
const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F47 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20971 1 0000000000000000 100 0 0 10 0
   1: 0100000A:9C40 0200000A:2329 01 000003E8:00000000 01:00000190 00000006     0        0 20980 3 0000000000000000 6400 4 30 1 7
   2: 0100000A:9C41 0200000A:2329 01 00012345:00000000 04:00000190 00000000     0        3 20981 3 0000000000000000 6400 4 30 1 7
   3: 0100000A:9C42 0200000A:2329 01 00000000:00000000 02:00000190 00000000     0        0 20982 3 0000000000000000 6400 4 30 1 7
`;
const TCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 000080FE00000000FF00000001000000:9C40 B80D0120000000000000000002000000:2329 01 0000000A:00000000 01:00000190 00000002     0        0 20980 3
`;

t.test('finds the unacknowledged bytes and the unanswered tries of a connection', async (t) => {
  const find = (localPort: number) =>
    findUnacknowledged(TCP, { localAddress: '10.0.0.1', localPort, remoteAddress: '10.0.0.2', remotePort: 9001 });
  t.same(find(40000), { bytes: 1000, tries: 6 }, 'retransmissions');
  t.same(find(40001), { bytes: 0x12345, tries: 3 }, 'probes of a closed window');
  t.same(find(40002), { bytes: 0, tries: 0 });
  t.equal(find(40003), null);
});

t.test('finds IPv6 connections, whatever zone the address carries', async (t) => {
  const connection = { localPort: 40000, remoteAddress: '2001:db8::2', remotePort: 9001 };
  t.same(findUnacknowledged(TCP6, { ...connection, localAddress: 'fe80::ff:0:1%eth0' }), { bytes: 10, tries: 2 });
});

t.test('reads a real connection whose peer does not read', async (t) => {
  const service = await startService((socket) => socket.pause());
  const socket = connect({ host: '127.0.0.1', port: service.port });
  t.teardown(() => {
    socket.destroy();
    return service.close();
  });
  await new Promise((resolve) => socket.once('connect', resolve));
  const connection = connectionOf(socket);
  if (connection === null) return t.fail('a connected socket has its addresses');
  t.same(readUnacknowledged(connection), { bytes: 0, tries: 0 });
  socket.write(Buffer.alloc(32 * 1024 * 1024));
  const state = await until('unacknowledged bytes', () => {
    const now = readUnacknowledged(connection);
    return now !== null && now.bytes > 0 && now;
  });
  t.ok(state.bytes > 0);
});

t.test('the watch', async (t) => {
  const watch = (states: (Unacknowledged | null)[]) => {
    const clock = new FakeClock();
    let deadMs: number | null = null;
    let looks = 0;
    const it = new UnacknowledgedWatch(
      clock,
      () => {
        looks += 1;
        return states.shift() ?? null;
      },
      (forMs) => {
        deadMs = forMs;
      },
    );
    const look = (count: number) => clock.advance(count * 5000);
    return { it, clock, look, looks: () => looks, deadMs: () => deadMs };
  };
  const tries = (...counts: number[]) => counts.map((each) => ({ bytes: 100, tries: each }));

  t.test('calls a peer dead that leaves tries unanswered for 20 s', async (t) => {
    const { it, look, deadMs, clock } = watch(tries(3, 5, 6, 6, 6, 7));
    it.wrote();
    look(4);
    t.equal(deadMs(), null);
    look(1);
    t.equal(deadMs(), 20_000);
    t.equal(clock.pending, 0, 'and looks no more');
  });

  t.test('lets a peer live whose tries are answered now and then', async (t) => {
    const { it, look, deadMs } = watch(tries(3, 5, 6, 1, 3, 5, 6, 0, 1, 2, 3));
    it.wrote();
    look(11);
    t.equal(deadMs(), null);
  });

  t.test('lets a slow line live where few tries were made', async (t) => {
    const { it, look, deadMs } = watch(tries(1, 2, 2, 3, 3, 3));
    it.wrote();
    look(6);
    t.equal(deadMs(), null);
  });

  t.test('does not look while nothing was written, and stops when all has arrived', async (t) => {
    const { it, look, looks, clock } = watch([{ bytes: 0, tries: 0 }]);
    look(3);
    t.equal(looks(), 0);
    it.wrote();
    it.wrote();
    look(3);
    t.equal(looks(), 1);
    t.equal(clock.pending, 0);
  });

  t.test('a stop ends its timer', async (t) => {
    const { it, clock } = watch([]);
    it.wrote();
    it.stop();
    it.wrote();
    t.equal(clock.pending, 0);
  });
});
