import t from 'tap';
import { DEVICE_LIMITS } from '../../src/protocol/limits.ts';
import { Bench, frame, NOTHING_LEFT, u16, u32 } from './helpers.ts';

const OPEN = Buffer.concat([u16(22), u32(262_144)]);

function text(words: string): string {
  return Buffer.from(words).toString('hex');
}

t.test('the peer ends the link: services get what came for them, and the session says so once', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, u16(22)), frame('D', 1, 'last'));
  bench.mux.linkEnded(null);
  bench.mux.linkEnded(null);
  t.match(bench.ends, [{ code: 'session.closed', message: 'the peer closed the session' }]);
  bench.local.takeAll();
  t.equal(bench.local.bytes.toString(), 'last');
  t.ok(bench.local.ended);
  bench.local.events.closed(null);
  t.equal(bench.clock.pending, 0);
  t.equal(bench.lender.held, 0);
  bench.receive(frame('N', 2, u16(22)));
  t.equal(bench.locals.length, 1, 'nothing is read after the end');
});

t.test('the link breaks: services are cut off, the reason is kept', async (t) => {
  const bench = new Bench({ v1: true });
  bench.receive(frame('N', 1, OPEN), frame('D', 1, 'x'), frame('D', 1, 'half').subarray(0, 11));
  bench.serve(bench.local, 'never sent');
  const cause = new Error('read ECONNRESET');
  bench.mux.linkEnded(cause);
  t.match(bench.ends, [
    { code: 'session.reset', message: 'the connection broke in the middle of a frame: read ECONNRESET' },
  ]);
  t.equal(bench.ends[0]?.cause, cause);
  t.ok(bench.local.destroyed);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a breach of the protocol ends the session at once and reads no further', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, u16(22)), frame('C', 1, Buffer.alloc(1025)), frame('N', 2, u16(22)));
  t.match(bench.ends, [{ code: 'session.protocol-error', message: /'C' claims 1025 bytes/ }]);
  t.ok(bench.link.destroyed);
  t.equal(bench.locals.length, 1);
  t.ok(bench.local.destroyed);
  bench.mux.linkEnded(null);
  t.equal(bench.ends.length, 1);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('trap: our own close loses no data: what services sent goes first, then C, then the link ends', async (t) => {
  for (const v1 of [false, true]) {
    const bench = new Bench({ v1 });
    bench.link.sent();
    bench.receive(frame('N', 1, OPEN), frame('D', 1, 'in'));
    bench.serve(bench.local, Buffer.alloc(200_000, 'o'));
    bench.mux.close();
    bench.serve(bench.local, 'too late');
    t.notOk(bench.link.ended, 'not before all is written');
    const frames = bench.link.sent();
    t.equal(
      frames.reduce((sum, { payload }) => sum + payload.length, 0),
      200_000,
    );
    t.same([frames.at(-1)?.type, frames.at(-1)?.id], ['C', 1]);
    t.ok(bench.link.ended);
    t.same(bench.ends, []);
    bench.mux.linkEnded(null);
    t.same(bench.ends, [null]);
    bench.local.takeAll();
    t.equal(bench.local.bytes.toString(), 'in');
    t.ok(bench.local.ended);
    bench.local.events.closed(null);
    t.equal(bench.clock.pending, 0);
    t.same(bench.leftovers(), NOTHING_LEFT);
  }
});

t.test('a peer that resets the link as we close it does not take from services what came for them', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, u16(22)), frame('D', 1, 'in'));
  bench.mux.close();
  bench.mux.linkEnded(new Error('read ECONNRESET'));
  t.same(bench.ends, [null]);
  bench.local.takeAll();
  t.equal(bench.local.bytes.toString(), 'in');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('our own close is bounded: a peer that takes nothing does not hold it', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, u16(22)));
  bench.serve(bench.local, 'x');
  bench.mux.close();
  bench.mux.close();
  bench.clock.advance(1_999);
  t.same(bench.ends, []);
  bench.clock.advance(1);
  t.same(bench.ends, [null]);
  t.ok(bench.link.destroyed);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a close with nothing open ends the link at once, and opens nothing more', async (t) => {
  const bench = new Bench({ v1: false });
  bench.mux.close();
  t.ok(bench.link.ended);
  bench.receive(frame('N', 1, u16(22)));
  t.equal(bench.locals.length, 0);
  t.same(bench.sent(), [], 'and nothing is written behind the end');
  bench.mux.linkEnded(null);
  t.same(bench.ends, [null]);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a gateway says why it closes, to an agent that knows G', async (t) => {
  const v1 = new Bench({ role: 'gateway', v1: true });
  v1.receive(frame('X', 0, '{"v":1,"maxStreams":64,"window":1000}'));
  v1.mux.close('session_replaced');
  t.same(v1.sent(), [`G 0 00000000${text('session_replaced')}`]);
  const legacy = new Bench({ role: 'gateway', v1: true });
  legacy.mux.close('session_replaced');
  t.same(legacy.sent(), []);
  t.ok(v1.link.ended && legacy.link.ended);
  t.same(v1.leftovers(), NOTHING_LEFT);
  t.same(legacy.leftovers(), NOTHING_LEFT);
});

/** A gateway that has read X. */
function gateway(): Bench {
  const bench = new Bench({ role: 'gateway', v1: true });
  bench.receive(frame('X', 0, '{"v":1,"maxStreams":2,"window":1000}'));
  return bench;
}

t.test('a gateway that leaves says when to come back, opens nothing, and ends with the last stream', async (t) => {
  const bench = gateway();
  bench.mux.openStream(22, (events) => bench.openLocal(22, events));
  bench.sent();
  bench.mux.leave('shutdown', 5, 60);
  bench.mux.leave('shutdown', 1, 1);
  t.same(bench.sent(), [`G 0 0005003c${text('shutdown')}`]);
  t.equal(bench.mux.refusal(), 'the session is ending');
  t.equal(
    bench.mux.openStream(22, (events) => bench.openLocal(22, events)),
    null,
  );
  bench.serve(bench.local, 'still');
  t.same(bench.sent(), [`D 1 ${text('still')}`]);
  bench.receive(frame('A', 1, u16(0)), frame('D', 1, 'heard'));
  bench.local.takeAll();
  t.equal(bench.local.bytes.toString(), 'heard');
  t.notOk(bench.link.ended);
  bench.receive(frame('C', 1));
  t.ok(bench.link.ended);
  t.same(bench.ends, []);
  bench.mux.linkEnded(null);
  t.same(bench.ends, [null], 'our own end');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a gateway that leaves with nothing open is gone at once, a legacy peer is told nothing', async (t) => {
  for (const bench of [gateway(), new Bench({ role: 'gateway', v1: true })]) {
    const { v1 } = bench.mux;
    bench.mux.leave('shutdown', 0, 0);
    t.same(bench.sent(), v1 ? [`G 0 00000000${text('shutdown')}`] : []);
    t.ok(bench.link.ended);
    bench.clock.advance(DEVICE_LIMITS.closeMs);
    t.same(bench.ends, [null], 'a peer that does not close is not waited for');
    t.same(bench.leftovers(), NOTHING_LEFT);
  }
});

t.test('a close shortens a leave, and says only what is new', async (t) => {
  for (const [reason, said] of [
    ['shutdown', []],
    ['token_rotated', [`G 0 00000000${text('token_rotated')}`]],
  ] as const) {
    const bench = gateway();
    bench.mux.openStream(22, (events) => bench.openLocal(22, events));
    bench.mux.leave('shutdown', 5, 60);
    bench.sent();
    bench.mux.close(reason);
    t.same(bench.sent(), [...said, 'C 1']);
    t.same(bench.leftovers(), NOTHING_LEFT);
  }
});

t.test('a gateway tells why it opens no stream', async (t) => {
  const bench = gateway();
  const open = () => bench.mux.openStream(22, (events) => bench.openLocal(22, events));
  t.equal(bench.mux.refusal(), null);
  t.same([open(), open(), open()], [1, 2, null]);
  t.equal(bench.mux.refusal(), '2 streams are open');
  bench.receive(frame('C', 1), frame('G', 0, Buffer.alloc(4)));
  t.equal(bench.mux.refusal(), 'the device is going away');
  bench.receive(frame('C', 2));
  bench.mux.linkEnded(null);
  t.equal(bench.mux.refusal(), 'the session is ending');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('G: what is open is finished, new opens are served, then the link ends', async (t) => {
  const bench = new Bench({ v1: true });
  bench.link.sent();
  bench.receive(frame('N', 1, OPEN), frame('G', 0, Buffer.concat([u16(5), u16(60), Buffer.from('shutdown')])));
  t.same(bench.goingAway, [{ minMs: 5_000, maxMs: 60_000, text: 'shutdown' }]);
  bench.receive(frame('N', 2, OPEN), frame('D', 1, 'still'));
  bench.locals[0]?.takeAll();
  t.equal(bench.locals[0]?.bytes.toString(), 'still');
  bench.serve(bench.locals[0]!, 'answer');
  t.same(bench.sent(), [`D 1 ${text('answer')}`]);
  bench.receive(frame('C', 1));
  t.notOk(bench.link.ended);
  bench.receive(frame('C', 2));
  t.ok(bench.link.ended);
  bench.mux.linkEnded(null);
  t.match(bench.ends, [{ code: 'session.going-away', message: 'the peer is going away: shutdown' }]);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('while a close waits for its data, N is refused', async (t) => {
  const bench = new Bench({ v1: true });
  bench.receive(frame('N', 1, OPEN));
  bench.serve(bench.local, Buffer.alloc(200_000));
  bench.mux.close();
  bench.receive(frame('N', 2, OPEN), frame('N', 3, u16(22)));
  t.equal(bench.locals.length, 1);
  const answers = bench.sent().filter((line) => !line.startsWith('D'));
  t.match(answers, [/^X/, `A 2 0004${text('the session is ending')}`, 'C 3', 'C 1']);
  t.ok(bench.link.ended);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('G with the last stream ended by its service: C is written before the link ends', async (t) => {
  const bench = new Bench({ v1: true });
  bench.receive(frame('N', 1, OPEN), frame('G', 0, Buffer.concat([u16(0), u16(0)])));
  bench.link.sent();
  bench.local.events.closed(null);
  t.notOk(bench.link.ended);
  t.same(bench.sent(), ['C 1']);
  t.ok(bench.link.ended);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('G with nothing open ends the link at once, within a bound', async (t) => {
  const bench = new Bench({ v1: true });
  bench.link.sent();
  bench.receive(frame('G', 0, Buffer.concat([u16(9), u16(3)])));
  t.same(bench.goingAway, [{ minMs: 9_000, maxMs: 9_000, text: '' }], 'a range the wrong way round');
  t.ok(bench.link.ended);
  bench.clock.advance(2_000);
  t.match(bench.ends, [{ code: 'session.going-away', message: /no reason/ }]);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('G and then the end of the link: the reason is that of G', async (t) => {
  const bench = new Bench({ v1: true });
  bench.receive(frame('N', 1, OPEN), frame('G', 0, Buffer.concat([u16(0), u16(0), Buffer.from('session_replaced')])));
  bench.mux.linkEnded(new Error('read ECONNRESET'));
  t.match(bench.ends, [{ code: 'session.going-away', message: /session_replaced/ }]);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('the owner may close from within an event', async (t) => {
  const bench = new Bench({ v1: true });
  bench.link.sent();
  bench.goingAway.push = () => {
    bench.mux.close();
    return 0;
  };
  bench.receive(frame('N', 1, OPEN), frame('G', 0, Buffer.concat([u16(0), u16(0)])), frame('N', 2, OPEN));
  t.match(bench.sent(), ['C 1', /^A 2 0004/].reverse());
  bench.mux.linkEnded(null);
  t.same(bench.ends, [null], 'our own close counts');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a G too short for its range ends the session', async (t) => {
  const bench = new Bench({ v1: true });
  bench.receive(frame('G', 0, u16(1)));
  t.match(bench.ends, [{ code: 'session.protocol-error' }]);
});

t.test('destroy ends everything before it returns, lingering services too', async (t) => {
  const bench = new Bench({ v1: true });
  bench.receive(frame('N', 1, OPEN), frame('D', 1, 'x'), frame('C', 1), frame('N', 2, OPEN));
  bench.mux.destroy();
  t.same(bench.ends, [null]);
  t.ok(bench.locals.every(({ destroyed }) => destroyed));
  t.ok(bench.link.destroyed);
  t.equal(bench.clock.pending, 0);
  t.same(bench.leftovers(), NOTHING_LEFT);
});
