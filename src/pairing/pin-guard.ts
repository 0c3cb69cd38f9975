import { timingSafeEqual } from 'node:crypto';
import { keyMac } from '../srp/key-mac.ts';
import { createChallenge, type Proof } from '../srp/server.ts';
import { makeVerifier } from '../srp/verifier.ts';
import type { Clock } from '../support/clock.ts';
import { asFailure, Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { PinChallenges } from './pin-challenges.ts';
import { PinDelays } from './pin-delays.ts';
import type { StoredPin } from './pin-file.ts';

/** Wrong proofs until the PIN is locked (pairing: state machine 6). */
export const FAILURES_MAX = 20;

/** What `POST /zeroforce/pin/setkey` brings: a proof of the PIN, and the one key that it authorises. */
export interface PinRequest extends Proof {
  readonly session: string;
  /** The public key exactly as it was sent. */
  readonly key: string;
  /** 64 bytes. */
  readonly mac: Buffer;
}

/** Where the PIN is kept; `PinFile` of this folder. */
export interface PinStore {
  read(): Promise<StoredPin | null>;
  write(pin: StoredPin): Promise<void>;
  remove(): Promise<void>;
}

export interface PinStatus {
  set: boolean;
  /** Wrong proofs left until it is locked. */
  failuresLeft: number;
  /** No proof is accepted until the PIN is set again or pairing is reset. */
  locked: boolean;
}

/**
 * Checks proofs of the PIN. Guessing is bounded three times: 20 wrong proofs lock the PIN, counted on the disk before
 * each check; a source waits longer after each; and all together get few challenges.
 *
 * `set`, `remove`, `forgive` and `check` write the file: their caller runs them one after the other.
 */
export class PinGuard {
  readonly #file: PinStore;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #challenges: PinChallenges;
  readonly #delays = new PinDelays();
  /** What the file holds; undefined before it was read, a failure when nobody can tell. */
  #pin: StoredPin | null | undefined | Failure;

  constructor({ file, clock, log }: { file: PinStore; clock: Clock; log: Log }) {
    this.#file = file;
    this.#clock = clock;
    this.#log = log;
    this.#challenges = new PinChallenges(clock);
  }

  /** Reads the file. Never rejects: what cannot be read accepts no proof. */
  async load(): Promise<void> {
    try {
      this.#pin = await this.#file.read();
    } catch (error) {
      this.#pin = asFailure(error, 'state.unreadable');
    }
  }

  /** Why no proof is accepted now, whatever the policy says; null when one is. */
  failure(): Failure | null {
    const pin = this.#usable();
    return pin instanceof Failure ? pin : null;
  }

  /** null when nobody can tell. */
  status(): PinStatus | null {
    if (this.#pin === undefined || this.#pin instanceof Failure) return null;
    const failuresLeft = Math.max(0, FAILURES_MAX - (this.#pin?.failures ?? 0));
    return { set: this.#pin !== null, failuresLeft, locked: failuresLeft === 0 };
  }

  /** Whole seconds until this source may ask or prove again; 0 when it may now. */
  waitSeconds(source: string): number {
    return Math.ceil(this.#delays.waitMs(source, this.#clock.nowMs()) / 1000);
  }

  /**
   * @param pin 6 to 16 digits
   * @throws Failure `pairing.pin-invalid`, or `state.unwritable`: then the old one stays
   */
  async set(pin: string): Promise<void> {
    if (!/^[0-9]{6,16}$/.test(pin))
      throw new Failure('pairing.pin-invalid', 'a PIN has 6 to 16 digits and nothing else');
    await this.#write({ ...(await makeVerifier(pin)), failures: 0 });
    this.#forgetClients();
  }

  /** @throws Failure `state.unwritable` */
  async remove(): Promise<void> {
    await this.#file.remove();
    this.#pin = null;
    this.#forgetClients();
  }

  /**
   * Sets the count of wrong proofs back. A file that could not be read stays: only a new PIN helps.
   * @throws Failure `state.unwritable`
   */
  async forgive(): Promise<void> {
    if (this.#pin === undefined) await this.load();
    this.#forgetClients();
    if (!this.#pin || this.#pin instanceof Failure || this.#pin.failures === 0) return;
    await this.#write({ ...this.#pin, failures: 0 });
  }

  /** @throws Failure of `failure()`, or `pairing.pin-busy` */
  async challenge(source: string): Promise<{ session: string; salt: Buffer; B: Buffer }> {
    const pin = this.#require();
    const { session, challenge } = await this.#challenges.open(source, () => createChallenge(pin));
    return { session, salt: challenge.salt, B: challenge.B };
  }

  /**
   * Checks a proof and its MAC, after it was counted: who cuts the power meanwhile has used up the guess.
   *
   * @returns M2
   * @throws Failure `pairing.pin-challenge`, `pairing.pin-wrong`, `state.unwritable`, or one of `failure()`
   */
  async check(request: PinRequest, source: string): Promise<Buffer> {
    const pin = this.#require();
    if (this.waitSeconds(source) > 0) throw new Failure('pairing.pin-busy', 'this source has to wait');
    const challenge = await this.#challenges.take(request.session);
    if (challenge === null) {
      throw new Failure('pairing.pin-challenge', 'The challenge is unknown, used or too old; ask for a new one');
    }
    await this.#write({ ...pin, failures: pin.failures + 1 });
    const answer = challenge.check(request);
    if (answer === null || !timingSafeEqual(keyMac(answer.key, request.key), request.mac)) {
      this.#delays.failed(source, this.#clock.nowMs());
      const left = FAILURES_MAX - pin.failures - 1;
      throw new Failure('pairing.pin-wrong', `The proof of the PIN is wrong; ${attempts(left)}`);
    }
    this.#delays.succeeded(source);
    await this.#countFromZero(pin);
    return answer.M2;
  }

  /** A proof that was right stays right when the count cannot be set back; it is one guess fewer then. */
  async #countFromZero(pin: StoredPin): Promise<void> {
    try {
      await this.#write({ ...pin, failures: 0 });
    } catch (error) {
      const { code, remedy, message } = asFailure(error);
      this.#log.error({ code, remedy }, `the right proof of the PIN still counts as a wrong one: ${message}`);
    }
  }

  async #write(pin: StoredPin): Promise<void> {
    await this.#file.write(pin);
    this.#pin = pin;
  }

  #require(): StoredPin {
    const pin = this.#usable();
    if (pin instanceof Failure) throw pin;
    return pin;
  }

  #usable(): StoredPin | Failure {
    if (this.#pin instanceof Failure) return this.#pin;
    if (!this.#pin) return new Failure('pairing.pin-missing', 'no PIN is set on this device');
    if (this.#pin.failures < FAILURES_MAX) return this.#pin;
    return new Failure('pairing.pin-locked', `the PIN is locked after ${FAILURES_MAX} wrong proofs`);
  }

  #forgetClients(): void {
    this.#challenges.clear();
    this.#delays.clear();
  }
}

function attempts(left: number): string {
  if (left === 0) return 'the PIN is locked now';
  return left === 1 ? '1 attempt is left' : `${left} attempts are left`;
}
