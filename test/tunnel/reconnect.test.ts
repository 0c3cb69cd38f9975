import fc from 'fast-check';
import t from 'tap';
import { type Ending, FRESH, nextAttempt, type ReconnectState } from '../../src/tunnel/reconnect.ts';

const limits = { minMs: 1000, maxMs: 60_000 };
const HELD: Ending = { kind: 'lost', heldMs: 30_000 };
const BRIEF: Ending = { kind: 'lost', heldMs: 29_999 };
const FAILED: Ending = { kind: 'failed' };

/** Runs the policy over endings, each after its own delay, and gives every decision with its time. */
function play(endings: Ending[], random: () => number, from: ReconnectState = FRESH) {
  let nowMs = 1_000_000;
  let state = from;
  return endings.map((ending) => {
    const decision = nextAttempt(state, ending, limits, nowMs, random);
    const atMs = nowMs;
    state = decision.state;
    nowMs += decision.delayMs;
    return { ...decision, atMs };
  });
}

const repeat = (ending: Ending, count: number) => new Array<Ending>(count).fill(ending);
const fraction = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

t.test('the first retry after a held session comes within half a second, whatever happened before', async (t) => {
  fc.assert(
    fc.property(fraction, fc.nat(50), (random, failures) => {
      const decisions = play([...repeat(FAILED, failures), HELD], () => random);
      return (decisions.at(-1)?.delayMs ?? Infinity) <= 500;
    }),
  );
  t.pass('for 100 histories');
});

t.test('a proxy that was away for a second is tried again within the next', async (t) => {
  fc.assert(
    fc.property(fraction, fraction, (first, second) => {
      const draws = [first, second];
      const decisions = play([HELD, FAILED], () => draws.shift() ?? 0);
      const totalMs = decisions.reduce((sum, { delayMs }) => sum + delayMs, 0);
      return totalMs > 1000 && totalMs <= 2000;
    }),
  );
  t.pass('for 100 draws');
});

t.test('every delay lies between the minimum and a ceiling of 5 s for five minutes, then the maximum', async (t) => {
  fc.assert(
    fc.property(fc.array(fraction, { minLength: 400, maxLength: 400 }), fc.array(fc.boolean()), (draws, brief) => {
      const endings = draws.map((_, index) => (brief[index % (brief.length + 1)] ? BRIEF : FAILED));
      const decisions = play([HELD, ...endings], () => draws.pop() ?? 0);
      const startMs = decisions[0]?.atMs ?? 0;
      return decisions
        .slice(1)
        .every(({ delayMs, atMs }) => delayMs >= 1000 && delayMs <= (atMs - startMs < 300_000 ? 5000 : 60_000));
    }),
    { numRuns: 20 },
  );
  t.pass('for 20 histories of 400 attempts');
});

t.test('the ceiling reaches the maximum after five minutes of trouble, and not before', async (t) => {
  const almostOne = () => 0.999_999;
  const decisions = play(repeat(FAILED, 120), almostOne);
  const startMs = decisions[0]?.atMs ?? 0;
  const early = decisions.filter(({ atMs }) => atMs - startMs < 300_000).map(({ delayMs }) => delayMs);
  t.ok(Math.max(...early) > 4990 && Math.max(...early) <= 5000);
  t.ok((decisions.at(-1)?.delayMs ?? 0) > 59_900);
});

t.test('delays are spread over their whole range, so that a fleet does not come back at once', async (t) => {
  const warm = play(repeat(FAILED, 10), () => 0.5).at(-1)?.state ?? FRESH;
  const delays = [0, 0.25, 0.5, 0.75].map((draw) => play([FAILED], () => draw, warm)[0]?.delayMs);
  t.same(delays, [1000, 2000, 3000, 4000]);
});

t.test('a session that was not held does not reset the delays', async (t) => {
  const grown = play(repeat(FAILED, 10), () => 0.9).at(-1)?.state ?? FRESH;
  t.equal(play([BRIEF], () => 0.9, grown)[0]?.delayMs, 4600);
  t.ok((play([HELD], () => 0.9, grown)[0]?.delayMs ?? 0) < 500);
});

t.test('going away: a random time in the range that the proxy gave, counted from when it said so', async (t) => {
  const ending = { kind: 'going-away', heldMs: 60_000, minMs: 20_000, maxMs: 40_000, agoMs: 0 } as const;
  t.equal(play([ending], () => 0)[0]?.delayMs, 20_000);
  t.equal(play([ending], () => 0.5)[0]?.delayMs, 30_000);
  t.equal(play([{ ...ending, agoMs: 12_000 }], () => 0.5)[0]?.delayMs, 18_000);
  t.equal(
    play([{ ...ending, agoMs: 60_000 }], () => 0.5)[0]?.delayMs,
    300,
    'the time has passed: at once, as after any',
  );
});

t.test('going away: no proxy keeps a device away for more than an hour', async (t) => {
  const longest = { kind: 'going-away', heldMs: 60_000, minMs: 65_535_000, maxMs: 65_535_000, agoMs: 0 } as const;
  t.equal(play([longest], () => 0.5)[0]?.delayMs, 3_600_000);
  t.equal(play([{ ...longest, minMs: 1_800_000 }], () => 0.5)[0]?.delayMs, 2_700_000);
});

t.test('a proxy that goes away again and again, at once, is not hammered', async (t) => {
  const ending: Ending = { kind: 'going-away', heldMs: 10, minMs: 0, maxMs: 0, agoMs: 0 };
  t.ok(play(repeat(ending, 20), () => 0).every(({ delayMs }) => delayMs >= 1000));
});

t.test('a session that is replaced again and again backs off to the maximum as a duplicate', async (t) => {
  const replaced: Ending = { kind: 'replaced', heldMs: 2000 };
  const decisions = play(repeat(replaced, 5), () => 0.5);
  t.same(
    decisions.map(({ duplicate }) => duplicate),
    [false, false, true, true, true],
  );
  t.same(
    decisions.slice(2).map(({ delayMs }) => delayMs),
    [60_000, 60_000, 60_000],
  );
  const state = decisions.at(-1)?.state ?? FRESH;
  t.equal(
    play([{ kind: 'replaced', heldMs: 60_000 }], () => 0.5, state)[0]?.duplicate,
    true,
    'a minute between two of them is what the delay itself causes',
  );
  t.equal(
    play([HELD, replaced], () => 0.5, state)[1]?.duplicate,
    false,
    'a held session that ended otherwise is peace',
  );
  t.equal(play([{ kind: 'replaced', heldMs: 600_000 }], () => 0.5, state)[0]?.duplicate, false);
});

t.test('a minimum above five seconds is kept', async (t) => {
  const decision = nextAttempt(FRESH, FAILED, { minMs: 8000, maxMs: 60_000 }, 0, () => 0.9);
  t.equal(decision.delayMs, 8000);
});
