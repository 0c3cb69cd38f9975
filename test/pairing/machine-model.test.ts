import fc from 'fast-check';
import t from 'tap';
import {
  initialState,
  isOpen,
  type Observation,
  opensInMs,
  type PairingEvent,
  type PairingState,
  step,
} from '../../src/pairing/machine.ts';

const TIMEOUT_MS = 600_000;

const RULES = { policy: 'open', timeoutMs: TIMEOUT_MS, remember: true } as const;

interface Moment {
  atMs: number;
  event: PairingEvent;
}

/** Any order of events at whole milliseconds; many gaps lie close to the timeout. */
const history = fc
  .array(
    fc.record({
      gapMs: fc.oneof(fc.nat(10_000), fc.integer({ min: TIMEOUT_MS - 2, max: TIMEOUT_MS + 2 }), fc.nat(4 * TIMEOUT_MS)),
      event: fc.oneof(
        { weight: 8, arbitrary: fc.constantFrom('active', 'none', 'none', 'fault').map(observed) },
        { weight: 1, arbitrary: fc.constant<PairingEvent>({ kind: 'woken' }) },
        { weight: 1, arbitrary: fc.constant<PairingEvent>({ kind: 'remembered' }) },
      ),
    }),
    { maxLength: 30 },
  )
  .map((steps) => {
    let atMs = 0;
    return steps.map(({ gapMs, event }): Moment => {
      atMs += gapMs;
      return { atMs, event };
    });
  });

const world = fc.record({
  history,
  everPaired: fc.boolean(),
  markerWritten: fc.boolean(),
  /** Boot to now: the clock's zero means nothing. */
  bootMs: fc.nat(1e12),
  laterMs: fc.nat(2 * TIMEOUT_MS),
});

function observed(kind: Observation['kind']): PairingEvent {
  return { kind: 'observed', observation: { kind } };
}

function play(history: readonly Moment[], options: { everPaired: boolean; markerWritten: boolean }, bootMs: number) {
  let state: PairingState = initialState(RULES, options);
  for (const { atMs, event } of history) state = step(state, event, bootMs + atMs).state;
  return state;
}

/** The rules of docs/pairing.md read once more, over the whole history and without any state carried along. */
function shouldBeOpen(history: readonly Moment[], everPaired: boolean, nowMs: number): boolean {
  const looks = history.flatMap(({ atMs, event }) =>
    event.kind === 'observed' ? [{ atMs, kind: event.observation.kind }] : [],
  );
  if (looks.at(-1)?.kind !== 'none') return false;
  const lastTunnel = looks.findLastIndex(({ kind }) => kind === 'active');
  if (lastTunnel === -1 && !everPaired) return true;
  let absentMs = 0;
  looks.forEach((look, index) => {
    if (index > lastTunnel && look.kind === 'none') absentMs += (looks[index + 1]?.atMs ?? nowMs) - look.atMs;
  });
  return absentMs >= TIMEOUT_MS;
}

t.test('the machine agrees with the rules read from the whole history', async () => {
  let opened = 0;
  fc.assert(
    fc.property(world, ({ history, everPaired, markerWritten, bootMs, laterMs }) => {
      const state = play(history, { everPaired, markerWritten }, bootMs);
      const nowMs = (history.at(-1)?.atMs ?? 0) + laterMs;
      const expected = shouldBeOpen(history, everPaired, nowMs);
      if (expected) opened += 1;
      return isOpen(state, bootMs + nowMs) === expected;
    }),
    { numRuns: 3_000 },
  );
  t.ok(opened > 200, 'both outcomes were met often');
});

t.test('never open within the timeout after a tunnel was seen', async () => {
  fc.assert(
    fc.property(world, fc.nat(TIMEOUT_MS - 1), ({ history, everPaired, markerWritten, bootMs }, withinMs) => {
      const before = play(history, { everPaired, markerWritten }, bootMs);
      const tunnelAtMs = bootMs + (history.at(-1)?.atMs ?? 0);
      let state = step(before, observed('active'), tunnelAtMs).state;
      for (const [share, kind] of [
        [0.2, 'none'],
        [0.4, 'fault'],
        [0.6, 'none'],
        [0.8, 'none'],
      ] as const) {
        state = step(state, observed(kind), tunnelAtMs + withinMs * share).state;
      }
      return !isOpen(state, tunnelAtMs + withinMs);
    }),
  );
});

t.test('never open while the last look was a fault or a tunnel, however late it is asked', async () => {
  fc.assert(
    fc.property(world, fc.constantFrom('fault', 'active'), ({ history, bootMs, laterMs, ...options }, kind) => {
      const atMs = bootMs + (history.at(-1)?.atMs ?? 0);
      const { state } = step(play(history, options, bootMs), observed(kind as Observation['kind']), atMs);
      return !isOpen(state, atMs + laterMs * 1_000) && opensInMs(state, atMs) === null;
    }),
  );
});

t.test('it opens at the time it told, and not a millisecond before', async () => {
  let counted = 0;
  fc.assert(
    fc.property(world, ({ history, bootMs, ...options }) => {
      const state = play(history, options, bootMs);
      const nowMs = bootMs + (history.at(-1)?.atMs ?? 0);
      const waitMs = opensInMs(state, nowMs);
      if (waitMs === null || waitMs === 0) return true;
      counted += 1;
      return isOpen(state, nowMs + waitMs) && !isOpen(state, nowMs + waitMs - 1);
    }),
    { numRuns: 1_000 },
  );
  t.ok(counted > 100, 'countdowns were met');
});

t.test('a look that says nothing new, a wake and a written marker decide nothing', async () => {
  fc.assert(
    fc.property(world, fc.nat(100), ({ history, bootMs, laterMs, ...options }, position) => {
      const at = history.length === 0 ? 0 : position % history.length;
      const same = history[at]?.event;
      const repeated: Moment[] = [
        { atMs: history[at]?.atMs ?? 0, event: { kind: 'woken' } },
        { atMs: history[at]?.atMs ?? 0, event: { kind: 'remembered' } },
        ...(same === undefined ? [] : [{ atMs: history[at]?.atMs ?? 0, event: same }]),
      ];
      const longer = history.toSpliced(at + 1, 0, ...repeated);
      const nowMs = bootMs + (history.at(-1)?.atMs ?? 0) + laterMs;
      return isOpen(play(history, options, bootMs), nowMs) === isOpen(play(longer, options, bootMs), nowMs);
    }),
  );
});

t.test('with timers that follow its wakes, every opening and closing is announced once, in turn', async () => {
  fc.assert(
    fc.property(world, ({ history, ...options }) => {
      let state = initialState(RULES, options);
      let wakeAtMs: number | null = null;
      const announced: boolean[] = [];
      const take = (event: PairingEvent, nowMs: number) => {
        const { state: next, effects } = step(state, event, nowMs);
        state = next;
        wakeAtMs = null;
        for (const effect of effects) {
          if (effect.kind === 'wake') wakeAtMs = nowMs + effect.afterMs;
          if (effect.kind === 'announce') announced.push(effect.access === 'open');
        }
        return announced.at(-1) === undefined ? !isOpen(state, nowMs) : announced.at(-1) === isOpen(state, nowMs);
      };
      for (const { atMs, event } of history) {
        while (wakeAtMs !== null && wakeAtMs <= atMs) if (!take({ kind: 'woken' }, wakeAtMs)) return false;
        if (!take(event, atMs)) return false;
      }
      return announced.every((open, index) => open === (index % 2 === 0));
    }),
    { numRuns: 1_000 },
  );
});
