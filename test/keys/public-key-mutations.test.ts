import fc from 'fast-check';
import t from 'tap';
import { type PublicKey, parsePublicKey } from '../../src/pairing/public-key.ts';
import { Failure } from '../../src/support/failures.ts';
import {
  blobOf,
  encodedLine,
  field,
  fieldsOf,
  fingerprintsBySshKeygen,
  generateKey,
  keyLine,
} from './support/ssh-keys.ts';

const folder = t.testdir();
const ed25519 = generateKey(folder, 'ed25519').publicLine;
const ecdsa = generateKey(folder, 'ecdsa', 256).publicLine;
const lines = [
  ed25519,
  ecdsa,
  generateKey(folder, 'ecdsa', 384).publicLine,
  generateKey(folder, 'ecdsa', 521).publicLine,
  generateKey(folder, 'rsa', 2048).publicLine,
  keyLine('sk-ssh-ed25519@openssh.com', [...fieldsOf(blobOf(ed25519)).slice(1), 'ssh:']),
  keyLine('sk-ecdsa-sha2-nistp256@openssh.com', [...fieldsOf(blobOf(ecdsa)).slice(1), 'ssh:']),
];
const someLine = fc.constantFrom(...lines);

/** The line with a piece of its text cut out and another put in its place. */
const changedText = fc
  .tuple(someLine, fc.nat(), fc.nat(3), fc.string({ unit: 'binary', maxLength: 3 }))
  .map(([line, at, cut, insert]) => {
    const start = at % (line.length + 1);
    return line.slice(0, start) + insert + line.slice(start + cut);
  });

/** The line with one bit of its blob turned over. */
const changedBit = fc.tuple(someLine, fc.nat(), fc.nat(7)).map(([line, at, bit]) => {
  const blob = blobOf(line);
  const index = at % blob.length;
  blob[index] = (blob[index] ?? 0) ^ (1 << bit);
  return encodedLine(line.split(' ')[0] ?? '', blob);
});

/** The line with one field of its blob dropped, doubled, or replaced by other bytes. */
const changedFields = fc
  .tuple(someLine, fc.nat(), fc.constantFrom('drop', 'double', 'replace'), fc.uint8Array({ maxLength: 300 }))
  .map(([line, at, change, bytes]) => {
    const fields = fieldsOf(blobOf(line));
    const index = at % fields.length;
    const old = fields[index] ?? Buffer.alloc(0);
    const pieces = { drop: [], double: [old, old], replace: [Buffer.from(bytes)] };
    fields.splice(index, 1, ...pieces[change as keyof typeof pieces]);
    return encodedLine(line.split(' ')[0] ?? '', Buffer.concat(fields.map(field)));
  });

const anyText = fc.string({ unit: 'binary', maxLength: 200 });

t.test('whatever is changed in a key, it is refused, or ssh-keygen accepts it with the same fingerprint', async (t) => {
  const accepted: PublicKey[] = [];
  let refused = 0;
  const property = fc.property(fc.oneof(changedText, changedBit, changedFields, anyText), (text) => {
    try {
      accepted.push(parsePublicKey(text));
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== 'key.invalid') throw error;
      refused += 1;
    }
  });
  fc.assert(property, { numRuns: 6000 });
  t.ok(accepted.length > 100, `${accepted.length} accepted`);
  t.ok(refused > 1000, `${refused} refused`);

  const told = fingerprintsBySshKeygen(
    folder,
    accepted.map((key) => key.line),
  );
  t.same(
    told,
    accepted.map((key) => ({ bits: key.bits, hash: key.fingerprint })),
  );
});

t.test('what was accepted is canonical: parsed again, it is the same', async (t) => {
  const property = fc.property(changedText, (text) => {
    let key: PublicKey;
    try {
      key = parsePublicKey(text);
    } catch {
      fc.pre(false);
      return;
    }
    if (!sameKey(parsePublicKey(key.line), key)) throw new Error(`not the same again: ${key.line}`);
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 200, maxSkipsPerRun: 200 }));
});

function sameKey(one: PublicKey, other: PublicKey): boolean {
  return one.line === other.line && one.comment === other.comment && one.blob.equals(other.blob);
}
