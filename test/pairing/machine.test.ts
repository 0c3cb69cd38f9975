import t from 'tap';
import {
  initialState,
  isOpen,
  type Observation,
  opensInMs,
  type PairingEffect,
  type PairingRules,
  type PairingState,
  reason,
  step,
} from '../../src/pairing/machine.ts';

const TIMEOUT_S = 600;

const FRESH = { everPaired: false, markerWritten: false };
const PAIRED = { everPaired: true, markerWritten: true };

type Remembered = typeof FRESH;

const RULES: PairingRules = { policy: 'open', timeoutMs: TIMEOUT_S * 1000, remember: true };

const start = (remembered: Remembered, rules: Partial<PairingRules> = {}) =>
  initialState({ ...RULES, ...rules }, remembered);

const observe = (state: PairingState, kind: Observation['kind'], seconds: number) =>
  step(state, { kind: 'observed', observation: { kind } }, seconds * 1000);

/** Rows of time in seconds, what the watcher reports then (null: nothing), and whether pairing is open afterwards. */
type Row = [seconds: number, report: Observation['kind'] | null, open: boolean];

const STORIES: { name: string; remembered: Remembered; rows: Row[] }[] = [
  {
    name: 'before the first observation nothing opens, however long it takes',
    remembered: FRESH,
    rows: [
      [0, null, false],
      [100_000, null, false],
    ],
  },
  {
    name: 'never paired: open from the first look at no tunnel',
    remembered: FRESH,
    rows: [
      [3, 'none', true],
      [4, null, true],
      [5, 'none', true],
    ],
  },
  {
    name: 'never paired, netstat broken at first: opens with the first successful look',
    remembered: FRESH,
    rows: [
      [0, 'fault', false],
      [700, 'fault', false],
      [705, 'none', true],
    ],
  },
  {
    name: 'a tunnel closes pairing at once; its loss opens it exactly at the timeout',
    remembered: FRESH,
    rows: [
      [0, 'none', true],
      [10, 'active', false],
      [5_000, 'active', false],
      [5_005, 'none', false],
      [5_604.999, null, false],
      [5_605, null, true],
    ],
  },
  {
    name: 'the countdown begins when the loss is seen, and further looks do not move it',
    remembered: FRESH,
    rows: [
      [0, 'active', false],
      [5, 'none', false],
      [10, 'none', false],
      [599, 'none', false],
      [604.999, 'none', false],
      [605, 'none', true],
    ],
  },
  {
    name: 'a tunnel during the countdown starts it anew',
    remembered: FRESH,
    rows: [
      [0, 'active', false],
      [5, 'none', false],
      [604, 'active', false],
      [605, 'none', false],
      [1_204, null, false],
      [1_205, null, true],
    ],
  },
  {
    name: 'a tunnel after pairing has opened again closes it again',
    remembered: PAIRED,
    rows: [
      [0, 'none', false],
      [600, 'none', true],
      [601, 'active', false],
      [602, 'none', false],
      [1_202, null, true],
    ],
  },
  {
    name: 'paired before the start: the timeout runs from the first successful look',
    remembered: PAIRED,
    rows: [
      [0, null, false],
      [700, 'fault', false],
      [1_000, 'none', false],
      [1_599.999, null, false],
      [1_600, null, true],
    ],
  },
  {
    name: 'a fault closes open pairing, and its end opens it again',
    remembered: FRESH,
    rows: [
      [0, 'none', true],
      [5, 'fault', false],
      [10, 'none', true],
    ],
  },
  {
    name: 'the time of a fault does not count, but what was counted before stays',
    remembered: PAIRED,
    rows: [
      [0, 'none', false],
      [400, 'fault', false],
      [100_000, 'fault', false],
      [200_000, 'none', false],
      [200_199.999, null, false],
      [200_200, null, true],
      [200_205, 'fault', false],
      [300_000, 'none', true],
    ],
  },
  {
    name: 'a tunnel seen right after a fault still starts the countdown anew',
    remembered: PAIRED,
    rows: [
      [0, 'none', false],
      [590, 'fault', false],
      [595, 'active', false],
      [600, 'none', false],
      [1_199, null, false],
      [1_200, null, true],
    ],
  },
  {
    name: 'a fault right after a tunnel is not a loss: the countdown begins with the first look at no tunnel',
    remembered: FRESH,
    rows: [
      [0, 'active', false],
      [5, 'fault', false],
      [1_000, 'none', false],
      [1_599, null, false],
      [1_600, null, true],
    ],
  },
];

for (const { name, remembered, rows } of STORIES) {
  t.test(name, async (t) => {
    let state = start(remembered);
    for (const [seconds, report, open] of rows) {
      if (report !== null) state = observe(state, report, seconds).state;
      t.equal(isOpen(state, seconds * 1000), open, `${seconds} s, ${report ?? 'nothing'}: ${open ? 'open' : 'closed'}`);
    }
  });
}

t.test('a timeout of 0 opens with the loss', async (t) => {
  const state = start(PAIRED, { timeoutMs: 0 });
  t.ok(isOpen(observe(state, 'none', 1).state, 1_000));
  t.notOk(isOpen(observe(state, 'active', 1).state, 1_000));
});

t.test('the time to the opening is told, and null where it will not open by itself', async (t) => {
  const away = observe(start(PAIRED), 'none', 100).state;
  t.equal(opensInMs(start(PAIRED), 0), null, 'not looked yet');
  t.equal(opensInMs(away, 100_000), 600_000);
  t.equal(opensInMs(away, 699_999), 1);
  t.equal(opensInMs(away, 700_000), 0);
  t.equal(opensInMs(away, 9e9), 0);
  t.equal(opensInMs(observe(away, 'fault', 200).state, 250_000), null, 'a fault');
  t.equal(opensInMs(observe(away, 'active', 200).state, 250_000), null, 'a tunnel');
});

const kinds = (effects: readonly PairingEffect[]) => effects.map(({ kind }) => kind);

t.test('the first tunnel is to be remembered, once', async (t) => {
  let { state, effects } = observe(start(FRESH), 'none', 0);
  t.notOk(kinds(effects).includes('remember'), 'nothing has been seen yet');
  ({ state, effects } = observe(state, 'active', 1));
  t.ok(kinds(effects).includes('remember'), 'the first one');
  state = step(state, { kind: 'remembered' }, 1_100).state;
  for (const [seconds, kind] of [
    [5, 'active'],
    [10, 'none'],
    [15, 'active'],
  ] as const) {
    ({ state, effects } = observe(state, kind, seconds));
    t.notOk(kinds(effects).includes('remember'), `nothing more to write at ${seconds} s`);
  }
});

t.test('a marker that could not be written is asked for at every change, not at every look', async (t) => {
  let { state, effects } = observe(start(FRESH), 'active', 0);
  const asked: [string, boolean][] = [];
  for (const kind of ['active', 'active', 'none', 'none', 'active', 'fault'] as const) {
    ({ state, effects } = observe(state, kind, 1));
    asked.push([kind, kinds(effects).includes('remember')]);
  }
  t.same(asked, [
    ['active', false],
    ['active', false],
    ['none', true],
    ['none', false],
    ['active', true],
    ['fault', true],
  ]);
});

t.test('where it is written, or nothing is to be remembered, no write is asked for', async (t) => {
  t.notOk(kinds(observe(start(PAIRED), 'active', 0).effects).includes('remember'));
  const forgetful = start(FRESH, { remember: false });
  const { state, effects } = observe(forgetful, 'active', 0);
  t.notOk(kinds(effects).includes('remember'));
  t.notOk(isOpen(observe(state, 'none', 1).state, 1_000), 'what was seen counts in memory all the same');
});

t.test('a key installed without a marker: the timeout applies, the marker comes with the first tunnel', async (t) => {
  const { state, effects } = observe(start({ everPaired: true, markerWritten: false }), 'none', 0);
  t.notOk(isOpen(state, 0));
  t.same(kinds(effects), ['wake']);
  t.ok(kinds(observe(state, 'active', 5).effects).includes('remember'));
});

t.test('every step of a countdown says when to look at it again', async (t) => {
  let { state, effects } = observe(start(PAIRED), 'none', 100);
  t.same(effects, [{ kind: 'wake', afterMs: 600_000 }]);
  ({ state, effects } = observe(state, 'none', 105));
  t.same(effects, [{ kind: 'wake', afterMs: 595_000 }], 'a step replaces the wait of the one before');
  ({ state, effects } = step(state, { kind: 'woken' }, 699_999.5));
  t.same(effects, [{ kind: 'wake', afterMs: 0.5 }], 'woken too early: asks again');
  ({ state, effects } = step(state, { kind: 'woken' }, 700_000));
  t.same(effects, [{ kind: 'announce', access: 'open' }]);
  ({ state, effects } = step(state, { kind: 'woken' }, 700_001));
  t.same(effects, [], 'told once');
  ({ state, effects } = observe(state, 'active', 701));
  t.same(effects, [{ kind: 'announce', access: 'closed' }]);
});

t.test('a wait longer than a timer can be is cut', async (t) => {
  const state = start(PAIRED, { timeoutMs: 1e12 });
  t.same(observe(state, 'none', 0).effects, [{ kind: 'wake', afterMs: 86_400_000 }]);
});

t.test('every state says why in words of its own', async (t) => {
  const away = observe(start(PAIRED), 'none', 0).state;
  const words = [
    reason(start(FRESH), 0),
    reason(observe(start(FRESH), 'fault', 0).state, 0),
    reason(observe(start(FRESH), 'active', 0).state, 0),
    reason(observe(start(FRESH), 'none', 0).state, 0),
    reason(away, 1_000),
    reason(away, 600_000),
  ];
  t.equal(new Set(words).size, words.length);
});
