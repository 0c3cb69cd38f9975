import { setMaxListeners } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import type { Place } from '../../src/gateway/entry.ts';
import { type Admission, Gate } from '../../src/gateway/gate.ts';
import { FakeClock } from '../support/fake-clock.ts';

const stays = () => new AbortController().signal;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
const heapMiB = () => {
  collectGarbage();
  return process.memoryUsage().heapUsed / 2 ** 20;
};

function setUp({ maxPending = 50, connectionRate = 10, maxWaiting = 20_000 } = {}) {
  const clock = new FakeClock();
  const known = new Set<string>();
  const isKnown = (address: string) => known.has(address);
  return { clock, known, gate: new Gate({ connectionRate, maxPending, clock, isKnown, maxWaiting }) };
}

/** What became of a peer, looked at later. */
function knock(gate: Gate, address: string, signal = stays()) {
  const peer: { admission: Admission | null; place: Place | null } = { admission: null, place: null };
  void gate.admit(address, signal).then((admission) => {
    peer.admission = admission;
    if ('place' in admission) peer.place = admission.place;
  });
  return peer;
}

/** All that was decided has arrived. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

/** How many of `peers` hold a place. */
const inside = (peers: { place: Place | null }[]) => peers.filter(({ place }) => place !== null).length;

t.test('wire 5.2: ten new connections a second, eleven at once', async (t) => {
  const { gate, clock } = setUp();
  const knockFor = async (times: number) => {
    const peers = Array.from({ length: times }, () => knock(gate, '192.0.2.1'));
    await settled();
    for (const { place } of peers) place?.leave();
    return inside(peers);
  };
  t.equal(await knockFor(30), 11);
  clock.advance(1000);
  t.equal(await knockFor(30), 10);
  clock.advance(100);
  t.equal(await knockFor(30), 1);
  clock.advance(3600_000);
  t.equal(await knockFor(30), 11, 'nothing is saved up');
  t.equal(gate.counts().refusedByRate, 120 - 33);
});

t.test(
  'wire 5.2: fifty unfinished handshakes; the place is free when authentication ends, not when the session does',
  async (t) => {
    const { gate, clock } = setUp({ connectionRate: 1000 });
    const peers = Array.from({ length: 60 }, () => knock(gate, '192.0.2.1'));
    await settled();
    t.equal(inside(peers), 50);
    t.strictSame(peers.at(-1)?.admission, { refused: 'pending' });
    for (const { place } of peers) {
      place?.leave();
      place?.leave();
    }
    t.equal(gate.counts().pending, 0, 'leaving twice frees one place');
    clock.advance(1000);
    const next = Array.from({ length: 60 }, () => knock(gate, '192.0.2.1'));
    await settled();
    t.equal(inside(next), 50);
    t.strictSame(gate.counts(), {
      admitted: 100,
      refusedByRate: 0,
      refusedByPending: 20,
      refusedByQueue: 0,
      pending: 50,
      waiting: 0,
    });
  },
);

t.test('a peer that goes away leaves its place', async (t) => {
  const { gate } = setUp({ maxPending: 1 });
  const gone = new AbortController();
  const first = knock(gate, '192.0.2.1', gone.signal);
  await settled();
  t.ok(first.place);
  gone.abort();
  t.equal(gate.counts().pending, 0);
  first.place?.leave();
  const second = knock(gate, '192.0.2.1');
  const late = knock(gate, '192.0.2.1', gone.signal);
  await settled();
  t.ok(second.place);
  t.strictSame(late.admission, { refused: 'gone' });
  t.equal(gate.counts().pending, 1);
});

t.test('a flood of strangers while 50 known devices reconnect: all 50 get in at once', async (t) => {
  const { gate, known } = setUp();
  const strangers = Array.from({ length: 5000 }, (_, i) => knock(gate, `198.51.100.${i % 250}`));
  for (let i = 0; i < 50; i += 1) known.add(`192.0.2.${i}`);
  const devices = [...known].map((address) => knock(gate, address));
  strangers.push(...Array.from({ length: 5000 }, (_, i) => knock(gate, `198.51.100.${i % 250}`)));
  await settled();
  t.equal(inside(devices), 50);
  t.equal(inside(strangers), 11);
  t.equal(gate.counts().waiting, 0);
});

t.test('5,000 known devices come together: 50 at a time, in their order, and nobody is refused', async (t) => {
  const { gate, known, clock } = setUp();
  for (let i = 0; i < 5000; i += 1) known.add(`10.0.${i >> 8}.${i & 255}`);
  const order: string[] = [];
  let most = 0;
  for (const address of known) {
    void gate.admit(address, stays()).then(async (admission) => {
      if (!('place' in admission)) throw new Error(`${address} was refused`);
      order.push(address);
      most = Math.max(most, gate.counts().pending);
      await settled();
      admission.place.leave();
    });
  }
  const stranger = knock(gate, '198.51.100.1');
  await settled();
  t.ok(stranger.place, 'and a stranger is let in meanwhile');
  stranger.place?.leave();
  while (gate.counts().pending > 0) await settled();
  t.strictSame(order, [...known]);
  t.ok(most <= 51);
  t.strictSame({ ...gate.counts(), admitted: 0 }, { ...setUp().gate.counts() });
  t.equal(clock.pending, 0);
});

t.test('one known address leaves places for the others, and is served in turn with them', async (t) => {
  const { gate, known } = setUp();
  known.add('192.0.2.1').add('192.0.2.2').add('192.0.2.3');
  const greedy = Array.from({ length: 1000 }, () => knock(gate, '192.0.2.1'));
  await settled();
  t.equal(inside(greedy), 40);
  const other = knock(gate, '192.0.2.2');
  await settled();
  t.ok(other.place, 'there is a place at once');

  const more = Array.from({ length: 100 }, () => knock(gate, '192.0.2.3'));
  await settled();
  t.ok(inside(more) > 0);
  for (let round = 0; round < 20; round += 1) {
    const place = [...greedy, ...more].find((peer) => peer.place !== null)?.place;
    place?.leave();
    await settled();
  }
  const held = gate.counts().pending;
  t.ok(held <= 50 && held >= 45, `${held} places are held`);
});

t.test('addresses that wait are served in turn, and each in its order', async (t) => {
  const { gate, known } = setUp({ maxPending: 1 });
  known.add('a').add('b').add('c');
  const order: string[] = [];
  for (const name of ['a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'c1']) {
    void gate.admit(name.charAt(0), stays()).then(async (admission) => {
      order.push(name);
      await settled();
      if ('place' in admission) admission.place.leave();
    });
  }
  await settled();
  while (gate.counts().pending > 0) await settled();
  t.strictSame(order, ['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4']);
});

t.test('who waits and goes away is not waited for', async (t) => {
  const { gate, known } = setUp({ maxPending: 1 });
  known.add('192.0.2.1').add('192.0.2.2').add('192.0.2.3');
  const first = knock(gate, '192.0.2.1');
  const gone = new AbortController();
  const second = knock(gate, '192.0.2.2', gone.signal);
  const third = knock(gate, '192.0.2.3');
  await settled();
  t.equal(gate.counts().waiting, 2);
  gone.abort();
  await settled();
  t.strictSame(second.admission, { refused: 'gone' });
  t.equal(gate.counts().waiting, 1);
  first.place?.leave();
  await settled();
  t.ok(third.place);
  third.place?.leave();
  t.strictSame([gate.counts().pending, gate.counts().waiting], [0, 0]);
});

t.test('the queue is bounded, and one address does not fill it', async (t) => {
  const { gate, known } = setUp({ maxPending: 1, maxWaiting: 100 });
  known.add('192.0.2.1').add('192.0.2.2');
  const greedy = Array.from({ length: 500 }, () => knock(gate, '192.0.2.1'));
  await settled();
  t.equal(gate.counts().waiting, 50);
  const other = knock(gate, '192.0.2.2');
  await settled();
  t.equal(other.admission, null, 'it waits');
  t.equal(gate.counts().refusedByQueue, 500 - 51);
  greedy[0]?.place?.leave();
  await settled();
  greedy[1]?.place?.leave();
  await settled();
  t.ok(other.place, 'and its turn comes after one of the others');
});

t.test('a flood from one address leaves a newcomer a place; alone, it has the whole rate', async (t) => {
  const { gate, clock } = setUp();
  const flood = { passed: 0 };
  let newcomerAfterMs = -1;
  for (let ms = 0; ms < 60_000; ms += 10) {
    clock.advance(10);
    const peer = knock(gate, '198.51.100.1');
    // From the 20th second on a device with a new address comes every 2 s.
    const device = ms >= 20_000 && ms % 2000 === 0 ? knock(gate, '192.0.2.1') : null;
    await Promise.resolve();
    await Promise.resolve();
    if (peer.place !== null && ms < 20_000) flood.passed += 1;
    peer.place?.leave();
    if (device?.place != null && newcomerAfterMs < 0) newcomerAfterMs = ms - 20_000;
    device?.place?.leave();
  }
  t.ok(flood.passed >= 200 && flood.passed <= 212, `${flood.passed} of the flood in 20 s`);
  t.ok(newcomerAfterMs >= 0 && newcomerAfterMs <= 2000, `the newcomer got in after ${newcomerAfterMs} ms`);
});

t.test('a million strangers are not remembered', async (t) => {
  const { gate, clock } = setUp();
  const before = heapMiB();
  const stayed = stays();
  setMaxListeners(0, stayed);
  for (let i = 0; i < 1_000_000; i += 1) {
    const address = `${1 + (i >> 24)}.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;
    void gate.admit(address, stayed);
    if (i % 10_000 === 0) await settled();
  }
  const grownMiB = heapMiB() - before;
  t.ok(grownMiB < 8, `${grownMiB.toFixed(1)} MiB`);
  t.equal(clock.pending, 0);
});
