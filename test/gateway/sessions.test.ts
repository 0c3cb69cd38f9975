import fc from 'fast-check';
import t from 'tap';
import { Sessions } from '../../src/gateway/sessions.ts';
import { FakeSession } from './fake-session.ts';

t.test('the last session of a device wins, and the older is told why it ends', async (t) => {
  const sessions = new Sessions();
  const [older, newer, other] = [new FakeSession('a'), new FakeSession('a', 'ssh'), new FakeSession('b')];
  t.equal(sessions.current('a'), null);
  t.equal(sessions.set(older), null);
  t.equal(sessions.set(other), null);
  t.equal(sessions.set(newer), older);
  t.strictSame(older.ends, ['session_replaced']);
  t.equal(sessions.current('a'), newer);
  t.strictSame(sessions.all(), [newer, other]);
  t.equal(sessions.set(newer), null, 'again the same replaces nobody');
  t.strictSame(newer.ends, []);
});

t.test('the end of a replaced session removes nobody, however soon it is reported', async (t) => {
  const sessions = new Sessions();
  const [older, newer] = [new FakeSession('a'), new FakeSession('a')];
  const removed: boolean[] = [];
  older.onEnd = () => {
    removed.push(sessions.remove(older));
    t.not(sessions.current('a'), null, 'the device is not offline in between');
  };
  sessions.set(older);
  sessions.set(newer);
  t.strictSame(removed, [false]);
  t.equal(sessions.remove(older), false, 'later as little');
  t.equal(sessions.current('a'), newer);
  t.equal(sessions.remove(newer), true);
  t.equal(sessions.remove(newer), false);
  t.strictSame(sessions.all(), []);
});

t.test('a session that comes while another is being replaced is the last one', async (t) => {
  const sessions = new Sessions();
  const [first, second, third] = [new FakeSession('a'), new FakeSession('a'), new FakeSession('a')];
  first.onEnd = () => sessions.set(third);
  sessions.set(first);
  sessions.set(second);
  t.equal(sessions.current('a'), third);
  t.strictSame([first.ends, second.ends, third.ends], [['session_replaced'], ['session_replaced'], []]);
});

t.test('in any order of coming and going, each device has its newest session that has not ended', async () => {
  const event = fc.record({ comes: fc.boolean(), device: fc.nat(2), which: fc.nat(5), atOnce: fc.boolean() });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const sessions = new Sessions();
      const came = new Map<string, FakeSession[]>();
      for (const { comes, device, which, atOnce } of events) {
        const key = `device-${device}`;
        const those = came.get(key) ?? [];
        if (comes) {
          const session = new FakeSession(key);
          if (atOnce) session.onEnd = () => sessions.remove(session);
          sessions.set(session);
          came.set(key, [...those, session]);
        } else {
          const session = those[which];
          if (session === undefined) continue;
          const was = sessions.current(key) === session;
          if (sessions.remove(session) !== was) return false;
          if (was) came.set(key, []);
        }
        const expected = came.get(key)?.at(-1) ?? null;
        if (sessions.current(key) !== expected) return false;
        const others = came.get(key)?.slice(0, -1) ?? [];
        if (others.some(({ ends }) => ends.join() !== 'session_replaced')) return false;
      }
      return sessions.all().length === [...came.values()].filter((those) => those.length > 0).length;
    }),
  );
});
