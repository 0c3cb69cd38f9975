import { createHmac } from 'node:crypto';

/** Tells this use of the session key from any later one. */
const PURPOSE = 'zeroforce setkey 1\n';

/**
 * What authorises one key, and that key alone, by a proof of the PIN.
 *
 * @param sessionKey K of SRP, 64 bytes
 * @param keyText the public key exactly as it is sent
 */
export function keyMac(sessionKey: Buffer, keyText: string): Buffer {
  return createHmac('sha512', sessionKey).update(PURPOSE).update(keyText, 'utf8').digest();
}
