import fc from 'fast-check';
import t from 'tap';
import {
  type Access,
  acceptsPin,
  access,
  initialState,
  isOpen,
  type Observation,
  openedForMs,
  opensInMs,
  type PairingEvent,
  type PairingRules,
  type PairingState,
  refusesLocalOpening,
  step,
} from '../../src/pairing/machine.ts';

const TIMEOUT_MS = 600_000;
const LOCAL_MS = 120_000;

interface Moment {
  atMs: number;
  event: PairingEvent;
}

const rules: fc.Arbitrary<PairingRules> = fc.record({
  policy: fc.constantFrom('open', 'open', 'pin', 'locked'),
  timeoutMs: fc.constantFrom(TIMEOUT_MS, TIMEOUT_MS, TIMEOUT_MS / 10),
  remember: fc.boolean(),
});

/** Any order of events at whole milliseconds; many gaps lie close to the timeout, or to the end of a local opening. */
function historyOf(more: fc.Arbitrary<PairingEvent>): fc.Arbitrary<Moment[]> {
  const gapMs = fc.oneof(
    fc.nat(10_000),
    fc.integer({ min: LOCAL_MS - 2, max: LOCAL_MS + 2 }),
    fc.integer({ min: TIMEOUT_MS - 2, max: TIMEOUT_MS + 2 }),
    fc.nat(4 * TIMEOUT_MS),
  );
  const event = fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom('active', 'none', 'none', 'fault').map(observed) },
    { weight: 1, arbitrary: fc.constant<PairingEvent>({ kind: 'woken' }) },
    { weight: 1, arbitrary: fc.constant<PairingEvent>({ kind: 'remembered' }) },
    { weight: 4, arbitrary: more },
  );
  return fc.array(fc.record({ gapMs, event }), { maxLength: 30 }).map((steps) => {
    let atMs = 0;
    return steps.map(({ gapMs, event }): Moment => {
      atMs += gapMs;
      return { atMs, event };
    });
  });
}

const OPENED: PairingEvent = { kind: 'opened' };
const KEY_SET: PairingEvent = { kind: 'key-set' };
const RESET: PairingEvent = { kind: 'reset' };
const configured = rules.map((each): PairingEvent => ({ kind: 'configured', rules: each }));

const worldOf = (more: fc.Arbitrary<PairingEvent>) =>
  fc.record({
    history: historyOf(more),
    rules,
    everPaired: fc.boolean(),
    markerWritten: fc.boolean(),
    /** Boot to now: the clock's zero means nothing. */
    bootMs: fc.nat(1e12),
    laterMs: fc.oneof(fc.nat(LOCAL_MS + 2), fc.nat(2 * TIMEOUT_MS)),
  });

const world = worldOf(fc.oneof(fc.constantFrom(OPENED, OPENED, KEY_SET, RESET), configured));
const withoutReset = worldOf(fc.constantFrom(OPENED, KEY_SET));

function observed(kind: Observation['kind']): PairingEvent {
  return { kind: 'observed', observation: { kind } };
}

interface Past {
  rules: PairingRules;
  everPaired: boolean;
  markerWritten: boolean;
}

function play(history: readonly Moment[], { rules, ...past }: Past, bootMs: number) {
  let state: PairingState = initialState(rules, past);
  for (const { atMs, event } of history) state = step(state, event, bootMs + atMs).state;
  return state;
}

/** The rules of docs/pairing.md read once more, over the whole history and without any state carried along. */
function shouldBe(history: readonly Moment[], { rules, everPaired }: Past, nowMs: number): Access {
  const seenAt = ({ event }: Moment) => (event.kind === 'observed' ? event.observation.kind : null);
  const lastLookBefore = (index: number) =>
    history
      .slice(0, index)
      .map(seenAt)
      .findLast((seen) => seen !== null);
  if (lastLookBefore(history.length) !== 'none') return 'closed';

  const openedAt = history.findLastIndex(({ event }, at) => event.kind === 'opened' && lastLookBefore(at) === 'none');
  const opened = history[openedAt];
  const ends = (moment: Moment) =>
    ['key-set', 'reset'].includes(moment.event.kind) || ['active', 'fault'].includes(seenAt(moment) ?? '');
  if (opened !== undefined && nowMs - opened.atMs < LOCAL_MS && !history.slice(openedAt).some(ends)) return 'open';

  const configured = history.map(({ event }) => event).findLast((event) => event.kind === 'configured');
  const { policy, timeoutMs } = configured?.rules ?? rules;
  if (policy === 'locked') return 'closed';
  return isPaired() && absentMs() < timeoutMs ? 'closed' : policy;

  /** A tunnel was seen, or the device was paired at the start; since a reset, a tunnel that came after none stood. */
  function isPaired(): boolean {
    const resetAt = history.findLastIndex(({ event }) => event.kind === 'reset');
    const since = history.slice(resetAt + 1).map(seenAt);
    if (resetAt === -1) return everPaired || since.includes('active');
    return since.slice(since.indexOf('none')).includes('active');
  }

  function absentMs(): number {
    const looks = history.filter((moment) => seenAt(moment) !== null);
    const lastTunnel = looks.findLastIndex((look) => seenAt(look) === 'active');
    let sum = 0;
    looks.forEach((look, index) => {
      if (index > lastTunnel && seenAt(look) === 'none') sum += (looks[index + 1]?.atMs ?? nowMs) - look.atMs;
    });
    return sum;
  }
}

t.test('the machine agrees with the rules read from the whole history', async (t) => {
  const met = { open: 0, pin: 0, closed: 0, local: 0 };
  fc.assert(
    fc.property(world, ({ history, bootMs, laterMs, ...past }) => {
      const state = play(history, past, bootMs);
      const nowMs = (history.at(-1)?.atMs ?? 0) + laterMs;
      const expected = shouldBe(history, past, nowMs);
      met[expected] += 1;
      if (openedForMs(state, bootMs + nowMs) !== null) met.local += 1;
      return access(state, bootMs + nowMs) === expected && isOpen(state, bootMs + nowMs) === (expected === 'open');
    }),
    { numRuns: 5_000 },
  );
  for (const [outcome, times] of Object.entries(met)) t.ok(times > 30, `${outcome} was met ${times} times`);
});

t.test(
  'a local opening opens under every policy, for 120 s, and only while it is known that no tunnel stands',
  async () => {
    fc.assert(
      fc.property(world, fc.nat(LOCAL_MS - 1), ({ history, bootMs, ...past }, withinMs) => {
        const atMs = bootMs + (history.at(-1)?.atMs ?? 0);
        const before = play(history, past, bootMs);
        const { state } = step(before, OPENED, atMs);
        if (before.observed !== 'none') {
          return refusesLocalOpening(before) !== null && access(state, atMs) === access(before, atMs);
        }
        const locked = step(state, { kind: 'configured', rules: { ...past.rules, policy: 'locked' } }, atMs).state;
        return (
          refusesLocalOpening(before) === null &&
          access(locked, atMs + withinMs) === 'open' &&
          access(locked, atMs + LOCAL_MS) === 'closed' &&
          access(step(locked, KEY_SET, atMs + withinMs).state, atMs + withinMs) === 'closed'
        );
      }),
    );
  },
);

t.test('after a reset the end of the old tunnel opens by the policy, at once', async () => {
  fc.assert(
    fc.property(world, fc.nat(TIMEOUT_MS), ({ history, bootMs, ...past }, laterMs) => {
      const atMs = bootMs + (history.at(-1)?.atMs ?? 0);
      let { state } = step(play(history, past, bootMs), { kind: 'configured', rules: past.rules }, atMs);
      for (const event of [observed('active'), RESET, observed('active'), observed('fault'), observed('active')]) {
        state = step(state, event, atMs).state;
      }
      if (access(state, atMs) !== 'closed') return false;
      state = step(state, observed('none'), atMs + laterMs).state;
      const { policy } = past.rules;
      return access(state, atMs + laterMs) === (policy === 'locked' ? 'closed' : policy) && state.marker === 'none';
    }),
  );
});

t.test('the marker is asked for only where something is to be remembered, and after the last reset', async () => {
  fc.assert(
    fc.property(world, ({ history, bootMs, ...past }) => {
      let state = initialState(past.rules, past);
      for (const { atMs, event } of history) {
        const { state: next, effects } = step(state, event, bootMs + atMs);
        state = next;
        const asked = effects.some(({ kind }) => kind === 'remember');
        if (asked && !(state.rules.remember && state.everSeen && state.marker === 'owed')) return false;
      }
      return true;
    }),
  );
});

t.test('never open within the timeout after a tunnel was seen', async () => {
  fc.assert(
    fc.property(withoutReset, fc.nat(TIMEOUT_MS - 1), ({ history, bootMs, ...past }, within) => {
      const before = play(history, past, bootMs);
      const withinMs = (within * past.rules.timeoutMs) / TIMEOUT_MS;
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
      return access(state, tunnelAtMs + withinMs) === 'closed';
    }),
  );
});

t.test('never open while the last look was a fault or a tunnel, however late it is asked', async () => {
  fc.assert(
    fc.property(world, fc.constantFrom('fault', 'active'), ({ history, bootMs, laterMs, ...options }, kind) => {
      const atMs = bootMs + (history.at(-1)?.atMs ?? 0);
      const { state } = step(play(history, options, bootMs), observed(kind as Observation['kind']), atMs);
      return access(state, atMs + laterMs * 1_000) === 'closed' && opensInMs(state, atMs) === null;
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
      return access(state, nowMs + waitMs) !== 'closed' && access(state, nowMs + waitMs - 1) === 'closed';
    }),
    { numRuns: 4_000 },
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
      return access(play(history, options, bootMs), nowMs) === access(play(longer, options, bootMs), nowMs);
    }),
  );
});

t.test('with timers that follow its wakes, every opening and closing is announced once, when it happens', async () => {
  fc.assert(
    fc.property(world, ({ history, rules, ...past }) => {
      let state = initialState(rules, past);
      let wakeAtMs: number | null = null;
      const announced: Access[] = ['closed'];
      const take = (event: PairingEvent, nowMs: number) => {
        const { state: next, effects } = step(state, event, nowMs);
        state = next;
        wakeAtMs = null;
        for (const effect of effects) {
          if (effect.kind === 'wake') wakeAtMs = nowMs + effect.afterMs;
          if (effect.kind === 'announce') announced.push(effect.access);
        }
        return announced.at(-1) === access(state, nowMs);
      };
      for (const { atMs, event } of history) {
        while (wakeAtMs !== null && wakeAtMs <= atMs) if (!take({ kind: 'woken' }, wakeAtMs)) return false;
        if (announced.at(-1) !== access(state, atMs)) return false; // it changed, and nobody was told
        if (!take(event, atMs)) return false;
      }
      return announced.every((each, index) => each !== announced[index + 1]);
    }),
    { numRuns: 1_000 },
  );
});

t.test('a proof of the PIN is accepted exactly when open pairing would be open', async () => {
  fc.assert(
    fc.property(world, ({ history, bootMs, laterMs, ...past }) => {
      const nowMs = bootMs + (history.at(-1)?.atMs ?? 0);
      const asked = (policy: PairingRules['policy']) => {
        const rules = { ...past.rules, policy };
        return step(play(history, past, bootMs), { kind: 'configured', rules }, nowMs).state;
      };
      const open = asked('open');
      const opened = openedForMs(open, nowMs + laterMs) !== null;
      return opened || acceptsPin(asked('pin'), nowMs + laterMs) === isOpen(open, nowMs + laterMs);
    }),
  );
});
