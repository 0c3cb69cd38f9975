import t from 'tap';
import { Repeats } from '../../src/support/repeats.ts';
import { FakeClock } from '../support/fake-clock.ts';

t.test('the first of equal reports is loud, the others are counted until it is time to remind', async (t) => {
  const clock = new FakeClock();
  const repeats = new Repeats(clock, 60_000);
  const next = () => repeats.next('proxy.refused', 'refused');
  t.same(next(), { level: 'warn', repeated: 0 });
  t.same(next(), { level: 'debug', repeated: 1 });
  t.same(next(), { level: 'debug', repeated: 2 });
  clock.advance(60_000);
  t.same(next(), { level: 'warn', repeated: 2 });
  repeats.forget();
  t.same(next(), { level: 'warn', repeated: 0 });
});

t.test('another sentence under the same code is news', async (t) => {
  const repeats = new Repeats(new FakeClock(), 60_000);
  t.equal(repeats.next('proxy.handshake-refused', 'refused: unknown device').level, 'warn');
  t.equal(repeats.next('proxy.handshake-refused', 'refused: bad token').level, 'warn');
  t.equal(repeats.next('proxy.handshake-refused', 'refused: unknown device').level, 'debug');
});

t.test('the same trouble of another stream is none', async (t) => {
  const repeats = new Repeats(new FakeClock(), 60_000);
  t.equal(repeats.next('target.refused', 'stream 1 to port 22: refused').level, 'warn');
  t.equal(repeats.next('target.refused', 'stream 2 to port 22: refused').level, 'debug');
  t.equal(repeats.next('target.refused', 'stream 3 to port 5900: refused').level, 'warn');
});

t.test('of 64 different sentences each is remembered; the next makes all of them news', async (t) => {
  const repeats = new Repeats(new FakeClock(), 60_000);
  const next = (number: number) => repeats.next('proxy.handshake-refused', `reason ${number}`).level;
  for (let number = 1; number <= 64; number += 1) t.equal(next(number), 'warn');
  t.equal(next(1), 'debug');
  t.equal(next(65), 'warn');
  t.equal(next(65), 'debug');
  t.equal(next(1), 'warn');
});
