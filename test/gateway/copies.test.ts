import t from 'tap';
import { Copies } from '../../src/gateway/copies.ts';
import { Failure } from '../../src/support/failures.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testLog } from '../support/test-log.ts';

const HOUR_MS = 60 * 60_000;
const settled = () => new Promise((resolve) => setImmediate(resolve));

t.test('a copy is asked for a minute after the start, then every hour, and each that is made is logged', async (t) => {
  const clock = new FakeClock();
  const { log, lines } = testLog();
  const answers = [true, false, true];
  let asked = 0;
  const copies = new Copies({ keepCopy: async () => answers[asked++] ?? false, clock, log });
  copies.start();
  clock.advance(59_000);
  t.equal(asked, 0);
  clock.advance(1_000);
  t.equal(asked, 1);
  for (const count of [2, 3]) {
    await settled();
    clock.advance(HOUR_MS);
    t.equal(asked, count);
  }
  await settled();
  t.equal(lines.filter(({ msg }) => /copy of the database was made/.test(msg)).length, 2);
  await copies.stop();
  t.equal(clock.pending, 0);
});

t.test('a copy that fails is told with what to do, and tried again an hour later', async (t) => {
  const clock = new FakeClock();
  const { log, lines } = testLog();
  const keepCopy = () => Promise.reject(new Failure('gateway.store-failed', 'the disk is full'));
  const copies = new Copies({ keepCopy, clock, log });
  copies.start();
  clock.advance(60_000);
  await settled();
  t.match(lines, [{ level: 'error', code: 'gateway.store-failed', msg: /the disk is full/ }]);
  clock.advance(HOUR_MS);
  await settled();
  t.equal(lines.length, 2);
  await copies.stop();
});

t.test('a stop waits for the copy that is under way, and none follows', async (t) => {
  const clock = new FakeClock();
  let finish: (made: boolean) => void = () => undefined;
  const keepCopy = () =>
    new Promise<boolean>((resolve) => {
      finish = resolve;
    });
  const copies = new Copies({ keepCopy, clock, log: testLog().log });
  copies.start();
  clock.advance(60_000);
  let stopped = false;
  const stopping = copies.stop().then(() => {
    stopped = true;
  });
  await settled();
  t.notOk(stopped);
  finish(true);
  await stopping;
  t.equal(clock.pending, 0);
});
