import { randomBytes } from 'node:crypto';
import type { Pairing } from '../../src/pairing/pairing.ts';
import type { PinRequest } from '../../src/pairing/pin-guard.ts';
import { prove } from '../../src/srp/client.ts';

type Asked = Awaited<ReturnType<Pairing['pinChallenge']>>;

/** What a client with this PIN sends for its key. */
export async function proofFor({ session, salt, B }: Asked, pin: string, key: string) {
  const { A, M1, mac, accepts } = await prove(pin, { salt: salt.toString('hex'), B: B.toString('hex') }, key);
  const bytes = (hex: string) => Buffer.from(hex, 'hex');
  const request: PinRequest = { session, A: bytes(A), M1: bytes(M1), key, mac: bytes(mac) };
  return { request, accepts: (M2: Buffer) => accepts(M2.toString('hex')) };
}

/** A guess that costs its sender nothing: well formed, and wrong. */
export function wrongProof(session: string, key: string): PinRequest {
  const A = randomBytes(384);
  A[0] = 1; // below the modulus
  return { session, A, M1: randomBytes(64), key, mac: randomBytes(64) };
}
