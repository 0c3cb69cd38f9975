import { once } from 'node:events';
import { Socket } from 'node:net';
import t from 'tap';
import { BufferPool, PooledReader } from '../../src/link/buffer-pool.ts';
import type { Lease } from '../../src/protocol/endpoints.ts';

const LARGE = 200_000;

/** What Node does with `onread`: asks for a buffer, fills it, asks for the next. */
function reading(pool: BufferPool) {
  const reader = new PooledReader(pool);
  let buffer = reader.onread.buffer();
  const read = (length: number, fill: number) => {
    const filled = buffer;
    filled.fill(fill, 0, length);
    const goOn = reader.onread.callback(length);
    buffer = reader.onread.buffer();
    return { goOn, filled };
  };
  return { reader, read, next: () => buffer };
}

t.test('sockets that are not busy read into one buffer, from which everything is copied', async (t) => {
  const pool = new BufferPool();
  const [one, other] = [reading(pool), reading(pool)];
  t.ok(one.next() === pool.shared && other.next() === pool.shared);
  t.equal(pool.lent, 0, 'idle sockets hold nothing');
  const kept: Lease[] = [];
  const keep = (lease: Lease) => {
    lease.retain();
    kept.push(lease);
  };
  one.reader.deliverTo(keep);
  other.reader.deliverTo(keep);
  one.read(10, 1);
  other.read(LARGE, 2);
  one.read(20, 3);
  t.same(
    kept.map(({ bytes }) => [bytes.length, bytes.every((byte) => byte === bytes[0]), bytes[0]]),
    [
      [10, true, 1],
      [LARGE, true, 2],
      [20, true, 3],
    ],
  );
  t.equal(pool.lent, 2, 'the large read, and the buffer that the busy socket reads into now');
  other.read(10, 4);
  t.ok(other.next() === pool.shared, 'no longer busy');
  kept[1]?.release();
  t.equal(pool.lent, 0);
});

t.test("a busy socket's buffer is read into again as soon as nobody holds it, and not before", async (t) => {
  const { reader, read, next } = reading(new BufferPool());
  const kept: Lease[] = [];
  reader.deliverTo((lease) => {
    lease.retain();
    kept.push(lease);
  });
  read(LARGE, 1);
  const first = read(LARGE, 2);
  t.ok(kept[1]?.bytes.buffer === first.filled.buffer, 'lent, not copied');
  t.ok(next() !== first.filled, 'held');
  kept[1]?.release();
  read(LARGE, 3);
  t.ok(next() === first.filled, 'released');
  t.ok(kept[2]?.bytes.every((byte) => byte === 3));
});

t.test('few sockets have buffers of their own, however many are busy; a closed one has none', async (t) => {
  const pool = new BufferPool();
  const all = Array.from({ length: 200 }, () => reading(pool));
  for (const { reader, read } of all) {
    reader.attach(new Socket());
    reader.deliverTo(() => {});
    read(LARGE, 1);
  }
  t.ok(pool.lent <= 64, `${pool.lent} buffers`);
  t.ok(pool.lent > 0);
  t.ok(all.at(-1)?.next() === pool.shared);
  const [first] = all;
  first?.read(LARGE, 2); // reads on
  const before = pool.lent;
  const socket = new Socket();
  first?.reader.attach(socket);
  socket.destroy();
  await once(socket, 'close');
  t.equal(pool.lent, before - 1);
});

t.test('a small read holds no buffer', async (t) => {
  const pool = new BufferPool();
  const { reader, read, next } = reading(pool);
  const kept: Lease[] = [];
  reader.deliverTo((lease) => {
    lease.retain();
    kept.push(lease);
  });
  read(10, 1);
  t.ok(next() === pool.shared);
  read(10, 2);
  t.same(kept[0]?.bytes, Buffer.alloc(10, 1));
});

t.test('what nobody has asked for yet is held, and stops the reading', async (t) => {
  const { reader, read } = reading(new BufferPool());
  t.equal(read(5, 1).goOn, false);
  read(LARGE, 2);
  const got: [number, number | undefined][] = [];
  reader.deliverTo(({ bytes }) => got.push([bytes.length, bytes[0]]));
  t.same(got, [
    [5, 1],
    [LARGE, 2],
  ]);
  t.equal(read(5, 3).goOn, true);
  reader.hold();
  t.equal(read(5, 4).goOn, false);
  t.equal(got.length, 3);
});

t.test('a receiver that holds in the middle leaves the rest to the next one', async (t) => {
  const { reader, read } = reading(new BufferPool());
  const resumed: string[] = [];
  const socket = Object.assign(new Socket(), { resume: () => resumed.push('resumed'), pause: () => {} });
  reader.attach(socket);
  for (const fill of [1, 2, 3]) read(5, fill);
  const first: (number | undefined)[] = [];
  reader.deliverTo(({ bytes }) => {
    first.push(bytes[0]);
    reader.hold();
  });
  t.same(first, [1]);
  t.same(resumed, [], 'the socket stays paused');
  const second: (number | undefined)[] = [];
  reader.deliverTo(({ bytes }) => second.push(bytes[0]));
  t.same(second, [2, 3]);
  t.same(resumed, ['resumed']);
});

t.test('after a burst few buffers are kept', async (t) => {
  const pool = new BufferPool();
  const burst = Array.from({ length: 200 }, () => pool.take());
  for (const buffer of burst) pool.give(buffer);
  t.ok(pool.idle <= 16);
  t.ok(pool.idle >= 4);
});
