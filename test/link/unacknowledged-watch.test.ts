import t from 'tap';
import type { TcpState } from '../../src/link/tcp-table.ts';
import { UnacknowledgedWatch } from '../../src/link/unacknowledged-watch.ts';
import { FakeClock } from '../support/fake-clock.ts';

const watch = (states: (TcpState | null)[]) => {
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
const tries = (...counts: number[]) =>
  counts.map((each) => ({ unacknowledgedBytes: 100, unreadBytes: 0, tries: each, peerClosed: false }));

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
  const { it, look, looks, clock } = watch([{ unacknowledgedBytes: 0, unreadBytes: 0, tries: 0, peerClosed: false }]);
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
