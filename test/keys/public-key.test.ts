import { execFileSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
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

const ed25519 = generateKey(folder, 'ed25519');
const ecdsa256 = generateKey(folder, 'ecdsa', 256);
const rsa2048 = generateKey(folder, 'rsa', 2048);
const ed25519Point = fieldsOf(blobOf(ed25519.publicLine))[1] as Buffer;
const ecPoint = fieldsOf(blobOf(ecdsa256.publicLine))[2] as Buffer;
const [, rsaExponent, rsaModulus] = fieldsOf(blobOf(rsa2048.publicLine)) as [Buffer, Buffer, Buffer];

const skEd25519 = keyLine('sk-ssh-ed25519@openssh.com', [ed25519Point, 'ssh:'], 'token@test');
const skEcdsa = keyLine('sk-ecdsa-sha2-nistp256@openssh.com', ['nistp256', ecPoint, 'ssh:'], 'token@test');

const accepted: Record<string, string> = {
  ed25519: ed25519.publicLine,
  'ecdsa nistp256': ecdsa256.publicLine,
  'ecdsa nistp384': generateKey(folder, 'ecdsa', 384).publicLine,
  'ecdsa nistp521': generateKey(folder, 'ecdsa', 521).publicLine,
  'rsa 2048': rsa2048.publicLine,
  'rsa 4096': generateKey(folder, 'rsa', 4096).publicLine,
  'sk-ssh-ed25519': skEd25519,
  'sk-ecdsa': skEcdsa,
};

for (const [name, line] of Object.entries(accepted)) {
  t.test(`${name}: accepted, and ssh-keygen agrees on size and fingerprint`, async (t) => {
    const key = parsePublicKey(line);
    t.equal(key.line, line, 'what ssh-keygen wrote is already canonical');
    t.same([key.type, key.blob.toString('base64'), key.comment], line.split(' '));
    t.same(fingerprintsBySshKeygen(folder, [key.line]), [{ bits: key.bits, hash: key.fingerprint }]);
  });
}

t.test('white space around the line is trimmed, spaces between the parts become one', async (t) => {
  const [type, base64] = ed25519.publicLine.split(' ');
  for (const text of [` \t${type} ${base64} me\n`, `${type}   ${base64}  me  `, `\r\n${type} ${base64} me\r\n\r\n`]) {
    t.equal(parsePublicKey(text).line, `${type} ${base64} me`);
  }
  t.equal(parsePublicKey(`${type} ${base64}`).line, `${type} ${base64}`, 'a comment is not needed');
});

t.test('a comment may hold words, quotes and any script, up to 256 characters', async (t) => {
  const [type, base64] = ed25519.publicLine.split(' ');
  for (const comment of ['two  words', 'Jürgen "der" 家 😀', 'x'.repeat(256), '😀'.repeat(256), '#', 'ssh-rsa AAAA']) {
    const key = parsePublicKey(`${type} ${base64} ${comment}`);
    t.equal(key.comment, comment);
    t.same(fingerprintsBySshKeygen(folder, [key.line]), [{ bits: 256, hash: key.fingerprint }]);
  }
});

t.test('a text of 10 MB, or one full of blanks, is refused at once', async (t) => {
  const started = performance.now();
  refused(t, 'a'.repeat(10_000_000), /longer than 16384 bytes/);
  refused(t, `${ed25519.publicLine}${' '.repeat(10_000_000)}x`, /longer than 16384 bytes/);
  refused(t, ' '.repeat(10_000_000), /empty/);
  t.ok(performance.now() - started < 2000, 'in linear time');
});

/** Texts that are no key, and the words of the sentence that tells why. */
const refusedTexts: Record<string, [text: string, why: RegExp]> = {
  nothing: ['', /empty/],
  'only blanks': [' \n\t ', /empty/],
  'only a comment': ['# a comment', /accepted key type/],
  'only a type': ['ssh-ed25519', /encoded key after the type is missing/],
  'a type that is a name of every object': ['constructor AAAA', /accepted key type/],
  'a signature algorithm for a type': [ed25519.publicLine.replace('ssh-ed25519', 'rsa-sha2-256'), /accepted key type/],
  'two keys': [`${ed25519.publicLine}\n${rsa2048.publicLine}\n`, /more than one line/],
  'a second line that is no key': [`${ed25519.publicLine}\nx`, /more than one line/],
  'a carriage return within': [ed25519.publicLine.replace(' ', ' \r'), /more than one line/],
  'a tab within': [ed25519.publicLine.replace(' ', '\t'), /U\+0009/],
  NUL: [`${ed25519.publicLine}\0`, /U\+0000/],
  escape: [`${ed25519.publicLine}\u001b[2J`, /U\+001B/],
  'vertical tab at the end': [`${ed25519.publicLine}\v`, /U\+000B/],
  delete: [`${ed25519.publicLine}\u007f`, /U\+007F/],
  'next line U+0085': [`${ed25519.publicLine}\u0085x`, /U\+0085/],
  'line separator U+2028': [`${ed25519.publicLine}\u2028x`, /U\+2028/],
  'line separator U+2028 at the end': [`${ed25519.publicLine}\u2028`, /U\+2028/],
  'paragraph separator U+2029': [`${ed25519.publicLine}\u2029x`, /U\+2029/],
  'text reversed by U+202E': [`${ed25519.publicLine}\u202ex`, /U\+202E/],
  'half a surrogate pair': [`${ed25519.publicLine}\ud800`, /U\+D800/],
  'a comment of 257 characters': [encodedLine('ssh-ed25519', blobOf(ed25519.publicLine), 'x'.repeat(257)), /256/],
  'a line of more than 16 KiB': [`${ed25519.publicLine} ${'é'.repeat(8200)}`, /longer than 16384 bytes/],
  'an option before the key': [`restrict ${ed25519.publicLine}`, /options/],
  'options in quotes before the key': [`command="rm -rf /",no-pty ${ed25519.publicLine}`, /options/],
  'a PEM public key': [
    generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    /another format/,
  ],
  'an SSH2 public key': [
    execFileSync('ssh-keygen', ['-e', '-f', `${rsa2048.path}.pub`], { encoding: 'utf8' }),
    /another format/,
  ],
  'a DSA key': [
    keyLine('ssh-dss', [
      Buffer.alloc(128, 0x71),
      Buffer.alloc(20, 0x71),
      Buffer.alloc(128, 0x51),
      Buffer.alloc(128, 0x41),
    ]),
    /DSA/,
  ],
  'a certificate': [certificateOf(ed25519.path), /certificates/],
  'base64 without its padding': [
    encodedLine('ecdsa-sha2-nistp256', blobOf(ecdsa256.publicLine), '').replace('=', ''),
    /base64/,
  ],
  'base64 with a foreign character': [ed25519.publicLine.replace('AAAA', 'AA*AA'), /base64/],
  'base64 of the URL alphabet': [encodedLine('ssh-ed25519', Buffer.alloc(51, 0xff)).replaceAll('/', '_'), /base64/],
  'base64 with padding too many': [encodedLine('ssh-ed25519', blobOf(ed25519.publicLine), '').concat('='), /base64/],
  'base64 whose last bits are not zero': [
    encodedLine('ssh-ed25519', Buffer.alloc(52), '').replace('A==', 'B=='),
    /base64/,
  ],
  'base64 cut by a form that turned + into a blank': ['ssh-ed25519 AAAAC3N zaC1lZDI1NTE5', /%2B/],
  'a blob of another type': [encodedLine('ssh-ed25519', blobOf(rsa2048.publicLine)), /not of the type ssh-ed25519/],
  'a blob without a type': [encodedLine('ssh-ed25519', Buffer.alloc(3)), /ends before its type/],
  'a length far beyond the blob': [
    encodedLine('ssh-ed25519', Buffer.concat([field('ssh-ed25519'), Buffer.alloc(4, 0xff)])),
    /ends within its ed25519 point/,
  ],
  'a blob cut short': [encodedLine('ssh-rsa', blobOf(rsa2048.publicLine).subarray(0, -1)), /ends within its modulus/],
  'one byte after the blob': [
    encodedLine('ssh-ed25519', Buffer.concat([blobOf(ed25519.publicLine), Buffer.from([0])])),
    /1 bytes follow/,
  ],
  'a whole field after the blob': [
    encodedLine('ecdsa-sha2-nistp256', Buffer.concat([blobOf(ecdsa256.publicLine), field('more')])),
    /8 bytes follow/,
  ],
  'ed25519 of 5 bytes': [keyLine('ssh-ed25519', ['short']), /5 bytes; it must have 32/],
  'ed25519 of 33 bytes': [keyLine('ssh-ed25519', [Buffer.alloc(33, 7)]), /33 bytes; it must have 32/],
  'ecdsa of another curve inside': [keyLine('ecdsa-sha2-nistp256', ['nistp384', ecPoint]), /curve inside/],
  'ecdsa off the curve': [keyLine('ecdsa-sha2-nistp256', ['nistp256', changed(ecPoint, 64)]), /not on the curve/],
  'ecdsa with all zeros': [
    keyLine('ecdsa-sha2-nistp256', ['nistp256', Buffer.from([4, ...Buffer.alloc(64)])]),
    /not on the curve/,
  ],
  'ecdsa at infinity': [keyLine('ecdsa-sha2-nistp256', ['nistp256', Buffer.from([0])]), /uncompressed point/],
  'ecdsa compressed': [
    keyLine('ecdsa-sha2-nistp256', ['nistp256', Buffer.from([2, ...ecPoint.subarray(1, 33)])]),
    /uncompressed point/,
  ],
  'ecdsa hybrid': [
    keyLine('ecdsa-sha2-nistp256', ['nistp256', Buffer.from([6, ...ecPoint.subarray(1)])]),
    /uncompressed point/,
  ],
  'rsa of 1024 bits': [generateKey(folder, 'rsa', 1024).publicLine, /1024 bits/],
  'rsa of 2047 bits': [keyLine('ssh-rsa', [rsaExponent, Buffer.from([0x7f, ...Buffer.alloc(255, 0xff)])]), /2047 bits/],
  'rsa of 16392 bits': [keyLine('ssh-rsa', [rsaExponent, Buffer.from([0, ...Buffer.alloc(2049, 0xff)])]), /16392 bits/],
  'rsa with e = 1': [keyLine('ssh-rsa', [Buffer.from([1]), rsaModulus]), /exponent/],
  'rsa with e = 3': [keyLine('ssh-rsa', [Buffer.from([3]), rsaModulus]), /exponent/],
  'rsa with an even e': [keyLine('ssh-rsa', [Buffer.from([1, 0, 2]), rsaModulus]), /exponent/],
  'rsa with e of 2048 bits': [keyLine('ssh-rsa', [rsaModulus, rsaModulus]), /exponent/],
  'rsa with e absent': [keyLine('ssh-rsa', ['', rsaModulus]), /exponent is zero/],
  'rsa with e = 0': [keyLine('ssh-rsa', [Buffer.from([0]), rsaModulus]), /exponent is zero/],
  'rsa with a negative modulus': [keyLine('ssh-rsa', [rsaExponent, rsaModulus.subarray(1)]), /modulus is negative/],
  'rsa with a superfluous zero': [
    keyLine('ssh-rsa', [Buffer.from([0, ...rsaExponent]), rsaModulus]),
    /superfluous zero/,
  ],
  'rsa with an even modulus': [keyLine('ssh-rsa', [rsaExponent, changed(rsaModulus, 256)]), /even/],
  'rsa with a private exponent after it': [keyLine('ssh-rsa', [rsaExponent, rsaModulus, rsaModulus]), /bytes follow/],
  'sk-ed25519 without its application': [
    keyLine('sk-ssh-ed25519@openssh.com', [ed25519Point]),
    /ends before its application/,
  ],
  'sk-ed25519 with an empty application': [keyLine('sk-ssh-ed25519@openssh.com', [ed25519Point, '']), /application/],
  'sk-ed25519 with NUL in its application': [
    keyLine('sk-ssh-ed25519@openssh.com', [ed25519Point, 'ssh:\0']),
    /application/,
  ],
  'sk-ecdsa off the curve': [
    keyLine('sk-ecdsa-sha2-nistp256@openssh.com', ['nistp256', changed(ecPoint, 64), 'ssh:']),
    /not on the curve/,
  ],
  'sk-ecdsa with bytes after it': [
    keyLine('sk-ecdsa-sha2-nistp256@openssh.com', ['nistp256', ecPoint, 'ssh:', 'x']),
    /bytes follow/,
  ],
};

for (const [name, [text, why]] of Object.entries(refusedTexts)) {
  t.test(`refused: ${name}`, async (t) => {
    refused(t, text, why);
  });
}

t.test('a private key is recognised and nothing of it is repeated', async (t) => {
  const pem = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const privateTexts = {
    OpenSSH: ed25519.privateText,
    'OpenSSH, the body alone': ed25519.privateText.split('\n').slice(1, -2).join(''),
    'PKCS 8': pem.export({ type: 'pkcs8', format: 'pem' }).toString(),
    'PKCS 1': pem.export({ type: 'pkcs1', format: 'pem' }).toString(),
    'in one line': pem.export({ type: 'pkcs8', format: 'pem' }).toString().replaceAll('\n', ' '),
    'after a public key': `${ed25519.publicLine} ${ed25519.privateText}`,
    PuTTY: 'PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nAAAAIGZlZmVm\n',
  };
  for (const [name, text] of Object.entries(privateTexts)) {
    t.test(name, async (t) => {
      const failure = refused(t, text, /PRIVATE key/);
      const told = JSON.stringify([failure.message, failure.cause, failure.stack]);
      const secrets = text.split(/\s+/).filter((word) => word.length > 12 && !ed25519.publicLine.includes(word));
      t.ok(secrets.length > 0);
      t.notOk(secrets.some((secret) => told.includes(secret.slice(0, 12))));
    });
  }
});

t.test('a bare secret of unknown form is not repeated either', async (t) => {
  const secret = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64');
  t.notMatch(refused(t, secret, /accepted key type/).message, secret.slice(0, 8));
});

t.test('ed25519 points of small order are refused, for anybody can sign for them', async (t) => {
  const identity = Buffer.from([1, ...Buffer.alloc(31)]);
  const key = createPublicKey({
    format: 'jwk',
    key: { kty: 'OKP', crv: 'Ed25519', x: identity.toString('base64url') },
  });
  const forged = Buffer.concat([identity, Buffer.alloc(32)]);
  t.ok(verify(null, Buffer.from('any message at all'), key, forged), 'a signature made without any private key');

  const yCoordinates = [
    `00${'00'.repeat(31)}`,
    `01${'00'.repeat(31)}`,
    `ec${'ff'.repeat(30)}7f`,
    `ed${'ff'.repeat(30)}7f`,
    `ee${'ff'.repeat(30)}7f`,
    '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
    'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  ];
  for (const y of yCoordinates) {
    const point = Buffer.from(y, 'hex');
    const negated = Buffer.from(point);
    negated[31] = (negated[31] ?? 0) | 0x80;
    for (const encoding of [point, negated]) {
      refused(t, keyLine('ssh-ed25519', [encoding]), /small order/);
      refused(t, keyLine('sk-ssh-ed25519@openssh.com', [encoding, 'ssh:']), /small order/);
    }
  }
});

t.test('a refusal has the name that clients and logs know', async (t) => {
  const failure = refused(t, 'x', /./);
  t.equal(failure.code, 'key.invalid');
});

function refused(t: Test, text: string, why: RegExp): Failure {
  let key: PublicKey;
  try {
    key = parsePublicKey(text);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    t.equal(error.code, 'key.invalid');
    t.match(error.message, why);
    t.ok(error.message.length < 300, 'one sentence, not an echo');
    return error;
  }
  t.fail('accepted', { key });
  throw new Error('accepted');
}

function changed(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

function certificateOf(path: string): string {
  const authority = generateKey(folder, 'ed25519').path;
  execFileSync('ssh-keygen', ['-q', '-s', authority, '-I', 'someone', '-n', 'root', `${path}.pub`]);
  return readFileSync(`${path}-cert.pub`, 'utf8');
}
