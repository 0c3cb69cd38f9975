import fc from 'fast-check';
import t from 'tap';
import {
  decodeSettings,
  FrameDecoder,
  type FrameSink,
  type KnownTypes,
  knownTypes,
  UNKNOWN_RUN_MAX_BYTES,
  UNKNOWN_RUN_MAX_FRAMES,
} from '../../src/protocol/decode.ts';
import { frame, hex, u16 } from './helpers.ts';

/** Joins the slices of each D again, so that the result does not depend on the chunks. */
class Record implements FrameSink {
  readonly events: string[] = [];
  violations: string[] = [];
  largestControl = 0;
  dataBytes = 0;

  dataBegin(id: number, length: number): void {
    this.events.push(`D ${id} ${length} `);
  }
  data(slice: Buffer): void {
    this.dataBytes += slice.length;
    this.events[this.events.length - 1] += slice.toString('hex');
  }
  control(type: number, id: number, payload: Buffer): void {
    this.largestControl = Math.max(this.largestControl, payload.length);
    this.events.push(`${String.fromCharCode(type)} ${id} ${payload.toString('hex')}`);
  }
  violation(sentence: string): void {
    this.violations.push(sentence);
  }
}

function decode(chunks: Uint8Array[], known: KnownTypes = knownTypes('agent', 'v1')) {
  const record = new Record();
  const decoder = new FrameDecoder(record, known);
  for (const chunk of chunks) decoder.push(Buffer.from(chunk));
  return { record, decoder, events: record.events, violations: record.violations };
}

t.test('bytes written by hand are read as the reference says', async (t) => {
  const { events, decoder } = decode([
    hex('4e 00000001 00000002 0016'),
    hex('44 00000001 00000003 616263 43 fffffffe 00000000'),
    hex('4e 000493e1 00000006 170c 00040000'),
  ]);
  t.same(events, ['N 1 0016', 'D 1 3 616263', 'C 4294967294 ', 'N 300001 170c00040000']);
  t.notOk(decoder.insideFrame);
});

t.test('a frame may be cut at any byte', async (t) => {
  const bytes = Buffer.concat([
    frame('N', 5, u16(22)),
    frame('D', 5, 'hello'),
    frame('D', 5),
    frame('C', 5, 'ignored'),
  ]);
  const whole = decode([bytes]).events;
  t.same(whole, ['N 5 0016', 'D 5 5 68656c6c6f', 'D 5 0 ', `C 5 ${Buffer.from('ignored').toString('hex')}`]);
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    t.same(decode([bytes.subarray(0, cut), bytes.subarray(cut)]).events, whole, `cut at ${cut}`);
  }
  t.same(decode([...bytes].map((byte) => Buffer.from([byte]))).events, whole, 'byte by byte');
});

t.test('property: any chunks of any frames decode the same', async () => {
  const anyFrame = fc.oneof(
    fc.record({ type: fc.constant('D'), id: fc.nat(), payload: fc.uint8Array({ maxLength: 3000 }) }),
    fc.record({ type: fc.constantFrom(...'NCPpWFRG'), id: fc.nat(), payload: fc.uint8Array({ maxLength: 1024 }) }),
    fc.record({ type: fc.constantFrom(...'xyzA'), id: fc.nat(), payload: fc.uint8Array({ maxLength: 3000 }) }),
  );
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 20 }), fc.array(fc.nat(), { maxLength: 40 }), (frames, cuts) => {
      const bytes = Buffer.concat(frames.map(({ type, id, payload }) => frame(type, id, payload)));
      const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
      const chunks = [...places, bytes.length].map((end, index) => bytes.subarray(places[index - 1] ?? 0, end));
      const expected = frames
        .filter(({ type }) => 'DNCPpWFRG'.includes(type))
        .map(({ type, id, payload }) => {
          const length = type === 'D' ? `${payload.length} ` : '';
          return `${type} ${id} ${length}${Buffer.from(payload).toString('hex')}`;
        });
      const { events, decoder } = decode(chunks);
      return (
        JSON.stringify(events) === JSON.stringify(expected) &&
        decoder.unknownFrames === frames.length - expected.length &&
        !decoder.insideFrame
      );
    }),
    { numRuns: 300 },
  );
});

t.test('property: random bytes never throw and never hold more than one control payload', async (t) => {
  const types = fc.constantFrom(...Buffer.from('NDCPpWAXFRG?'));
  const header = fc.tuple(
    types,
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
  );
  const plausible = header.map(([type, id, length]) => Buffer.from([type, ...id, 0, 0, ...length.slice(2)]));
  const lying = header.map(([type, id, length]) => Buffer.from([type, ...id, ...length]));
  const piece = fc.oneof(plausible, lying, fc.uint8Array({ maxLength: 400 }));
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (chunks) => {
      const { record } = decode(chunks);
      const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      return record.largestControl <= 1024 && record.dataBytes <= bytes && record.violations.length <= 1;
    }),
    { numRuns: 500 },
  );
  t.pass();
});

t.test('a D of 4 GiB passes through in slices of the chunks, without memory for its claim', async (t) => {
  const record = new Record();
  const decoder = new FrameDecoder(record, knownTypes('agent', 'legacy'));
  const before = process.memoryUsage().arrayBuffers;
  decoder.push(hex('44 00000001 ffffffff'));
  const chunk = Buffer.alloc(1000, 0x61);
  const seen: Buffer[] = [];
  record.data = (slice) => {
    seen.push(slice);
  };
  decoder.push(chunk);
  t.equal(seen[0]?.buffer, chunk.buffer, 'the slice is a view of the chunk, not a copy');
  t.equal(seen[0]?.length, 1000);
  t.ok(decoder.insideFrame);
  t.ok(process.memoryUsage().arrayBuffers - before < 1024 * 1024);
});

t.test('a control frame over 1 KiB is refused when its header is read', async (t) => {
  for (const type of ['N', 'C', 'P', 'W', 'R', 'G', 'F']) {
    const { violations, events } = decode([
      Buffer.concat([frame(type, 1).subarray(0, 5), hex('00000401')]),
      hex('43 00000001 00000000'),
    ]);
    t.same(violations, [`a frame '${type}' claims 1025 bytes, more than 1024`]);
    t.same(events, [], 'and nothing is read behind it');
  }
  t.same(decode([frame('C', 1, Buffer.alloc(1024))]).violations, [], '1 KiB is allowed');
});

t.test('unknown types are skipped and counted', async (t) => {
  const { events, violations, decoder } = decode([
    frame('?', 1, Buffer.alloc(5000)),
    frame('D', 1, 'a'),
    frame('\u0000', 2),
    frame('D', 1, 'b'),
  ]);
  t.same(events, ['D 1 1 61', 'D 1 1 62']);
  t.same(violations, []);
  t.equal(decoder.unknownFrames, 2);
});

t.test('a run of unknown types ends the session, by frames or by bytes', async (t) => {
  const run = Array.from({ length: UNKNOWN_RUN_MAX_FRAMES }, () => frame('?', 1, 'abc'));
  t.same(decode([...run, frame('D', 1, 'x'), ...run]).violations, [], 'a known frame between starts a new run');
  t.match(decode([...run, frame('?', 1)]).violations[0], /frames of unknown types in a row, last '\?'/);

  const lie = hex('00 00000001 ffffffff');
  const chunk = Buffer.alloc(1024 * 1024);
  const enough = UNKNOWN_RUN_MAX_BYTES / chunk.length;
  t.same(decode([lie, ...Array.from({ length: enough }, () => chunk)]).violations, []);
  const skipped = [frame('?', 1, Buffer.alloc(UNKNOWN_RUN_MAX_BYTES)), frame('C', 1)];
  t.same(decode([...skipped, ...skipped]).violations, [], 'a known frame between starts a new run');
  t.match(
    decode([lie, ...Array.from({ length: enough + 1 }, () => chunk)]).violations[0],
    /bytes of unknown frames in a row, last 0x00/,
  );
});

t.test('each role knows the types that its peer may send at that moment, and no others', async (t) => {
  const names = (known: KnownTypes) =>
    [...known]
      .map((type) => String.fromCharCode(type))
      .sort()
      .join('');
  t.equal(names(knownTypes('agent', 'legacy')), 'CDN');
  t.equal(names(knownTypes('agent', 'v1')), 'CDFGNPRWp');
  t.equal(names(knownTypes('gateway', 'legacy')), 'CD');
  t.equal(names(knownTypes('gateway', 'offered')), 'CDX');
  t.equal(names(knownTypes('gateway', 'v1')), 'ACDFGPRWXp');
});

t.test('nothing is delivered after stop, not even from the chunk that is being read', async (t) => {
  const record = new Record();
  const decoder = new FrameDecoder(record, knownTypes('agent', 'legacy'));
  record.control = () => decoder.stop();
  decoder.push(Buffer.concat([frame('C', 1), frame('D', 2, 'x')]));
  decoder.push(frame('D', 3, 'y'));
  t.same(record.events, []);
});

t.test('X is read strictly', async (t) => {
  t.same(decodeSettings(Buffer.from('{"v":1,"maxStreams":64,"window":262144,"more":[]}')), {
    maxStreams: 64,
    window: 262_144,
  });
  for (const bad of [
    '',
    'x',
    'null',
    '[]',
    '1',
    '{}',
    '{"v":1}',
    '{"v":2,"maxStreams":1,"window":1}',
    '{"v":"1","maxStreams":1,"window":1}',
    '{"v":1,"maxStreams":0,"window":1}',
    '{"v":1,"maxStreams":1.5,"window":1}',
    '{"v":1,"maxStreams":1,"window":-1}',
    '{"v":1,"maxStreams":1,"window":4294967296}',
    '{"v":1,"maxStreams":"1","window":1}',
  ]) {
    t.equal(decodeSettings(Buffer.from(bad)), null, bad);
  }
  t.equal(decodeSettings(Buffer.concat([hex('ff'), Buffer.from('{}')])), null, 'not UTF-8');
});
