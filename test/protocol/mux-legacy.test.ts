import t from 'tap';
import { Bench, frame, hex, NOTHING_LEFT, u16, u32 } from './helpers.ts';

const SSH = u16(22);

t.test('an agent says nothing on a legacy session before it is asked', async (t) => {
  const bench = new Bench({ v1: false });
  t.same(bench.sent(), []);
  bench.clock.advance(3_600_000);
  t.same(bench.sent(), [], 'no pings either');
  t.equal(bench.clock.pending, 0);
});

t.test('N opens, D goes both ways, in the bytes of the reference', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(hex('4e 000493e1 00000002 0016'), hex('44 000493e1 00000002 6869'));
  t.equal(bench.local.port, 22);
  bench.local.takeAll();
  t.equal(bench.local.bytes.toString(), 'hi', 'written before the connection stands');
  bench.local.events.opened();
  t.same(bench.sent(), [], 'no answer to an open');
  bench.serve(bench.local, 'SSH-2.0');
  bench.link.takeAll();
  t.equal(bench.link.writes.length, 1, 'header and payload leave in one write');
  t.equal(bench.link.writes[0]?.toString('hex'), hex('44 000493e1 00000007 5353482d322e30').toString('hex'));
  bench.link.writes.length = 0;
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('bytes behind the port are ignored, six bytes of payload included', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, Buffer.concat([SSH, u32(5)])));
  bench.serve(bench.local, 'more than five bytes');
  bench.local.events.opened();
  t.same(bench.sent(), [`D 1 ${Buffer.from('more than five bytes').toString('hex')}`]);
});

t.test('N with less than a port is answered with C', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 7), frame('N', 8, hex('16')));
  t.same(bench.sent(), ['C 7', 'C 8']);
  t.equal(bench.locals.length, 0);
});

t.test('each result of an open that failed is C, and noted', async (t) => {
  for (const result of ['refused', 'timeout', 'not-allowed'] as const) {
    const bench = new Bench({ v1: false });
    bench.receive(frame('N', 3, u16(23)), frame('D', 3, 'queued meanwhile'));
    bench.local.events.failed(result, 'ECONNREFUSED');
    t.same(bench.sent(), ['C 3']);
    t.same(bench.notes, [{ code: `target.${result}`, sentence: 'stream 3 to port 23: ECONNREFUSED' }]);
    t.equal(bench.mux.stats().streams, 0);
    t.same(bench.leftovers(), NOTHING_LEFT);
  }
});

t.test('D and C for an unknown id are ignored and counted', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('D', 9, 'x'), frame('C', 9), frame('D', 0, 'y'));
  t.same(bench.sent(), []);
  t.equal(bench.mux.stats().ignoredFrames, 3);
  t.same(bench.ends, []);
});

t.test('v1 types are unknown types on a legacy session: skipped and counted', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(
    frame('N', 1, SSH),
    frame('P', 0, Buffer.alloc(8)),
    frame('F', 1),
    frame('R', 1, u16(0)),
    frame('D', 1, 'a'),
  );
  bench.local.takeAll();
  t.same(bench.sent(), []);
  t.equal(bench.mux.stats().unknownFrames, 3);
  t.equal(bench.local.bytes.toString(), 'a');
  t.notOk(bench.local.ended);
});

t.test('an empty D is legal and changes nothing', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, SSH), ...Array.from({ length: 5000 }, () => frame('D', 1)), frame('D', 1, 'a'));
  bench.local.takeAll();
  t.equal(bench.local.bytes.toString(), 'a');
  t.equal(bench.local.writes, 1);
});

t.test('the end of a service: all its data first, then C, and the service still gets what came for it', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, SSH), frame('D', 1, 'last words'));
  bench.local.events.opened();
  bench.serve(bench.local, Buffer.alloc(300_000, 'x'));
  bench.local.events.ended();
  const frames = bench.link.sent();
  t.ok(
    frames.slice(0, -1).every(({ type, payload }) => type === 'D' && payload.length <= 4096),
    'D of at most 4 KiB',
  );
  t.equal(
    frames.reduce((sum, { payload }) => sum + payload.length, 0),
    300_000,
  );
  t.same([frames.at(-1)?.type, frames.at(-1)?.id], ['C', 1]);
  bench.local.takeAll();
  t.equal(bench.local.bytes.toString(), 'last words');
  t.ok(bench.local.ended);
  t.same(bench.mux.stats(), { ...bench.mux.stats(), streams: 0, closing: 1 });
  bench.local.events.closed(null);
  t.equal(bench.mux.stats().closing, 0);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('the error of a service: all its data first, then C', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, SSH));
  bench.local.events.opened();
  bench.serve(bench.local, 'before');
  bench.local.events.closed(new Error('ECONNRESET'));
  t.same(bench.sent(), [`D 1 ${Buffer.from('before').toString('hex')}`, 'C 1']);
  t.equal(bench.mux.stats().closing, 0);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test(
  'C of the peer: what is queued is written, then the service sees the end; nothing more goes to the peer',
  async (t) => {
    const bench = new Bench({ v1: false });
    bench.receive(frame('N', 1, SSH), frame('D', 1, 'GET /'), frame('C', 1), frame('D', 1, 'too late'));
    t.ok(bench.local.ended, 'the end is queued behind the bytes');
    bench.local.takeAll();
    t.equal(bench.local.bytes.toString(), 'GET /');
    bench.serve(bench.local, 'answer');
    bench.local.events.ended();
    bench.local.events.closed(null);
    t.same(bench.sent(), []);
    t.equal(bench.mux.stats().ignoredFrames, 1);
    t.same(bench.leftovers(), NOTHING_LEFT);
  },
);

t.test('C of the peer while our C is under way, or after it: tolerated', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, SSH));
  bench.serve(bench.local, 'x');
  bench.local.events.ended();
  bench.receive(frame('C', 1));
  bench.link.takeAll();
  bench.receive(frame('C', 1));
  bench.local.events.closed(null);
  t.same(bench.ends, []);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('C of the peer, then the connection to the service fails: nothing is left and nothing is sent', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, SSH), frame('D', 1, 'x'), frame('C', 1));
  bench.local.events.failed('refused', 'ECONNREFUSED');
  t.same(bench.sent(), []);
  t.equal(bench.mux.stats().closing, 0);
  t.equal(bench.clock.pending, 0);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('after C a service that neither takes its bytes nor closes is cut off', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, SSH), frame('D', 1, 'a'), frame('D', 1, 'b'), frame('C', 1));
  bench.clock.advance(4_900);
  bench.local.takeOne();
  bench.clock.advance(4_900);
  t.notOk(bench.local.destroyed, 'it took a byte, so it gets its time again');
  bench.clock.advance(1_000);
  t.ok(bench.local.destroyed);
  t.equal(bench.mux.stats().closing, 0);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test(
  'N for a live id: the old stream gets what came for it and ends, the new one is another connection',
  async (t) => {
    const bench = new Bench({ v1: false });
    bench.receive(frame('N', 1, SSH), frame('D', 1, 'old'));
    const [old] = bench.locals;
    bench.receive(frame('N', 1, u16(5900)), frame('D', 1, 'new'));
    old?.takeAll();
    bench.local.takeAll();
    t.equal(old?.bytes.toString(), 'old');
    t.ok(old?.ended);
    t.equal(bench.local.port, 5900);
    t.equal(bench.local.bytes.toString(), 'new');
    bench.serve(old!, 'of nobody');
    old?.events.ended();
    old?.events.closed(null);
    t.same(bench.sent(), [], 'a C for the old stream would close the new one');
    bench.serve(bench.local, 'mine');
    t.same(bench.sent(), [`D 1 ${Buffer.from('mine').toString('hex')}`]);
    t.same(bench.leftovers(), NOTHING_LEFT);
  },
);

t.test('the 65th stream is answered with C; a closed one makes room at once', async (t) => {
  const bench = new Bench({ v1: false });
  for (let id = 1; id <= 64; id += 1) bench.receive(frame('N', id, SSH));
  bench.receive(frame('N', 65, SSH));
  t.same(bench.sent(), ['C 65']);
  t.match(bench.notes, [{ code: 'stream.limit', sentence: /64 streams are open/ }]);
  bench.receive(frame('C', 1), frame('N', 66, SSH));
  t.same(bench.sent(), []);
  t.equal(bench.locals.length, 65);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('opens and closes without end cannot pile up connections to services that do not let go', async (t) => {
  const bench = new Bench({ v1: false });
  for (let id = 1; id <= 2000; id += 1) bench.receive(frame('N', id, SSH), frame('C', id));
  t.equal(bench.locals.length, 256);
  t.equal(bench.sent().length, 2000 - 256);
  bench.clock.advance(6_000);
  t.ok(bench.locals.every((local) => local.destroyed));
  bench.receive(frame('N', 5000, SSH));
  t.equal(bench.locals.length, 257, 'later there is room again');
  t.ok(bench.notes.length <= 60, 'the peer cannot fill the log');
  t.ok(bench.mux.stats().suppressedNotes > 1000);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a service that sends faster than the link takes is not read from meanwhile', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, SSH));
  for (let round = 0; round < 3; round += 1) {
    bench.serve(bench.local, Buffer.alloc(200_000));
    t.notOk(bench.local.paused);
    bench.serve(bench.local, Buffer.alloc(100_000));
    t.ok(bench.local.paused);
    bench.link.takeAll();
    t.notOk(bench.local.paused);
  }
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a paused service is read again when its stream closes, or its end would never be seen', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, SSH));
  bench.serve(bench.local, Buffer.alloc(300_000));
  t.ok(bench.local.paused);
  bench.receive(frame('C', 1));
  t.notOk(bench.local.paused);
});

t.test('streams that have much to send take turns, frame by frame', async (t) => {
  const bench = new Bench({ v1: false });
  bench.receive(frame('N', 1, SSH), frame('N', 2, SSH), frame('N', 3, SSH));
  // The link is full, so that all of them wait.
  bench.serve(bench.locals[0]!, Buffer.alloc(250_000));
  bench.serve(bench.locals[1]!, Buffer.alloc(20_000));
  bench.serve(bench.locals[2]!, 'key');
  const queuedBefore = bench.link.queuedBytes;
  t.ok(
    queuedBefore >= 128 * 1024 && queuedBefore < 256 * 1024,
    'the link is never given much more than it should hold',
  );
  const order = bench.link.sent().map(({ id }) => id);
  t.ok(order.indexOf(3) <= order.indexOf(2) + 1);
  t.ok(order.indexOf(2) < order.lastIndexOf(1), 'the first does not go first as a whole');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

// Queues of legacy streams (README 3.6) -------------------------------------------------------------------------------

const SMALL = { streamQueueBytes: 400_000, sessionQueueBytes: 1_600_000 };
const CHUNK = Buffer.alloc(50_000, 'd');

t.test('a slow service over its limit pauses reading of the session until half is left', async (t) => {
  const bench = new Bench({ v1: false, limits: SMALL });
  bench.receive(frame('N', 1, SSH));
  for (let sent = 0; sent < 8; sent += 1) bench.receive(frame('D', 1, CHUNK));
  t.notOk(bench.link.paused, 'at the limit, not over it');
  bench.receive(frame('D', 1, CHUNK));
  t.ok(bench.link.paused);
  t.notOk(bench.mux.stats().reading);
  while (bench.mux.stats().incomingBytes > 200_000) {
    t.ok(bench.link.paused);
    bench.clock.advance(1_500);
    bench.local.takeOne();
  }
  t.notOk(bench.link.paused);
  t.notOk(bench.local.destroyed, 'slow, but it took bytes all the time');
  t.same(bench.notes, []);
  bench.local.takeAll();
  t.equal(bench.local.bytes.length, 450_000);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a service that takes nothing for 2 s is cut off with a note, and the others go on', async (t) => {
  const bench = new Bench({ v1: false, limits: SMALL });
  bench.receive(frame('N', 1, SSH), frame('N', 2, u16(5000)));
  const [stalled, other] = bench.locals;
  bench.serve(stalled!, 'it did say this');
  bench.link.sent();
  for (let sent = 0; sent < 9; sent += 1) bench.receive(frame('D', 1, CHUNK));
  t.ok(bench.link.paused);
  bench.clock.advance(1_900);
  t.ok(bench.link.paused);
  bench.clock.advance(600);
  t.notOk(bench.link.paused);
  t.ok(stalled?.destroyed);
  t.same(bench.sent(), ['C 1']);
  t.match(bench.notes, [{ code: 'target.stalled', sentence: /stream 1 to port 22 took nothing for 2000 ms/ }]);
  bench.receive(frame('D', 1, CHUNK), frame('D', 2, 'alive'));
  other?.takeAll();
  t.equal(other?.bytes.toString(), 'alive');
  stalled?.takeAll();
  t.equal(bench.mux.stats().incomingBytes, 0);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a service already known to take nothing costs the others no pause at all', async (t) => {
  const bench = new Bench({ v1: false, limits: SMALL });
  bench.receive(frame('N', 1, SSH));
  for (let sent = 0; sent < 8; sent += 1) {
    bench.receive(frame('D', 1, CHUNK));
    bench.clock.advance(1_000);
  }
  t.notOk(bench.link.paused);
  bench.receive(frame('D', 1, CHUNK));
  t.notOk(bench.link.paused);
  t.ok(bench.local.destroyed);
  t.same(bench.sent(), ['C 1']);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a service whose kernel still takes bytes of one large write is slow, not stalled', async (t) => {
  const bench = new Bench({ v1: false, limits: SMALL });
  bench.receive(frame('N', 1, SSH));
  let taken = 0;
  Object.assign(bench.local, { untakenBytes: () => bench.local.queuedBytes - taken });
  for (let sent = 0; sent < 9; sent += 1) bench.receive(frame('D', 1, CHUNK));
  for (let second = 0; second < 20; second += 1) {
    bench.clock.advance(1_000);
    taken += 1_000;
  }
  t.notOk(bench.local.destroyed);
  bench.clock.advance(3_000);
  t.ok(bench.local.destroyed, 'until it takes no byte any more');
});

t.test('a peer cannot make us ask the kernel about a service for each of its frames', async (t) => {
  const bench = new Bench({ v1: false, limits: SMALL });
  bench.receive(frame('N', 1, SSH));
  let asked = 0;
  Object.assign(bench.local, {
    untakenBytes: () => {
      asked += 1;
      return bench.local.queuedBytes;
    },
  });
  for (let sent = 0; sent < 9; sent += 1) bench.receive(frame('D', 1, CHUNK));
  t.ok(bench.link.paused, 'over its limit');
  const chunk = Buffer.concat(new Array<Buffer>(25_600).fill(frame('D', 1, 'x')));
  asked = 0;
  bench.receive(chunk);
  t.equal(asked, 0, 'the look at most every half second decides');
  bench.clock.advance(500);
  t.equal(asked, 1);
  bench.clock.advance(2_000);
  t.ok(bench.local.destroyed);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('all streams together over the session limit: the stalled ones go, reading goes on', async (t) => {
  const bench = new Bench({ v1: false, limits: SMALL });
  for (let id = 1; id <= 5; id += 1) bench.receive(frame('N', id, SSH));
  const total = () => bench.mux.stats().incomingBytes;
  for (let sent = 0; sent < 7; sent += 1) {
    for (let id = 1; id <= 5; id += 1) bench.receive(frame('D', id, CHUNK));
  }
  t.ok(total() > 1_600_000);
  t.ok(bench.link.paused);
  const [first] = bench.locals;
  for (let half = 0; half < 6; half += 1) {
    bench.clock.advance(500);
    first?.takeOne();
    for (const local of bench.locals) if (local.destroyed) local.takeAll();
  }
  t.notOk(bench.link.paused);
  t.same(
    bench.locals.map(({ destroyed }) => destroyed),
    [false, true, true, true, true],
  );
  first?.takeAll();
  t.equal(first?.bytes.length, 350_000);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('what waited for services that are gone no longer counts', async (t) => {
  const bench = new Bench({ v1: false, limits: SMALL });
  for (let id = 1; id <= 20; id += 1) {
    bench.receive(frame('N', id, SSH), ...Array.from({ length: 8 }, () => frame('D', id, CHUNK)));
    bench.local.events.closed(new Error('ECONNRESET'));
    bench.local.takeAll();
  }
  t.ok(bench.mux.stats().reading);
  t.same(bench.ends, []);
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('the limits of the device are those of the reference', async (t) => {
  const { DEVICE_LIMITS, GATEWAY_LIMITS } = await import('../../src/protocol/limits.ts');
  const MiB = 1024 * 1024;
  t.match(DEVICE_LIMITS, { streamQueueBytes: 4 * MiB, sessionQueueBytes: 16 * MiB, maxStreams: 64, stalledMs: 2000 });
  t.match(GATEWAY_LIMITS, { streamQueueBytes: 8 * MiB, sessionQueueBytes: 64 * MiB, maxStreams: 64, stalledMs: 2000 });
});

// The gateway's side --------------------------------------------------------------------------------------------------

t.test('a gateway opens with ids from 1, never used again, and a legacy N', async (t) => {
  const bench = new Bench({ role: 'gateway', v1: true });
  const open = () => bench.mux.openStream(22, (events) => bench.openLocal(22, events));
  t.same([open(), open()], [1, 2]);
  bench.receive(frame('C', 1));
  t.equal(open(), 3);
  t.same(bench.sent(), ['N 1 0016', 'N 2 0016', 'N 3 0016']);
  bench.receive(frame('D', 2, 'banner'), frame('N', 9, SSH));
  bench.locals[1]?.takeAll();
  t.equal(bench.locals[1]?.bytes.toString(), 'banner');
  t.equal(bench.mux.stats().unknownFrames, 1, 'N is not for an agent to send');
  t.same(bench.leftovers(), NOTHING_LEFT);
});

t.test('a gateway opens no stream over the limit', async (t) => {
  const bench = new Bench({ role: 'gateway', v1: false });
  const open = () => bench.mux.openStream(22, (events) => bench.openLocal(22, events));
  for (let id = 1; id <= 64; id += 1) t.equal(open(), id);
  t.equal(open(), null);
  t.equal(bench.locals.length, 64);
  t.same(bench.leftovers(), NOTHING_LEFT);
});
