import t from 'tap';
import { Bench, frame, hex, NOTHING_LEFT, u16, u32 } from './helpers.ts';

const X = `X 0 ${Buffer.from('{"v":1,"maxStreams":64,"window":262144}').toString('hex')}`;
const WINDOW = 262_144;

function open(id: number, port = 22, window = WINDOW): Buffer {
  return frame('N', id, Buffer.concat([u16(port), u32(window)]));
}

/** An agent that has sent its X. */
function agent(options: { window?: number } = {}): Bench {
  const bench = new Bench({ v1: true, limits: options.window === undefined ? {} : { windowBytes: options.window } });
  bench.link.sent();
  return bench;
}

/** A gateway that has read X, with one open stream of id 1. */
function gateway(settings = '{"v":1,"maxStreams":64,"window":1000}'): Bench {
  const bench = new Bench({ role: 'gateway', v1: true });
  bench.receive(frame('X', 0, settings));
  bench.mux.openStream(22, (events) => bench.openLocal(22, events));
  bench.link.sent();
  return bench;
}

function text(words: string): string {
  return Buffer.from(words).toString('hex');
}

t.test('an agent that was offered v1 sends X first, once', async (t) => {
  const bench = new Bench({ v1: true });
  t.same(bench.sent(), [X]);
  t.ok(bench.mux.stats().v1);
  bench.receive(open(1));
  t.same(bench.sent(), []);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('A answers every open of a v1 stream', async (t) => {
  const bench = agent();
  for (let id = 1; id <= 4; id += 1) bench.receive(open(id, 20 + id));
  const [ok, refused, timeout, forbidden] = bench.locals;
  ok?.events.opened();
  refused?.events.failed('refused', 'a');
  timeout?.events.failed('timeout', 'b');
  forbidden?.events.failed('not-allowed', 'c');
  t.same(bench.sent(), ['A 1 0000', 'A 2 000161', 'A 3 000262', 'A 4 000363']);
  t.equal(bench.mux.stats().streams, 1);
  for (let id = 5; id <= 67; id += 1) bench.receive(open(id));
  t.same(bench.sent(), []);
  bench.receive(open(68));
  t.same(bench.sent(), [`A 68 0004${text('64 streams are open')}`]);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('on a v1 session a stream whose N has not exactly 6 bytes is a legacy stream', async (t) => {
  const bench = agent();
  bench.receive(frame('N', 1, u16(22)), frame('N', 2, Buffer.concat([u16(22), u32(9), hex('00')])));
  bench.receive(frame('F', 1), frame('W', 1, u32(1)), frame('R', 2, u16(0)), frame('D', 1, Buffer.alloc(20_000)));
  t.equal(bench.mux.stats().ignoredFrames, 3, 'F, W and R do not exist on them');
  t.equal(bench.local.ended, false);
  for (const local of bench.locals) local.events.opened();
  bench.serve(bench.locals[0]!, Buffer.alloc(10_000));
  bench.locals[1]!.events.failed('refused', '');
  const frames = bench.link.sent();
  t.ok(frames.every(({ payload }) => payload.length <= 4096));
  t.same(frames.at(-1), { type: 'C', id: 2, payload: Buffer.alloc(0) });
  bench.locals[0]?.takeAll();
  t.same(bench.sent(), [], 'and no credit is returned');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

// Credit ---------------------------------------------------------------------------------------------------------------

t.test('an agent sends as much as N granted, in D of at most 16 KiB, and goes on with W', async (t) => {
  const bench = agent();
  bench.receive(open(1, 22, 40_000));
  bench.serve(bench.local, Buffer.alloc(50_000));
  t.same(bench.sent(), ['D 1 16384 bytes', 'D 1 16384 bytes', 'D 1 7232 bytes']);
  bench.receive(frame('W', 1, u32(0)));
  t.same(bench.sent(), []);
  bench.receive(hex('57 00000001 00000004 00000064'));
  t.same(bench.sent(), ['D 1 100 bytes']);
  bench.receive(frame('W', 1, u32(1_000_000)));
  t.same(bench.sent(), ['D 1 9900 bytes']);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a stream without credit keeps at most one read beyond its bound, and its service waits', async (t) => {
  const bench = agent();
  bench.receive(open(1, 22, 0));
  bench.serve(bench.local, Buffer.alloc(262_144));
  t.ok(bench.local.paused);
  t.same(bench.sent(), []);
  bench.receive(frame('W', 1, u32(131_072)));
  t.equal(bench.sent().length, 8);
  t.notOk(bench.local.paused, 'half is left');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('credit is returned once the service has taken the bytes, at half a window', async (t) => {
  const bench = agent({ window: 1000 });
  bench.receive(
    open(1),
    frame('D', 1, Buffer.alloc(499)),
    frame('D', 1, Buffer.alloc(1)),
    frame('D', 1, Buffer.alloc(500)),
  );
  t.same(bench.sent(), [], 'none while they only wait');
  bench.local.takeOne();
  t.same(bench.sent(), []);
  bench.local.takeOne();
  t.same(bench.sent(), ['W 1 000001f4']);
  bench.receive(frame('D', 1, Buffer.alloc(500)));
  bench.local.takeAll();
  t.same(bench.sent(), ['W 1 000001f4', 'W 1 000001f4']);
  t.same(bench.ends, []);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a window of single bytes is given to the service in few writes', async (t) => {
  const bench = agent({ window: 20_000 });
  bench.receive(open(1));
  for (let index = 0; index < 10_000; index += 1) bench.receive(frame('D', 1, Buffer.from([index & 0xff])));
  t.equal(bench.local.writes, 64);
  bench.local.takeAll();
  t.ok(bench.local.writes < 70, 'what had to wait was joined');
  t.ok(bench.local.bytes.length === 10_000 && bench.local.bytes.every((byte, index) => byte === (index & 0xff)));
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('overspent credit is a reset of that stream alone', async (t) => {
  const bench = agent({ window: 1000 });
  bench.receive(open(1), open(2), frame('D', 1, Buffer.alloc(1000)), frame('D', 1, 'x'), frame('D', 2, 'alive'));
  t.same(bench.sent(), [`R 1 0002${text('D of 1 bytes, 0 bytes of credit are left')}`]);
  t.ok(bench.locals[0]?.destroyed);
  bench.local.takeAll();
  t.equal(bench.local.bytes.toString(), 'alive');
  t.match(bench.notes, [{ code: 'stream.reset' }]);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a D over 16 KiB is a reset when its header is read, and its bytes go nowhere', async (t) => {
  const bench = agent();
  bench.receive(open(1), frame('D', 1, Buffer.alloc(16_384)), hex('44 00000001 00004001'));
  t.same(bench.sent(), [`R 1 0004${text('D of 16385 bytes, at most 16384 are allowed')}`]);
  bench.receive(Buffer.alloc(16_385), open(2), frame('D', 2, 'alive'));
  bench.local.takeAll();
  t.equal(bench.local.bytes.toString(), 'alive');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('trap: window overflow is a reset', async (t) => {
  const bench = agent();
  bench.receive(open(1, 22, 0xffffffff), frame('W', 1, u32(1)));
  t.match(bench.sent(), [/^R 1 0003/]);
  bench.receive(open(2, 22, 0), frame('W', 2, u32(0xffffffff)), frame('W', 2, u32(1)));
  t.match(bench.sent(), [/^R 2 0003/]);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a W that is not 4 bytes long is a reset', async (t) => {
  const bench = agent();
  bench.receive(open(1), frame('W', 1, hex('000001')));
  t.match(bench.sent(), [/^R 1 0001/]);
});

t.test('empty D cost no credit, so they have a budget', async (t) => {
  const bench = agent();
  const empty = (count: number) => Array.from({ length: count }, () => frame('D', 1));
  bench.receive(open(1), ...empty(1000), frame('D', 1, 'x'), ...empty(1000));
  t.same(bench.sent(), []);
  bench.receive(frame('D', 1));
  t.match(bench.sent(), [/^R 1 0001/]);
});

t.test('trap: credit is not lost when a stream is reset', async (t) => {
  const bench = agent({ window: 1000 });
  // Bytes of a stream that was reset are done only later; neither they nor their credit may touch its successor.
  bench.receive(open(1), frame('D', 1, Buffer.alloc(1000)), frame('R', 1, u16(0)));
  const [reset] = bench.locals;
  t.ok(reset?.destroyed);
  bench.receive(open(1), frame('D', 1, Buffer.alloc(1000)));
  reset?.takeAll();
  t.same(bench.sent(), []);
  bench.local.takeAll();
  t.same(bench.sent(), ['W 1 000003e8']);
  t.equal(bench.mux.stats().incomingBytes, 0);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('trap: no credit is owed after F or C', async (t) => {
  const bench = agent({ window: 1000 });
  bench.receive(open(1), frame('D', 1, Buffer.alloc(1000)), frame('F', 1));
  bench.receive(open(2), frame('D', 2, Buffer.alloc(1000)), frame('C', 2));
  for (const local of bench.locals) local.takeAll();
  t.same(bench.sent(), []);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a v1 stream never stops the session from being read, however slow its service is', async (t) => {
  const bench = new Bench({ v1: true, limits: { streamQueueBytes: 1_000, sessionQueueBytes: 1_000 } });
  bench.receive(open(1));
  for (let sent = 0; sent < 16; sent += 1) bench.receive(frame('D', 1, Buffer.alloc(16_384)));
  bench.clock.advance(9_000);
  t.notOk(bench.link.paused);
  t.notOk(bench.local.destroyed, 'it may wait as long as it wants: its credit bounds it');
  t.equal(bench.mux.stats().incomingBytes, WINDOW);
});

// Ends of a stream -----------------------------------------------------------------------------------------------------

t.test('F ends one direction, the other goes on; after both no C is needed', async (t) => {
  const bench = agent();
  bench.receive(open(1), frame('D', 1, 'request'), frame('F', 1), frame('F', 1));
  bench.local.events.opened();
  bench.local.takeAll();
  t.equal(bench.local.bytes.toString(), 'request');
  t.ok(bench.local.ended);
  bench.serve(bench.local, 'answer');
  bench.local.events.ended();
  t.same(bench.sent(), ['A 1 0000', `D 1 ${text('answer')}`, 'F 1']);
  t.equal(bench.mux.stats().streams, 0);
  bench.local.events.closed(null);
  t.same(bench.sent(), []);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a service that ends first still gets what comes, and its credit is returned', async (t) => {
  const bench = agent({ window: 1000 });
  bench.receive(open(1));
  bench.local.events.ended();
  t.same(bench.sent(), ['F 1']);
  bench.receive(frame('D', 1, Buffer.alloc(600)));
  bench.local.takeAll();
  t.same(bench.sent(), ['W 1 00000258']);
  bench.receive(frame('F', 1));
  t.ok(bench.local.ended);
  bench.local.events.closed(null);
  t.same(bench.sent(), []);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('F and C queue behind the data of their own stream', async (t) => {
  const bench = agent();
  bench.receive(open(1, 22, 10), open(2, 22, 10));
  const [one, two] = bench.locals;
  bench.serve(one!, Buffer.alloc(20, 'a'));
  one?.events.ended();
  bench.serve(two!, Buffer.alloc(20, 'b'));
  two?.events.closed(null);
  t.same(bench.sent(), [`D 1 ${'61'.repeat(10)}`, `D 2 ${'62'.repeat(10)}`]);
  bench.receive(frame('W', 2, u32(10)), frame('W', 1, u32(10)));
  t.same(bench.sent(), [`D 2 ${'62'.repeat(10)}`, `D 1 ${'61'.repeat(10)}`, 'C 2', 'F 1']);
});

t.test('the error of a service is R behind the data that it did send', async (t) => {
  const bench = agent();
  bench.receive(open(1));
  bench.serve(bench.local, 'half');
  bench.local.events.closed(new Error('read ECONNRESET'));
  t.same(bench.sent(), [`D 1 ${text('half')}`, `R 1 0006${text('read ECONNRESET')}`]);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a failed write resets the stream on both sides', async (t) => {
  const bench = agent();
  bench.receive(open(1), frame('D', 1, 'x'));
  bench.local.events.opened();
  bench.local.events.ended();
  bench.local.events.closed(new Error('write EPIPE'));
  t.same(bench.sent(), ['A 1 0000', 'F 1', `R 1 0006${text('write EPIPE')}`]);
  t.equal(bench.mux.stats().streams, 0);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('R of the peer drops what is queued on both ways and closes the service at once', async (t) => {
  const bench = agent();
  bench.receive(open(1, 22, 0), frame('D', 1, 'never written'));
  bench.serve(bench.local, 'never sent');
  bench.receive(frame('R', 1, Buffer.concat([u16(2), Buffer.from('too\nmuch')])), frame('W', 1, u32(100)));
  t.ok(bench.local.destroyed);
  t.same(bench.sent(), []);
  t.match(bench.notes, [
    { code: 'stream.reset', sentence: 'the peer reset stream 1 to port 22: creditOverspent (too much)' },
  ]);
  t.equal(bench.mux.stats().ignoredFrames, 1);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('an R without a code is a reset all the same', async (t) => {
  const bench = agent();
  bench.receive(open(1), frame('R', 1));
  t.ok(bench.local.destroyed);
});

t.test('D after F is a reset', async (t) => {
  const bench = agent();
  bench.receive(open(1), frame('F', 1), frame('D', 1, 'x'));
  t.match(bench.sent(), [/^R 1 0005/]);
});

// Order and budgets ----------------------------------------------------------------------------------------------------

t.test('trap: a ping does not wait behind data', async (t) => {
  const bench = agent();
  bench.receive(open(1, 22, 10_000_000), open(2, 22, 10_000_000));
  bench.serve(bench.locals[0]!, Buffer.alloc(300_000));
  bench.serve(bench.locals[1]!, Buffer.alloc(300_000));
  const given = bench.link.queuedBytes;
  bench.receive(frame('P', 0, hex('1122334455667788')));
  bench.clock.advance(1);
  const frames = bench.link.sent();
  const place = frames.findIndex(({ type }) => type === 'p');
  t.same(frames[place]?.payload, hex('1122334455667788'));
  const before = frames.slice(0, place).reduce((sum, { payload }) => sum + payload.length, 0);
  t.ok(before <= given && before < 256 * 1024, 'only what the link already held goes before it');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a small message waits for no more than one frame of each other stream', async (t) => {
  const bench = agent();
  for (let id = 1; id <= 4; id += 1) bench.receive(open(id, 22, 10_000_000));
  for (const local of bench.locals.slice(0, 3)) bench.serve(local, Buffer.alloc(250_000));
  const given = bench.link.queuedBytes;
  bench.serve(bench.locals[3]!, 'key');
  const frames = bench.link.sent();
  const place = frames.findIndex(({ id }) => id === 4);
  const before = frames.slice(0, place).reduce((sum, { payload }) => sum + payload.length, 0);
  t.ok(before <= given + 3 * 16_384);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('trap: rapid resets stop being served, the session goes on', async (t) => {
  const bench = agent();
  for (let id = 1; id <= 1000; id += 1) bench.receive(open(id), frame('R', id, u16(0)));
  t.equal(bench.locals.length, 64);
  t.same(bench.ends, []);
  t.equal(bench.sent().length, 1000 - 64);
  bench.clock.advance(1_000);
  bench.receive(open(2000));
  t.equal(bench.locals.length, 65);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a peer that asks for answers and reads none fills the control queue, which ends the session', async (t) => {
  const bench = agent();
  const pings = Array.from({ length: 500 }, () => frame('P', 0, Buffer.alloc(8)));
  bench.receive(...pings, ...pings, ...pings);
  t.same(bench.ends, [], 'one big burst is answered while the link takes it');
  for (let round = 0; round < 100 && bench.ends.length === 0; round += 1) bench.receive(...pings);
  t.match(bench.ends, [{ code: 'session.protocol-error', message: /reads none of the answers/ }]);
  t.ok(bench.link.destroyed);
  t.ok(bench.link.queuedBytes < 300_000);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a malformed P ends the session', async (t) => {
  const bench = agent();
  bench.receive(frame('P', 0, 'short'), open(1));
  t.match(bench.ends, [{ code: 'session.protocol-error' }]);
  t.equal(bench.locals.length, 0, 'nothing more is read, not even from the same chunk');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

// Keepalive ------------------------------------------------------------------------------------------------------------

t.test('after 10 s of silence one ping, and 15 s later the peer is dead', async (t) => {
  const bench = agent();
  bench.clock.advance(9_999);
  t.same(bench.sent(), []);
  bench.clock.advance(1);
  t.same(bench.sent(), ['P 0 0000000000000001']);
  bench.receive(frame('p', 0, hex('0000000000000001')));
  t.same(bench.sent(), [], 'an answer has no answer');
  bench.clock.advance(10_000);
  t.same(bench.sent(), ['P 0 0000000000000002']);
  bench.clock.advance(14_999);
  t.same(bench.sent(), [], 'one outstanding');
  t.same(bench.ends, []);
  bench.clock.advance(1);
  t.match(bench.ends, [{ code: 'session.peer-dead', message: /25 s/ }]);
  t.ok(bench.link.destroyed);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('any received byte answers a ping, half a header too', async (t) => {
  const bench = agent();
  bench.clock.advance(24_999);
  bench.receive(hex('44'));
  t.equal(bench.sent().length, 1);
  bench.clock.advance(9_999);
  t.same(bench.sent(), []);
  bench.clock.advance(1);
  t.equal(bench.sent().length, 1, 'silence is counted anew');
  bench.clock.advance(15_000);
  t.equal(bench.ends.length, 1);
});

t.test('while bytes come no ping is sent', async (t) => {
  const bench = agent();
  for (let second = 0; second < 100; second += 1) {
    bench.clock.advance(1_000);
    bench.receive(frame('D', 99));
  }
  t.same(bench.sent(), []);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('silence of our own making is not held against the peer', async (t) => {
  const bench = new Bench({ v1: true, limits: { streamQueueBytes: 100_000 } });
  bench.receive(frame('N', 1, u16(22)));
  for (let sent = 0; sent < 50; sent += 1) bench.receive(frame('D', 1, Buffer.alloc(2_500)));
  t.ok(bench.link.paused);
  bench.link.sent();
  for (let second = 0; second < 30; second += 1) {
    bench.clock.advance(1_000);
    if (second < 29) bench.local.takeOne();
    if (bench.link.paused === false) break;
  }
  t.same(bench.ends, []);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

// The gateway's side ---------------------------------------------------------------------------------------------------

t.test('a gateway uses v1 only once it has read X', async (t) => {
  const bench = new Bench({ role: 'gateway', v1: true });
  bench.clock.advance(60_000);
  bench.receive(frame('P', 0, Buffer.alloc(8)));
  bench.mux.openStream(22, (events) => bench.openLocal(22, events));
  t.same(bench.sent(), ['N 1 0016']);
  bench.receive(frame('X', 0, '{"v":1,"maxStreams":2,"window":70000}'));
  t.equal(
    bench.mux.openStream(5000, (events) => bench.openLocal(5000, events)),
    2,
  );
  t.equal(
    bench.mux.openStream(5000, (events) => bench.openLocal(5000, events)),
    null,
    "the agent's maximum",
  );
  t.same(bench.sent(), ['N 2 138800040000']);
  bench.receive(frame('P', 0, Buffer.alloc(8)));
  t.same(bench.sent(), ['p 0 0000000000000000']);
  bench.clock.advance(10_000);
  t.same(bench.sent(), ['P 0 0000000000000001']);
  bench.serve(bench.local, Buffer.alloc(100_000));
  t.equal(
    bench.link.sent().reduce((sum, { payload }) => sum + payload.length, 0),
    70_000,
    'first credit is that of X',
  );
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a malformed X, or a second one, ends the session; where v1 was not offered X is an unknown type', async (t) => {
  const bad = new Bench({ role: 'gateway', v1: true });
  bad.receive(frame('X', 0, '{"v":1}'));
  t.match(bad.ends, [{ code: 'session.protocol-error', message: /malformed X/ }]);
  const twice = gateway();
  twice.receive(frame('X', 0, '{"v":1,"maxStreams":64,"window":1000}'));
  t.match(twice.ends, [{ code: 'session.protocol-error', message: /second X/ }]);
  const legacy = new Bench({ role: 'gateway', v1: false });
  legacy.receive(frame('X', 0, 'x'));
  t.same(legacy.ends, []);
  t.equal(legacy.mux.stats().unknownFrames, 1);
  for (const bench of [bad, twice, legacy]) t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a gateway learns from A what became of its open', async (t) => {
  const ok = gateway();
  ok.receive(frame('A', 1, u16(0)), frame('A', 1, u16(1)));
  t.notOk(ok.local.destroyed, 'a second A means nothing');
  t.equal(ok.mux.stats().ignoredFrames, 1);

  for (const [code, note] of [
    [1, 'target.refused'],
    [2, 'target.timeout'],
    [3, 'target.not-allowed'],
    [4, 'stream.limit'],
    [99, 'target.refused'],
  ] as const) {
    const bench = gateway();
    bench.local.events.opened(); // the client's connection stood before; that answers nothing
    bench.receive(frame('A', 1, Buffer.concat([u16(code), Buffer.from('why')])));
    t.ok(bench.local.destroyed);
    t.match(bench.notes, [{ code: note, sentence: /why/ }]);
    t.equal(bench.mux.stats().streams, 0);
    t.same(bench.leftovers(), NOTHING_LEFT);
  }
});
