import fc from 'fast-check';
import t from 'tap';
import { ByteQueue } from '../../src/protocol/byte-queue.ts';
import type { Lease } from '../../src/protocol/endpoints.ts';
import { Lender } from './helpers.ts';

const POOLED = 256 * 1024;

function push(queue: ByteQueue, lender: Lender, bytes: Uint8Array | string): void {
  lender.lend(Buffer.from(bytes), (lease) => queue.push(lease.bytes, lease));
}

t.test('bytes are lent through without a copy, in parts, and given back when the last part is done', async (t) => {
  const lender = new Lender();
  const queue = new ByteQueue();
  let memory: Lease | undefined;
  lender.lend(Buffer.from('abcdef'), (lease) => {
    memory = lease;
    queue.push(lease.bytes, lease);
  });
  const first = queue.take(4);
  t.equal(first.toString(), 'abcd');
  t.equal(first.buffer, memory?.bytes.buffer, 'a view of the lent memory');
  t.equal(queue.take(4).toString(), 'ef');
  t.equal(queue.take(4).length, 0);
  t.same([queue.waitingBytes, queue.takenBytes, queue.takenPieces], [0, 6, 2]);
  t.equal(queue.done(), 4);
  t.equal(lender.held, 1, 'the second part still holds it');
  t.equal(queue.done(), 2);
  t.equal(lender.held, 0);
  t.equal(queue.totalTakenBytes, 6);
  t.throws(() => queue.done());
});

t.test('what is being written outlives a clear', async (t) => {
  const lender = new Lender();
  const queue = new ByteQueue();
  push(queue, lender, 'abcdef');
  push(queue, lender, 'ghi');
  const part = queue.take(2);
  t.equal(queue.clear(), 7);
  t.equal(lender.held, 1);
  t.equal(part.toString(), 'ab', 'not spoiled');
  queue.done();
  t.equal(lender.held, 0);
});

t.test('single bytes in many read buffers do not hold the buffers: memory stays near the bytes', async (t) => {
  const lender = new Lender(POOLED);
  const queue = new ByteQueue();
  for (let index = 0; index < 2_000; index += 1) push(queue, lender, Buffer.from([index % 251]));
  t.equal(lender.held, 2);
  t.equal(queue.bytes, 2_000);
  let pieces = 0;
  const out: Buffer[] = [];
  for (let part = queue.take(POOLED); part.length > 0; part = queue.take(POOLED)) {
    out.push(Buffer.from(part));
    pieces += 1;
    queue.done();
  }
  t.ok(pieces <= 3, 'small copies share blocks');
  t.ok(Buffer.concat(out).every((byte, index) => byte === index % 251));
  t.equal(lender.held, 0);
});

t.test('when the queue has emptied, small slices are lent again', async (t) => {
  const lender = new Lender(64 * 1024);
  const queue = new ByteQueue();
  for (let round = 0; round < 10; round += 1) {
    push(queue, lender, 'a');
    push(queue, lender, 'b');
    t.equal(lender.held, 2);
    for (let part = 0; part < 2; part += 1) {
      queue.take(10);
      queue.done();
    }
    t.equal(lender.held, 0);
  }
});

t.test('slices of one read buffer, and large ones, are never copied', async (t) => {
  const lender = new Lender(POOLED);
  const queue = new ByteQueue();
  lender.lend(Buffer.alloc(POOLED), (lease) => {
    for (let at = 0; at < POOLED; at += 16_384) queue.push(lease.bytes.subarray(at, at + 16_384), lease);
  });
  for (let index = 0; index < 5; index += 1) push(queue, lender, Buffer.alloc(POOLED / 2));
  t.equal(lender.held, 6);
  queue.clear();
  t.equal(lender.held, 0);
});

t.test('property: what goes in comes out in order, and every lease is released', async () => {
  const step = fc.oneof(
    fc.record({ push: fc.uint8Array({ minLength: 1, maxLength: 300 }) }),
    fc.record({ take: fc.integer({ min: 1, max: 200 }) }),
    fc.constant('done' as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.constantFrom(0, 4096), (steps, bufferBytes) => {
      const lender = new Lender(bufferBytes);
      const queue = new ByteQueue();
      const input: Uint8Array[] = [];
      const output: Buffer[] = [];
      const taken: Buffer[] = [];
      const done = () => {
        const part = taken.shift();
        if (part === undefined) return;
        // Read at the last moment: a buffer released too early has been spoiled by then.
        output.push(Buffer.from(part));
        queue.done();
      };
      const take = (most: number) => {
        const part = queue.take(most);
        if (part.length > 0) taken.push(part);
        return part.length > 0;
      };
      for (const one of steps) {
        if (one === 'done') done();
        else if ('take' in one) take(one.take);
        else {
          input.push(one.push);
          push(queue, lender, one.push);
        }
      }
      while (take(1000));
      while (taken.length > 0) done();
      return Buffer.concat(output).equals(Buffer.concat(input)) && lender.held === 0 && queue.bytes === 0;
    }),
    { numRuns: 300 },
  );
});
