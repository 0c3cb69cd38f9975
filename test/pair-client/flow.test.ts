import fc from 'fast-check';
import t from 'tap';
import { type Action, begin, type FlowContext, type KeyKnown, type Outcome, step } from '../../src/pair-client/flow.ts';

const context: FlowContext = { once: false, nowMs: 0, random: () => 0.5 };

/** The actions that these outcomes lead to. */
function actions(
  outcomes: Outcome[],
  { known = 'yes', ...change }: Partial<FlowContext> & { known?: KeyKnown } = {},
): Action[] {
  let { state, action } = begin(known, 0);
  const seen = [action];
  for (const outcome of outcomes) {
    ({ state, action } = step(state, outcome, { ...context, ...change }));
    seen.push(action);
  }
  return seen;
}
const kinds = (...args: Parameters<typeof actions>) => actions(...args).map(({ kind }) => kind);

const found: Outcome = { kind: 'found' };
const waited: Outcome = { kind: 'waited' };
const refused: Outcome = { kind: 'refused', why: 'refused' };
const noAnswer: Outcome = { kind: 'no-answer', why: 'nobody' };
const open: Outcome = { kind: 'open' };
const closed: Outcome = { kind: 'closed', pin: false };
const taken: Outcome = { kind: 'taken' };

t.test(
  'a key that the device has accepted before is tried first, and where it works nothing is asked or sent',
  async (t) => {
    const held: Outcome = { kind: 'lost', heldMs: 1_000_000 };
    t.strictSame(kinds([found, held, waited, found]), ['find', 'connect', 'wait', 'find', 'connect']);
  },
);

t.test('a key that was just made is not tried: the device would take the attempt for a tunnel', async (t) => {
  t.strictSame(kinds([found, open, taken], { known: 'no' }), ['find', 'ask', 'send', 'connect']);
});

t.test('a key that the device perhaps knows is tried when pairing is closed, once', async (t) => {
  const known = 'perhaps';
  t.strictSame(kinds([found, closed, refused, closed], { known }), ['find', 'ask', 'connect', 'ask', 'wait']);
  t.strictSame(
    kinds([found, open, taken], { known }),
    ['find', 'ask', 'send', 'connect'],
    'sending it again harms nobody',
  );
  const pin: Outcome = { kind: 'closed', pin: true };
  t.strictSame(kinds([found, pin, taken], { known }), ['find', 'ask', 'prove', 'connect']);
  const none: Outcome = { kind: 'no-pin', why: 'none' };
  t.strictSame(kinds([found, pin, none, refused, pin, none], { known }).slice(2), [
    ...['prove', 'connect', 'ask', 'prove', 'end'],
  ]);
});

t.test('while pairing is closed the device is asked every 2 to 5 s, and nothing else is done', async (t) => {
  for (const random of [0, 0.999]) {
    const [, , , wait] = actions([found, refused, closed], { random: () => random });
    t.match(wait, { kind: 'wait' });
    if (wait?.kind === 'wait') t.ok(wait.ms >= 2_000 && wait.ms <= 5_000, `${wait.ms} ms`);
  }
  t.strictSame(kinds([found, refused, closed, waited, closed, waited, open]).slice(2), [
    ...['ask', 'wait', 'ask', 'wait', 'ask', 'send'],
  ]);
});

t.test('a key put back by hand is found after half an hour of waiting', async (t) => {
  t.strictSame(kinds([found, refused, closed], { nowMs: 29 * 60_000 }).at(-1), 'wait');
  const start = begin('yes', 0);
  const waiting = step(start.state, refused, { ...context, nowMs: 1_000 });
  t.equal(step(waiting.state, closed, { ...context, nowMs: 31 * 60_000 }).action.kind, 'connect');
});

t.test('after the key was taken, a refusal means another client: wait longer each time, then ask again', async (t) => {
  const round: Outcome[] = [open, taken, refused, waited];
  const seen = actions([found, refused, ...round, ...round, ...round, ...round]);
  const waits = seen.flatMap((action) => (action.kind === 'wait' ? [action.ms] : []));
  t.strictSame(waits, [7_500, 15_000, 30_000, 60_000]);
  const kinds = seen.map(({ kind }) => kind);
  t.strictSame(kinds.slice(3, 7), ['send', 'connect', 'wait', 'ask'], 'never sent again without asking');
});

t.test('a PIN is proved only where the device is ready for it', async (t) => {
  t.equal(kinds([found, refused, { kind: 'closed', pin: true }]).at(-1), 'prove');
  const reason = { code: 'pair.pin-wrong', sentence: 'wrong' } as const;
  const end = actions([found, refused, { kind: 'closed', pin: true }, { kind: 'hopeless', reason }]).at(-1);
  t.strictSame(end, { kind: 'end', failure: reason }, 'and a wrong one ends it');
});

t.test('a proof that may have counted is repeated twice at most', async (t) => {
  const round: Outcome[] = [found, { kind: 'closed', pin: true }, { kind: 'unclear', why: 'lost' }, waited];
  t.equal(kinds([...round, ...round], { known: 'no' }).filter((kind) => kind === 'prove').length, 2);
  t.equal(kinds([...round, ...round, ...round.slice(0, 3)], { known: 'no' }).at(-1), 'end');
});

t.test('once: ends where waiting has led nowhere for a while, and says with what', async (t) => {
  const last = (outcomes: Outcome[]) => actions(outcomes, { once: true }).at(-1);
  t.match(last([{ kind: 'not-found', why: 'none' }]), { kind: 'end', failure: { code: 'pair.not-found' } });
  const attempt: Outcome[] = [found, noAnswer, waited];
  const dead = Array.from({ length: 6 }, () => attempt).flat();
  t.match(last(dead.slice(0, -1)), { kind: 'end', failure: { code: 'pair.no-answer' } });
  const overtaken: Outcome[] = [open, taken, refused, waited];
  t.match(last([found, refused, ...overtaken, ...overtaken, ...overtaken].slice(0, -1)), {
    kind: 'end',
    failure: { code: 'pair.key-refused' },
  });
  t.strictSame(last([found, { kind: 'verified' }]), { kind: 'end', failure: null });
});

t.test('another host key ends it, but where the device was not asked for by name the search goes on', async (t) => {
  const other = (sought: boolean): Outcome => ({ kind: 'other-host-key', why: 'other', sought });
  t.match(actions([found, other(true)]).at(-1), { kind: 'end', failure: { code: 'pair.host-key' } });
  t.equal(kinds([found, other(false)]).at(-1), 'wait');
});

t.test('a taken local port ends it at the start, and is waited for after a loss', async (t) => {
  const busy: Outcome = { kind: 'port-taken', why: 'in use' };
  t.match(actions([found, busy]).at(-1), { kind: 'end', failure: { code: 'pair.port-taken' } });
  t.equal(kinds([found, { kind: 'lost', heldMs: 1 }, waited, found, busy]).at(-1), 'wait');
});

/** What each action can lead to. */
const OUTCOMES: Record<Action['kind'], fc.Arbitrary<Outcome>> = {
  find: fc.constantFrom<Outcome>(found, found, { kind: 'not-found', why: 'none' }),
  connect: fc.oneof(
    fc.constantFrom<Outcome>(refused, refused, noAnswer, { kind: 'port-taken', why: 'in use' }),
    fc.constantFrom<Outcome>({ kind: 'other-host-key', why: 'other', sought: false }),
    fc.nat(100_000).map((heldMs): Outcome => ({ kind: 'lost', heldMs })),
  ),
  ask: fc.constantFrom<Outcome>(open, open, closed, noAnswer, { kind: 'closed', pin: true }),
  send: fc.constantFrom<Outcome>(taken, taken, closed, noAnswer, { kind: 'busy', afterMs: 90_000_000 }),
  prove: fc.constantFrom<Outcome>(
    taken,
    closed,
    { kind: 'no-pin', why: 'none' },
    noAnswer,
    { kind: 'unclear', why: '?' },
    { kind: 'busy', afterMs: 0 },
  ),
  wait: fc.constant(waited),
  end: fc.constant(waited),
};

t.test('whatever happens: no hot loop, no key sent unasked, no wait without bound', async () => {
  fc.assert(
    fc.property(
      fc.infiniteStream(fc.nat()),
      fc.constantFrom<KeyKnown>('no', 'perhaps', 'yes'),
      fc.boolean(),
      (seeds, known, once) => {
        const random = () => (seeds.next().value % 1000) / 1000;
        let nowMs = 0;
        let { state, action } = begin(known, nowMs);
        let sinceWait = 0;
        let before: Outcome | null = null;
        for (let count = 0; count < 200 && action.kind !== 'end'; count += 1) {
          if (action.kind === 'wait') {
            if (action.ms < 1_000 && before?.kind !== 'busy') throw new Error(`a wait of ${action.ms} ms`);
            if (action.ms > 10 * 60_000 + 5_000) throw new Error(`a wait of ${action.ms} ms`);
            nowMs += action.ms;
            sinceWait = 0;
          } else {
            sinceWait += 1;
            if (sinceWait > 7) throw new Error('eight actions without a wait');
          }
          if (action.kind === 'send' && before?.kind !== 'open') throw new Error('sent without asking');
          if (action.kind === 'prove' && !(before?.kind === 'closed' && before.pin)) throw new Error('proved unasked');
          const outcome: Outcome =
            fc.sample(OUTCOMES[action.kind], { numRuns: 1, seed: seeds.next().value })[0] ?? waited;
          ({ state, action } = step(state, outcome, { once, nowMs, random }));
          before = outcome;
        }
        return true;
      },
    ),
    { numRuns: 200 },
  );
});
