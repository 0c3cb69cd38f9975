import t from 'tap';
import { comeBackRange, drain } from '../../src/gateway/drain.ts';
import { Sessions } from '../../src/gateway/sessions.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeSession } from './fake-session.ts';

function online(...keys: string[]) {
  const sessions = new Sessions();
  const all = keys.map((key) => {
    const session = new FakeSession(key);
    session.onEnd = () => void sessions.remove(session);
    sessions.set(session);
    return session;
  });
  return { sessions, all };
}

/** Lets what was resolved go on, and the time with it. */
async function pass(clock: FakeClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    clock.advance(50);
    await new Promise(setImmediate);
  }
}

t.test('one device comes back at once, five thousand within 25 s, more within a minute', async (t) => {
  t.strictSame(comeBackRange(1), { minMs: 0, maxMs: 1_000 });
  t.strictSame(comeBackRange(200), { minMs: 0, maxMs: 1_000 });
  t.strictSame(comeBackRange(5_000), { minMs: 0, maxMs: 25_000 });
  t.strictSame(comeBackRange(50_000), { minMs: 0, maxMs: 60_000 });
});

t.test('every session is told when to come back, and those that finish are waited for', async (t) => {
  const clock = new FakeClock();
  const { sessions, all } = online('a', 'b');
  const cut = drain(sessions, { graceMs: 30_000, hurry: new AbortController().signal, clock });
  for (const session of all) t.strictSame(session.drains, [{ minMs: 0, maxMs: 1_000 }]);
  await pass(clock, 5_000);
  for (const session of all) t.strictSame(session.ends, [], 'nobody is cut off');
  for (const session of all) session.end('shutdown');
  await pass(clock, 100);
  t.equal(await cut, 0);
  t.equal(clock.pending, 0);
});

t.test('what is not finished in time is cut off', async (t) => {
  const clock = new FakeClock();
  const { sessions, all } = online('a', 'b');
  const cut = drain(sessions, { graceMs: 30_000, hurry: new AbortController().signal, clock });
  all[0]?.end('connection_closed');
  await pass(clock, 29_900);
  t.strictSame(all[1]?.ends, []);
  await pass(clock, 200);
  t.equal(await cut, 1);
  t.strictSame(all[1]?.ends, ['shutdown']);
});

t.test('nothing is waited for by who is in a hurry, and nobody is there to wait for', async (t) => {
  const clock = new FakeClock();
  const { sessions, all } = online('a');
  const hurry = new AbortController();
  const cut = drain(sessions, { graceMs: 30_000, hurry: hurry.signal, clock });
  hurry.abort();
  t.equal(await cut, 1);
  t.strictSame(all[0]?.ends, ['shutdown']);
  t.equal(await drain(online().sessions, { graceMs: 30_000, hurry: new AbortController().signal, clock }), 0);
  t.equal(clock.pending, 0);
});
