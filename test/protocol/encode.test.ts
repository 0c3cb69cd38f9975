import t from 'tap';
import {
  encodeAnswer,
  encodeClose,
  encodeCredit,
  encodeEnd,
  encodeGoingAway,
  encodeHeader,
  encodeOpen,
  encodePing,
  encodeReset,
  encodeSettings,
} from '../../src/protocol/encode.ts';
import { OPEN_RESULT, RESET, TYPE } from '../../src/protocol/types.ts';
import { hex } from './helpers.ts';

t.test('every frame has the bytes of the reference, written here by hand', async (t) => {
  const vectors: [string, Buffer, string][] = [
    ['D header', encodeHeader(TYPE.D, 0x04030201, 0x1000), '44 04030201 00001000'],
    ['N, legacy', encodeOpen(1, 22, null), '4e 00000001 00000002 0016'],
    ['N, v1', encodeOpen(300_001, 5900, 262_144), '4e 000493e1 00000006 170c 00040000'],
    ['C', encodeClose(0xfffffffe), '43 fffffffe 00000000'],
    ['F', encodeEnd(7), '46 00000007 00000000'],
    ['W', encodeCredit(7, 131_072), '57 00000007 00000004 00020000'],
    ['A ok', encodeAnswer(7, OPEN_RESULT.ok, ''), '41 00000007 00000002 0000'],
    ['A refused', encodeAnswer(7, OPEN_RESULT.refused, 'no'), '41 00000007 00000004 0001 6e6f'],
    ['R', encodeReset(9, RESET.creditOverspent, 'x'), '52 00000009 00000003 0002 78'],
    ['G', encodeGoingAway(5, 60, 'shutdown'), '47 00000000 0000000c 0005 003c 73687574646f776e'],
    ['P', encodePing(TYPE.P, hex('0102030405060708')), '50 00000000 00000008 0102030405060708'],
    ['p', encodePing(TYPE.p, hex('0102030405060708')), '70 00000000 00000008 0102030405060708'],
  ];
  for (const [name, bytes, expected] of vectors) t.equal(bytes.toString('hex'), hex(expected).toString('hex'), name);

  const settings = encodeSettings({ maxStreams: 64, window: 262_144 });
  t.equal(settings.subarray(0, 9).toString('hex'), hex('58 00000000 00000027').toString('hex'), 'X header');
  t.equal(settings.toString('utf8', 9), '{"v":1,"maxStreams":64,"window":262144}', 'X payload');
});

t.test('the codes are those of the reference', async (t) => {
  t.same(OPEN_RESULT, { ok: 0, refused: 1, timeout: 2, 'not-allowed': 3, limit: 4 });
  t.same(Object.values(RESET), [0, 1, 2, 3, 4, 5, 6]);
});

t.test('a text over 256 bytes is cut between characters', async (t) => {
  const frame = encodeAnswer(1, OPEN_RESULT.refused, `${'a'.repeat(255)}é`);
  t.equal(frame.readUInt32BE(5), 2 + 255);
  t.equal(frame.toString('utf8', 11), 'a'.repeat(255));
});
