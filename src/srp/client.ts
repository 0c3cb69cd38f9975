import { createHash, timingSafeEqual } from 'node:crypto';
import { bytesOf, HASH_BYTES, IDENTITY, loadSrp, NUMBER_BYTES, randomSecret } from './group.ts';
import { keyMac } from './key-mac.ts';

/** What `POST /zeroforce/pin/setkey` takes beside the session and the key; all lower-case hex. */
export interface PinProof {
  A: string;
  M1: string;
  /** Authorises this key alone. */
  mac: string;
  /** Whether the answer comes from a device that knows the PIN too. Anything malformed is not accepted. */
  accepts(M2: string): boolean;
}

const SALT_MAX_BYTES = 64;

/**
 * Proves the PIN for one challenge without telling it.
 *
 * @param challenge as the device sent it, lower-case hex
 * @param keyLine the public key exactly as it will be sent
 * @param secret a of SRP, 32 random bytes; given by tests only
 * @throws Error when the challenge is malformed, or its B is no number of the group: then the device is no device
 */
export async function prove(
  pin: string,
  challenge: { salt: string; B: string },
  keyLine: string,
  secret: Buffer = randomSecret(),
): Promise<PinProof> {
  const salt = bytesOf(challenge.salt, Math.min(challenge.salt.length >> 1, SALT_MAX_BYTES));
  const B = bytesOf(challenge.B, NUMBER_BYTES);
  if (salt === null || salt.length === 0 || B === null) throw new Error('the challenge of the device is malformed');
  const { SrpClient, params } = await loadSrp();
  const client = new SrpClient(params, salt, IDENTITY, Buffer.from(pin), secret, true);
  client.setB(B);
  const [A, M1, key] = [client.computeA(), client.computeM1(), client.computeK()];
  // Not `checkM2`, which compares texts: its time would tell how much of them is right.
  const expected = createHash('sha512').update(A).update(M1).update(key).digest();
  return {
    A: A.toString('hex'),
    M1: M1.toString('hex'),
    mac: keyMac(key, keyLine).toString('hex'),
    accepts(M2) {
      const bytes = bytesOf(M2, HASH_BYTES);
      return bytes !== null && timingSafeEqual(bytes, expected);
    },
  };
}
