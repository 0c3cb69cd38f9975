import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { Lifecycle } from '../../src/support/lifecycle.ts';
import { FakeClock } from '../support/fake-clock.ts';

t.test('stops in reverse order, each part after the one before has ended', async (t) => {
  const parts = new Lifecycle();
  const order: string[] = [];
  for (const name of ['first', 'second', 'third']) {
    parts.own(name, async () => {
      order.push(`${name} stops`);
      await turn();
      order.push(`${name} ended`);
    });
  }
  t.strictSame(await parts.stop(1_000), []);
  t.strictSame(order, ['third stops', 'third ended', 'second stops', 'second ended', 'first stops', 'first ended']);
});

t.test('a part that throws or rejects is reported, and the others are stopped all the same', async (t) => {
  const parts = new Lifecycle();
  const stopped: string[] = [];
  const [thrown, rejected] = [new Error('thrown'), new Error('rejected')];
  parts.own('good', () => stopped.push('good'));
  parts.own('throwing', () => {
    throw thrown;
  });
  parts.own('rejecting', () => Promise.reject(rejected));
  t.strictSame(await parts.stop(1_000), [
    { name: 'rejecting', problem: rejected },
    { name: 'throwing', problem: thrown },
  ]);
  t.strictSame(stopped, ['good']);
});

t.test('a part that does not end is passed over when its time has come', async (t) => {
  const clock = new FakeClock();
  const parts = new Lifecycle(clock);
  let firstStopped = false;
  parts.own('first', () => {
    firstStopped = true;
  });
  parts.own('hanging', () => new Promise(() => {}));
  const report = parts.stop(3_000);
  await turn();
  clock.advance(2_999);
  await turn();
  t.equal(firstStopped, false);
  clock.advance(1);
  t.match(await report, [{ name: 'hanging', problem: { message: 'did not stop within 3000 ms' } }]);
  t.equal(firstStopped, true);
  t.equal(clock.pending, 0, 'no timer is left');
});

t.test('stopping twice stops once, and both learn how it went', async (t) => {
  const parts = new Lifecycle();
  let stops = 0;
  parts.own('part', async () => {
    stops += 1;
    await turn();
    throw new Error('no');
  });
  const [first, second] = await Promise.all([parts.stop(1_000), parts.stop(1_000)]);
  t.equal(stops, 1);
  t.equal(first.length, 1);
  t.equal(first, second);
});

t.test('a part that is owned while or after all is stopped is stopped, too', async (t) => {
  const parts = new Lifecycle();
  const stopped: string[] = [];
  parts.own('early', () => {
    stopped.push('early');
    parts.own('meanwhile', () => stopped.push('meanwhile'));
  });
  t.strictSame(await parts.stop(1_000), []);
  parts.own('late', () => {
    stopped.push('late');
    throw new Error('late');
  });
  t.match(await parts.stop(1_000), [{ name: 'late' }]);
  t.strictSame(stopped, ['early', 'meanwhile', 'late']);
});
