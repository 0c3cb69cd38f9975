import { timingSafeEqual } from 'node:crypto';
import { HASH_BYTES, IDENTITY, loadSrp, NUMBER_BYTES, randomSecret } from './group.ts';
import type { Verifier } from './verifier.ts';

/** What a client sends to prove that it knows the PIN. */
export interface Proof {
  /** 384 bytes. */
  A: Buffer;
  /** 64 bytes. */
  M1: Buffer;
}

export interface Challenge {
  readonly salt: Buffer;
  /** 384 bytes. */
  readonly B: Buffer;
  /**
   * The session key K and the device's own proof M2, both 64 bytes, or null when the proof is wrong: another PIN, another
   * challenge, or an A that is no number of the group (0 and multiples of N would make the session key known to all).
   * A challenge is for one check only: who may try twice has two guesses.
   */
  check(proof: Proof): { key: Buffer; M2: Buffer } | null;
}

/** @param secret b of SRP, 32 random bytes; given by tests only */
export async function createChallenge(
  { salt, verifier }: Verifier,
  secret: Buffer = randomSecret(),
): Promise<Challenge> {
  const { SrpServer, params } = await loadSrp();
  const server = new SrpServer(params, { username: IDENTITY, salt, verifier }, secret);
  return {
    salt,
    B: server.computeB(),
    check({ A, M1 }) {
      if (A.length !== NUMBER_BYTES || M1.length !== HASH_BYTES) return null;
      try {
        server.setA(A);
      } catch {
        return null; // A is 0, or N and above
      }
      // Not `checkM1`, which compares texts: its time would tell how much of them is right.
      if (server._M1 === undefined || !timingSafeEqual(server._M1, M1)) return null;
      return { key: server.computeK(), M2: server.computeM2() };
    },
  };
}
