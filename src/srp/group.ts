import { randomBytes } from 'node:crypto';

/**
 * What both sides of a PIN proof agree on: SRP-6a over the 3072-bit group of RFC 5054 appendix A with SHA-512, as the
 * HomeKit Accessory Protocol has it. The wire is told in docs/pairing.md, `PIN`.
 */
export const GROUP = 'rfc5054-3072';
export const HASH = 'SHA-512';

/** The user name I of SRP: a device knows one PIN, not users. */
export const IDENTITY = Buffer.from('zeroforce');
/** A, B and the verifier are always as long as the modulus, padded with zeros at the front. */
export const NUMBER_BYTES = 384;
export const HASH_BYTES = 64;
export const SALT_BYTES = 16;
const SECRET_BYTES = 32;

/** A secret exponent a or b of 256 bits, as RFC 5054 asks for; about one with fewer the package warns on the console. */
export function randomSecret(): Buffer {
  const secret = randomBytes(SECRET_BYTES);
  secret[0] = (secret[0] ?? 0) | 0x80;
  return secret;
}

/** The package is loaded when the first proof is made: most devices never need its 3.5 MB. */
export async function loadSrp() {
  const { SRP, SrpClient, SrpServer } = await import('fast-srp-hap');
  return { SRP, SrpClient, SrpServer, params: SRP.params.hap };
}

/** The bytes of lower-case hex, or null when it is anything else or not of this length. */
export function bytesOf(hex: string, length: number): Buffer | null {
  return hex.length === 2 * length && /^[0-9a-f]*$/.test(hex) ? Buffer.from(hex, 'hex') : null;
}
