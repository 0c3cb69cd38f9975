import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import t from 'tap';
import { inTurn } from '../../src/control/turn.ts';

t.test('who wants the same thing waits for its turn, whatever became of the one before', async (t) => {
  const order: string[] = [];
  const slow = inTurn('/run/some', async () => {
    order.push('first begins');
    await new Promise((done) => setTimeout(done, 60));
    order.push('first ends');
    throw new Error('no matter');
  });
  const other = inTurn('/run/some', async () => order.push('second'));
  await inTurn('/run/another', async () => order.push('another does not wait'));
  await t.rejects(slow, { message: 'no matter' });
  await other;
  t.strictSame(order.slice(-2), ['first ends', 'second']);
  t.ok(order.indexOf('another does not wait') < 2);
});

t.test('who keeps the turn for ever holds nobody up for long', async (t) => {
  const name = createHash('sha256').update('/run/kept').digest('hex');
  const keeper = createServer().listen(`\0zeroforce ${name}`);
  await once(keeper, 'listening');
  t.equal(await inTurn('/run/kept', async () => 'done'), 'done');
  keeper.close();
});
