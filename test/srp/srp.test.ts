import { createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { type PinProof, prove } from '../../src/srp/client.ts';
import { bytesOf } from '../../src/srp/group.ts';
import { keyMac } from '../../src/srp/key-mac.ts';
import { type Challenge, createChallenge } from '../../src/srp/server.ts';
import { makeVerifier } from '../../src/srp/verifier.ts';

const PIN = '31415926';
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFxM8c0pV7xLNmr8Nn0sZ2JZzyW2o3X1l6Qq1hW8bQ2p addon@homeassistant';

/** The 3072-bit prime of RFC 5054 appendix A: 2^3072 - 2^3008 - 1 + 2^64 * (floor(2^2942 pi) + 1690314) (RFC 3526). */
const N = 2n ** 3072n - 2n ** 3008n - 1n + 2n ** 64n * (piTimesPowerOf2(2942n) + 1690314n);
const G = 5n;

/** floor(2^bits * pi) by Machin's formula, with 64 bits to spare. */
function piTimesPowerOf2(bits: bigint): bigint {
  const one = 1n << (bits + 64n);
  const arctanInverse = (x: bigint): bigint => {
    let sum = 0n;
    let term = one / x;
    for (let n = 1n; term !== 0n; n += 2n) {
      sum += n % 4n === 1n ? term / n : -term / n;
      term /= x * x;
    }
    return sum;
  };
  return (16n * arctanInverse(5n) - 4n * arctanInverse(239n)) >> 64n;
}

function power(base: bigint, exponent: bigint): bigint {
  let [result, square] = [1n, ((base % N) + N) % N];
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % N;
    square = (square * square) % N;
  }
  return result;
}

const number = (bytes: Buffer): bigint => BigInt(`0x${bytes.toString('hex')}`);
const bytes = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(768, '0'), 'hex');
const H = (...parts: Buffer[]): Buffer => createHash('sha512').update(Buffer.concat(parts)).digest();

/** The rules of docs/pairing.md read once more, with BigInt and not the package. */
function byTheBook({ pin, salt, a, b, key }: { pin: string; salt: Buffer; a: Buffer; b: Buffer; key: string }) {
  const x = number(H(salt, H(Buffer.from(`zeroforce:${pin}`))));
  const v = power(G, x);
  const k = number(H(bytes(N), bytes(G)));
  const A = bytes(power(G, number(a)));
  const B = bytes((k * v + power(G, number(b))) % N);
  const u = number(H(A, B));
  const S = bytes(power(number(A) * power(v, u), number(b)));
  const K = H(S);
  const [hashN, hashG] = [H(bytes(N)), H(Buffer.from([5]))];
  const mixed = Buffer.from(hashN.map((byte, index) => byte ^ (hashG[index] ?? 0)));
  const M1 = H(mixed, H(Buffer.from('zeroforce')), salt, A, B, K);
  const M2 = H(A, M1, K);
  const mac = createHmac('sha512', K).update(`zeroforce setkey 1\n${key}`).digest();
  return { v: bytes(v), A, B, K, M1, M2, mac };
}

const check = (challenge: Challenge, { A, M1 }: Pick<PinProof, 'A' | 'M1'>) =>
  challenge.check({ A: Buffer.from(A, 'hex'), M1: Buffer.from(M1, 'hex') });
const inHex = ({ salt, B }: Challenge) => ({ salt: salt.toString('hex'), B: B.toString('hex') });

t.test('the prime is the one of the RFC', async (t) => {
  t.equal(N.toString(16).slice(0, 48).toUpperCase(), 'FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD1');
  t.equal(N.toString(16).length, 768);
});

t.test('both sides agree, and with the rules computed another way', async (t) => {
  const random = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((each) => Buffer.from(each));
  await fc.assert(
    fc.asyncProperty(
      fc.stringMatching(/^[0-9]{6,16}$/),
      fc.uint8Array({ minLength: 16, maxLength: 16 }).map((each) => Buffer.from(each)),
      random.map((each) => Buffer.concat([Buffer.from([1]), each.subarray(1)])),
      random,
      async (pin, salt, a, b) => {
        const expected = byTheBook({ pin, salt, a, b, key: KEY });
        const verifier = await makeVerifier(pin, salt);
        const challenge = await createChallenge(verifier, b);
        const proof = await prove(pin, inHex(challenge), KEY, a);
        const answer = check(challenge, proof);
        t.ok(verifier.verifier.equals(expected.v), 'verifier');
        t.ok(challenge.B.equals(expected.B), 'B');
        t.equal(proof.A, expected.A.toString('hex'), 'A');
        t.equal(proof.M1, expected.M1.toString('hex'), 'M1');
        t.equal(proof.mac, expected.mac.toString('hex'), 'mac');
        t.ok(answer?.key.equals(expected.K), 'K');
        t.ok(answer?.M2.equals(expected.M2), 'M2');
        t.ok(proof.accepts(expected.M2.toString('hex')));
      },
    ),
    { numRuns: 6 },
  );
});

t.test('the worked example of the documentation is right, for both sides and by the book', async (t) => {
  const path = resolve(import.meta.dirname, '../../../docs/pin-vector.json');
  const vector = JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>;
  const { pin = '', key = '' } = vector;
  const bytesIn = (name: string) => Buffer.from(vector[name] ?? '', 'hex');
  const [salt, a, b] = [bytesIn('salt'), bytesIn('a'), bytesIn('b')];

  const { v, A, B, K, M1, M2, mac } = byTheBook({ pin, salt, a, b, key });
  const expected = Object.entries({ verifier: v, A, B, K, M1, M2, mac });
  for (const [name, value] of expected) t.equal(vector[name], value.toString('hex'), name);

  const verifier = await makeVerifier(pin, salt);
  t.equal(vector.verifier, verifier.verifier.toString('hex'));
  const challenge = await createChallenge(verifier, b);
  t.equal(vector.B, challenge.B.toString('hex'));
  const proof = await prove(pin, inHex(challenge), key, a);
  t.match(vector, { A: proof.A, M1: proof.M1, mac: proof.mac });
  const answer = check(challenge, proof);
  t.match(vector, { K: answer?.key.toString('hex'), M2: answer?.M2.toString('hex') });
  t.ok(proof.accepts(vector.M2 ?? ''));
});

t.test('another PIN, another challenge, another A and a cut M1 prove nothing', async (t) => {
  const verifier = await makeVerifier(PIN);
  const challenge = await createChallenge(verifier);
  const proof = await prove(PIN, inHex(challenge), KEY);
  t.equal(check(challenge, await prove('31415927', inHex(challenge), KEY)), null);
  t.equal(check(await createChallenge(verifier), proof), null, 'replayed');
  t.equal(check(challenge, { ...proof, A: (await prove(PIN, inHex(challenge), KEY)).A }), null);
  t.equal(check(challenge, { ...proof, M1: proof.M1.slice(2) }), null);
  t.equal(check(challenge, { ...proof, M1: '' }), null);
  t.equal(check(challenge, { ...proof, A: '' }), null);
  t.ok(check(challenge, proof));
});

t.test('an A that would make the session key known to all is refused, whatever M1 says', async (t) => {
  const verifier = await makeVerifier(PIN);
  for (const [name, A] of Object.entries({ zero: 0n, N, '2 N is too long; N + 1 is not': N + 1n })) {
    const challenge = await createChallenge(verifier);
    // With A = 0 mod N the session key is H(0): the stranger can compute the right M1 without the PIN.
    const K = H(bytes(0n));
    const [hashN, hashG] = [H(bytes(N)), H(Buffer.from([5]))];
    const mixed = Buffer.from(hashN.map((byte, index) => byte ^ (hashG[index] ?? 0)));
    const M1 = H(mixed, H(Buffer.from('zeroforce')), verifier.salt, bytes(A), challenge.B, K);
    t.equal(challenge.check({ A: bytes(A), M1 }), null, name);
  }
});

t.test('a client does not talk to a device whose B is no number of the group', async (t) => {
  const salt = '00'.repeat(16);
  for (const B of [bytes(0n).toString('hex'), bytes(N).toString('hex'), 'ab', 'AB'.repeat(384), '']) {
    await t.rejects(prove(PIN, { salt, B }, KEY), Error, B.slice(0, 8));
  }
  const B = bytes(5n).toString('hex');
  for (const bad of ['', 'x', 'abc', 'AB', 'ab'.repeat(65)]) {
    await t.rejects(prove(PIN, { salt: bad, B }, KEY), /malformed/, bad);
  }
});

t.test('the client accepts the right M2 and nothing else', async (t) => {
  const challenge = await createChallenge(await makeVerifier(PIN));
  const proof = await prove(PIN, inHex(challenge), KEY);
  const M2 = check(challenge, proof)?.M2.toString('hex') ?? '';
  t.ok(proof.accepts(M2));
  for (const wrong of ['', M2.slice(2), `${M2}00`, M2.toUpperCase(), proof.M1, 'zz'.repeat(64)]) {
    t.notOk(proof.accepts(wrong), wrong.slice(0, 8));
  }
});

t.test('the MAC is for one key and one session', async (t) => {
  const session = Buffer.alloc(64, 1);
  const mac = keyMac(session, KEY);
  t.equal(mac.length, 64);
  t.notOk(mac.equals(keyMac(session, `${KEY} `)));
  t.notOk(mac.equals(keyMac(Buffer.alloc(64, 2), KEY)));
});

t.test('hex is of its exact length and lower case', async (t) => {
  t.same(bytesOf('00ff', 2), Buffer.from([0, 255]));
  for (const bad of ['00f', '00FF', '00fg', '00ff00', '', ' 0ff', '00ff\n']) t.equal(bytesOf(bad, 2), null, bad);
});
