import t from 'tap';
import { Fifo } from '../../src/protocol/fifo.ts';

t.test('items come out in their order, however many went through before', async (t) => {
  const fifo = new Fifo<number>();
  const out: number[] = [];
  let next = 0;
  for (let round = 0; round < 500; round += 1) {
    for (let count = 0; count < 13; count += 1) fifo.push(next++);
    for (let count = 0; count < 10; count += 1) out.push(fifo.shift() ?? -1);
  }
  t.equal(fifo.length, 1500);
  t.equal(fifo.first(), 5000);
  t.equal(fifo.last(), 6499);
  while (fifo.length > 0) out.push(fifo.shift() ?? -1);
  t.ok(out.length === 6500 && out.every((item, index) => item === index));
  t.same([fifo.shift(), fifo.first(), fifo.last()], [undefined, undefined, undefined]);
});
