import { createPublicKey } from 'node:crypto';
import { Failure } from './failures.ts';
import { UNSAFE } from './text.ts';

/** A line with an OpenSSH public key that has been checked to its last byte. */
export interface KeyLine {
  /** Its name on the wire, `ssh-ed25519` for example. */
  readonly type: string;
  /** The key itself, as SSH sends it (RFC 4253 section 6.6). */
  readonly blob: Buffer;
  /** May be empty; at most 256 characters, none of them a control or a line separator. */
  readonly comment: string;
  /** Size of the modulus or of the curve. */
  readonly bits: number;
  /** `type base64 [comment]`, written anew from what was parsed; no line end. */
  readonly line: string;
}

const LINE_MAX_BYTES = 16 * 1024; // pairing: key file; far above the longest RSA key that is accepted (2.8 KB)
const COMMENT_MAX_CHARACTERS = 256; // pairing: key file
const ED25519_BITS = 256;
const RSA_MIN_BITS = 2048; // pairing: key file
const RSA_MAX_BITS = 16_384; // the longest number that OpenSSH reads
const RSA_MIN_EXPONENT = 65_537n; // a smaller one makes signatures forgeable where padding is checked carelessly
const RSA_MAX_EXPONENT = 2n ** 256n; // FIPS 186-5, A.1.1

const PRIVATE_KEY = /-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY|PuTTY-User-Key-File|^b3BlbnNzaC1rZXktdjE/;

/** What each accepted type holds after its name, checked field by field; gives the size of the key in bits. */
const FIELDS: ReadonlyMap<string, (wire: WireReader) => number> = new Map([
  ['ssh-ed25519', ed25519Fields],
  ['ecdsa-sha2-nistp256', (wire) => ecdsaFields(wire, 'nistp256')],
  ['ecdsa-sha2-nistp384', (wire) => ecdsaFields(wire, 'nistp384')],
  ['ecdsa-sha2-nistp521', (wire) => ecdsaFields(wire, 'nistp521')],
  ['sk-ssh-ed25519@openssh.com', (wire) => withApplication(wire, ed25519Fields(wire))],
  ['sk-ecdsa-sha2-nistp256@openssh.com', (wire) => withApplication(wire, ecdsaFields(wire, 'nistp256'))],
  ['ssh-rsa', rsaFields],
]);

const ACCEPTED = [...FIELDS.keys()].join(', ');

/**
 * Parses one line `type base64 [comment]`; white space around it is ignored (pairing: key file). Every type is walked to
 * its last byte here, since what reads keys elsewhere, sshd included, accepts more than can be used safely.
 *
 * @throws Failure `key.invalid`, whose sentence says what is wrong and repeats nothing of the text: it may be a
 *   private key, pasted by mistake.
 */
export function parseKeyLine(text: string): KeyLine {
  const { type, base64, comment } = splitLine(text);
  const fields = FIELDS.get(type) ?? refuseType(type, `${base64} ${comment}`);
  // Before the comment: a + that a form turned into a blank makes half of the key look like one.
  const blob = decodeBase64(base64);
  if ([...comment].length > COMMENT_MAX_CHARACTERS) {
    refuse(`the comment is longer than ${COMMENT_MAX_CHARACTERS} characters`);
  }
  const wire = new WireReader(blob);
  if (!wire.field('type').equals(Buffer.from(type))) refuse(`the encoded key is not of the type ${type} before it`);
  const bits = fields(wire);
  wire.end();
  const words = [type, blob.toString('base64'), comment];
  return { type, blob, comment, bits, line: words.filter((word) => word !== '').join(' ') };
}

/** The three parts of the line, after everything that is no such line has been refused. */
function splitLine(text: string): { type: string; base64: string; comment: string } {
  const line = trim(text);
  if (line === '') refuse('the key is empty');
  if (Buffer.byteLength(line) > LINE_MAX_BYTES) refuse(`the key is longer than ${LINE_MAX_BYTES} bytes`);
  if (PRIVATE_KEY.test(line)) {
    refuse('this is a PRIVATE key: send the public one (the .pub file), and make a new pair, for this one is exposed');
  }
  if (line.startsWith('---')) {
    refuse('this is a key file of another format; an OpenSSH line is needed: ssh-keygen -i -f FILE');
  }
  if (/[\r\n]/.test(line)) refuse('there is more than one line; exactly one key is accepted');
  const unprintable = UNSAFE.exec(line)?.[0];
  if (unprintable !== undefined) {
    const codePoint = unprintable.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
    refuse(`the key holds the character U+${codePoint}; control and line-separator characters are not accepted`);
  }
  const [type, rest] = cutWord(line);
  const [base64, comment] = cutWord(rest);
  return { type, base64, comment };
}

/** The first word, and what follows the spaces after it. */
function cutWord(text: string): [string, string] {
  const end = text.indexOf(' ');
  return end === -1 ? [text, ''] : [text.slice(0, end), trim(text.slice(end))];
}

/**
 * Takes away the white space around a line. Narrower than `String.trim`, which would hide a line separator, and
 * without a pattern, whose time grows with the square of the blanks.
 */
function trim(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0a || code === 0x0d;
}

function refuseType(type: string, rest: string): never {
  if (type.endsWith('-cert-v01@openssh.com')) refuse('certificates are not accepted; send the plain public key');
  if (type === 'ssh-dss') refuse(`DSA keys are not accepted; accepted are ${ACCEPTED}`);
  const words = rest.split(' ');
  if (words.some((word) => FIELDS.has(word))) refuse('options before the key type are not accepted');
  refuse(`the line does not begin with an accepted key type: ${ACCEPTED}`);
}

/** Only the one canonical spelling: `Buffer` itself skips foreign characters and mends the padding. */
function decodeBase64(base64: string): Buffer {
  if (base64 === '') refuse('the encoded key after the type is missing');
  const blob = Buffer.from(base64, 'base64');
  if (blob.toString('base64') !== base64) {
    refuse('the encoded key is not correct base64 (in a form, + is written %2B)');
  }
  return blob;
}

function ed25519Fields(wire: WireReader): number {
  const point = wire.field('ed25519 point');
  if (point.length !== 32) refuse(`the ed25519 key has ${point.length} bytes; it must have 32`);
  const withoutSign = Buffer.from(point);
  withoutSign[31] = (withoutSign[31] ?? 0) & 0x7f;
  if (SMALL_ORDER_POINTS.has(withoutSign.toString('hex'))) {
    refuse('the ed25519 key is a point of small order, for which anybody can make signatures');
  }
  return ED25519_BITS;
}

/** Every encoding of the eight points of small order, without the sign bit; sshd does not refuse them by itself. */
const SMALL_ORDER_POINTS: ReadonlySet<string> = new Set([
  `00${'00'.repeat(31)}`, // order 4
  `01${'00'.repeat(31)}`, // order 1
  `ec${'ff'.repeat(30)}7f`, // order 2
  `ed${'ff'.repeat(30)}7f`, // order 4, not reduced
  `ee${'ff'.repeat(30)}7f`, // order 1, not reduced
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05', // order 8
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a', // order 8
]);

const CURVES = {
  nistp256: { crv: 'P-256', bytes: 32, bits: 256 },
  nistp384: { crv: 'P-384', bytes: 48, bits: 384 },
  nistp521: { crv: 'P-521', bytes: 66, bits: 521 },
} as const;

function ecdsaFields(wire: WireReader, curve: keyof typeof CURVES): number {
  const { crv, bytes, bits } = CURVES[curve];
  if (!wire.field('curve name').equals(Buffer.from(curve))) refuse(`the curve inside the key is not ${curve}`);
  const point = wire.field('curve point');
  if (point.length !== 1 + 2 * bytes || point[0] !== 4) {
    refuse(`the key does not hold an uncompressed point of ${curve}`);
  }
  const x = point.toString('base64url', 1, 1 + bytes);
  const y = point.toString('base64url', 1 + bytes);
  try {
    createPublicKey({ format: 'jwk', key: { kty: 'EC', crv, x, y } });
  } catch (error) {
    refuse(`the point inside the key is not on the curve ${curve}`, error);
  }
  return bits;
}

/** The relying party of a key in a hardware token, `ssh:` as a rule; OpenSSH reads it as text without NUL. */
function withApplication(wire: WireReader, bits: number): number {
  const application = wire.field('application');
  if (application.length === 0 || application.includes(0)) refuse('the application inside the key is not a name');
  return bits;
}

function rsaFields(wire: WireReader): number {
  const exponent = positiveInteger(wire.field('exponent'), 'exponent');
  if (exponent % 2n === 0n || exponent < RSA_MIN_EXPONENT || exponent >= RSA_MAX_EXPONENT) {
    refuse(`the RSA exponent is not an odd number from ${RSA_MIN_EXPONENT} to 2^256`);
  }
  const modulus = positiveInteger(wire.field('modulus'), 'modulus');
  if (modulus % 2n === 0n) refuse('the RSA modulus is an even number');
  const bits = modulus.toString(2).length;
  if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS) {
    refuse(`the RSA key has ${bits} bits; accepted are ${RSA_MIN_BITS} to ${RSA_MAX_BITS}`);
  }
  return bits;
}

/** An mpint in the one canonical form of RFC 4251 section 5: no sign bit, no zero byte that could be left out. */
function positiveInteger(bytes: Buffer, name: string): bigint {
  const [first = 0, second = 0] = bytes;
  if (first >= 0x80) refuse(`the RSA ${name} is negative`);
  if (first === 0 && second < 0x80) refuse(`the RSA ${name} is zero or begins with a superfluous zero`);
  return BigInt(`0x${bytes.toString('hex')}`);
}

/** Reads the length-prefixed fields of a blob (RFC 4251 section 5, `string`). */
class WireReader {
  readonly #blob: Buffer;
  #offset = 0;

  constructor(blob: Buffer) {
    this.#blob = blob;
  }

  field(name: string): Buffer {
    const start = this.#offset + 4;
    if (start > this.#blob.length) refuse(`the encoded key ends before its ${name}`);
    const end = start + this.#blob.readUInt32BE(this.#offset);
    if (end > this.#blob.length) refuse(`the encoded key ends within its ${name}`);
    this.#offset = end;
    return this.#blob.subarray(start, end);
  }

  end(): void {
    const left = this.#blob.length - this.#offset;
    if (left > 0) refuse(`${left} bytes follow the end of the encoded key`);
  }
}

function refuse(sentence: string, cause?: unknown): never {
  throw new Failure('key.invalid', sentence, { cause });
}
