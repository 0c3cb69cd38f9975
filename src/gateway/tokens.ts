import { randomBytes } from 'node:crypto';

const TUNNEL_TOKEN_BYTES = 32;
const HEX_BYTES = 16;
const TUNNEL_TOKEN = /^[A-Z2-7]{52}$/;

/** RFC 4648, section 6. */
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** A Meeting token of this length (bytes) is not found by guessing: 16 hex digits are 64 bits. */
const STRONG_BYTES = 16;

/** Gives that many random bytes; another one only in tests. */
export type Random = (bytes: number) => Buffer;

/** The user name of the SSH entry: 32 random bytes in 52 characters of A–Z 2–7 (wire 5.9). */
export function makeTunnelToken(random: Random = randomBytes): string {
  return base32(random(TUNNEL_TOKEN_BYTES));
}

export function isTunnelToken(text: string): boolean {
  return TUNNEL_TOKEN.test(text);
}

/** 128 random bits in 32 hex digits: a device key as deployed ones are written, which is in capitals. */
export function makeDeviceKey(random: Random = randomBytes): string {
  return random(HEX_BYTES).toString('hex').toUpperCase();
}

/** 128 random bits in 32 hex digits: a Meeting token. */
export function makeTokenCode(random: Random = randomBytes): string {
  return random(HEX_BYTES).toString('hex');
}

/** Whether a Meeting token is long enough not to be guessed. */
export function isStrong(tokenCode: string): boolean {
  return Buffer.byteLength(tokenCode) >= STRONG_BYTES;
}

/** Without padding. */
function base32(bytes: Buffer): string {
  let text = '';
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += BASE32[(held >>> (bits - 5)) & 31];
    held &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + BASE32[(held << (5 - bits)) & 31];
}
