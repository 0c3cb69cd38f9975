import t from 'tap';
import { ButtonReader, eventBytes } from '../../src/reset/input-events.ts';
import { inputEvent } from './support.ts';

const EV_SYN = 0;
const EV_KEY = 1;
const EV_REL = 2;
const SYN_DROPPED = 3;
const KEY_RESTART = 0x198;

for (const [machine, bytes, bigEndian] of [
  ['64 bits', 24, false],
  ['32 bits', 16, false],
  ['64 bits, big-endian', 24, true],
  ['32 bits, big-endian', 16, true],
] as const) {
  const event = (type: number, code: number, value: number) => inputEvent(type, code, value, { bytes, bigEndian });

  t.test(`${machine}: presses and releases are read, repeats and all else passed over`, async (t) => {
    const events = new ButtonReader(bytes, bigEndian).push(
      Buffer.concat([
        event(EV_KEY, KEY_RESTART, 1),
        event(EV_SYN, 0, 0),
        event(EV_KEY, KEY_RESTART, 2),
        event(EV_REL, KEY_RESTART, 1),
        event(EV_KEY, KEY_RESTART, 0),
        event(EV_SYN, SYN_DROPPED, 0),
      ]),
    );
    t.strictSame(events, [
      { kind: 'pressed', key: KEY_RESTART },
      { kind: 'released', key: KEY_RESTART },
      { kind: 'lost' },
    ]);
  });

  t.test(`${machine}: in pieces of any size`, async (t) => {
    const all = Buffer.concat([event(EV_KEY, 1, 1), event(EV_KEY, 1, 0), event(EV_KEY, 2, 1)]);
    for (let size = 1; size <= all.length; size += 1) {
      const reader = new ButtonReader(bytes, bigEndian);
      const events = [];
      for (let at = 0; at < all.length; at += size) events.push(...reader.push(all.subarray(at, at + size)));
      t.strictSame(
        events.map(({ kind }) => kind),
        ['pressed', 'released', 'pressed'],
      );
    }
  });
}

t.test('an event has 24 bytes for programs of 64 bits and 16 for those of 32', async (t) => {
  for (const arch of ['x64', 'arm64', 'riscv64', 'ppc64', 's390x', 'loong64'] as const) t.equal(eventBytes(arch), 24);
  for (const arch of ['arm', 'ia32', 'mips', 'mipsel'] as const) t.equal(eventBytes(arch), 16, arch);
});
