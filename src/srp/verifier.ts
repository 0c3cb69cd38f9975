import { randomBytes } from 'node:crypto';
import { IDENTITY, loadSrp, SALT_BYTES } from './group.ts';

/** What a device keeps of a PIN: enough to check a proof, of no use to make one. */
export interface Verifier {
  /** 16 bytes. */
  salt: Buffer;
  /** g^x mod N, 384 bytes. */
  verifier: Buffer;
}

/** @param salt 16 random bytes; given by tests only */
export async function makeVerifier(pin: string, salt: Buffer = randomBytes(SALT_BYTES)): Promise<Verifier> {
  const { SRP, params } = await loadSrp();
  return { salt, verifier: SRP.computeVerifier(params, salt, IDENTITY, Buffer.from(pin)) };
}
