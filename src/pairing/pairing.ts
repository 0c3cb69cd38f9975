import type { Clock } from '../support/clock.ts';
import { asFailure, Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import type { AuditEntry } from './audit-entry.ts';
import {
  acceptsPin,
  isOpen,
  LOCAL_OPENING_MS,
  type Observation,
  type PairingRules,
  type Policy,
  refusesLocalOpening,
} from './machine.ts';
import { MachineRunner } from './machine-runner.ts';
import { describeMachine, type PairingStatus } from './pairing-status.ts';
import { readPast } from './past.ts';
import type { PinGuard, PinRequest } from './pin-guard.ts';
import { type PublicKey, parsePublicKey } from './public-key.ts';

export type { Observation, PairingRules, Policy } from './machine.ts';
export type { PairingStatus } from './pairing-status.ts';

/** Where the one key is kept; `KeyFile` of this folder. */
export interface KeyStore {
  current(): Promise<PublicKey | null>;
  replace(key: PublicKey): Promise<void>;
  /** Removes the file with every key in it. */
  remove(): Promise<void>;
}

/** What remembers across restarts that the device was paired; `EverPaired` of this folder. */
export interface PairedMarker {
  /** Rejects when nobody can tell. */
  read(): Promise<boolean>;
  remember(): Promise<void>;
  forget(): Promise<void>;
}

/** Where every change of pairing is put on record (pairing: state machine 7). */
export interface AuditTrail {
  record(entry: AuditEntry): Promise<void>;
}

export interface PairingOptions extends PairingRules {
  keyFile: KeyStore;
  everPaired: PairedMarker;
  pin: PinGuard;
  audit: AuditTrail;
  /** Looks at the tunnel now; may report to `observed` too. A fault closes pairing until the next report. */
  observe: () => Promise<Observation>;
  clock: Clock;
  log: Log;
}

/** The source of what was done at the device. */
const LOCAL = 'local';

/** Replaces the key when the machine says yes, and does what somebody at the device asks for. */
export class Pairing {
  readonly #options: PairingOptions;
  readonly #runner: MachineRunner;
  #rules: PairingRules;
  /** Writes of marker, key and PIN run one after the other: each finds what the one before it left. */
  #lastWrite: Promise<unknown> = Promise.resolve();
  #lastRecord: Promise<unknown> = Promise.resolve();

  constructor(options: PairingOptions) {
    const { policy, timeoutMs, remember, observe, clock, log } = options;
    this.#options = options;
    this.#rules = { policy, timeoutMs, remember };
    this.#runner = new MachineRunner({
      observe,
      onRemember: () => void this.#write(() => this.#remember()),
      clock,
      log,
    });
  }

  /** Reads what is remembered and looks at the tunnel once. Never rejects: what cannot be read counts as paired. */
  async start(): Promise<void> {
    const { keyFile, everPaired, pin, log } = this.#options;
    await pin.load();
    const forgotten = { everPaired: false, markerWritten: false };
    await this.#runner.start(this.#rules, this.#rules.remember ? await readPast(keyFile, everPaired, log) : forgotten);
    this.#logFaults();
  }

  /** Ends the timer and waits for a write under way. */
  async stop(): Promise<void> {
    this.#runner.stop();
    await this.#lastWrite;
    await this.#lastRecord;
  }

  /** Applies rules that were changed while the service runs; what was seen is kept. */
  configure(rules: PairingRules): void {
    this.#rules = rules;
    this.#runner.dispatch({ kind: 'configured', rules });
    this.#logFaults();
  }

  /** Takes what the watcher saw; of no effect before `start` and after `stop`. */
  observed(observation: Observation): void {
    this.#runner.observed(observation);
  }

  get policy(): Policy {
    return this.#rules.policy;
  }

  /** Whether a key of anybody would be accepted at this moment. */
  isOpen(): boolean {
    const { state } = this.#runner;
    return state !== null && isOpen(state, this.#options.clock.nowMs());
  }

  /** Why a proof of the PIN would not be accepted at this moment; null when it would. */
  refusesPin(): Failure | null {
    const { state } = this.#runner;
    if (state === null || !acceptsPin(state, this.#options.clock.nowMs())) return closed();
    return this.#options.pin.failure();
  }

  /** Whole seconds until this source may have a PIN checked; 0 when it may now. */
  pinWaitSeconds(source: string): number {
    return this.#options.pin.waitSeconds(source);
  }

  /**
   * What a client needs to prove the PIN.
   * @throws Failure of `refusesPin`, or `pairing.pin-busy`
   */
  async pinChallenge(source: string): Promise<{ session: string; salt: Buffer; B: Buffer }> {
    this.#requirePin();
    return this.#options.pin.challenge(source);
  }

  /**
   * Replaces the key. Looks at the tunnel once more, then writes the marker, then the key file
   * (pairing: state machine 3 and 4).
   *
   * @param text one line of an OpenSSH public key
   * @param source the address it came from, for the log
   * @throws Failure `key.invalid`, `pairing.closed`, `state.unwritable` or `key.unwritable`; the old key is then kept
   */
  async setKey(text: string, source: string): Promise<PublicKey> {
    const { key } = await this.#reported(source, async () => {
      const key = parsePublicKey(text);
      await this.#write(() => this.#replaceKey(key, source, () => this.#requireOpen()));
      return { key };
    });
    return key;
  }

  /**
   * The same for whoever proves the PIN. Nothing is done with the key before the proof and its MAC were found right.
   *
   * @returns the key, and M2, which proves to the client that the device knows the PIN, too
   * @throws Failure of `refusesPin`, of `PinGuard.check`, or of `setKey`; the old key is then kept
   */
  setKeyWithPin(request: PinRequest, source: string): Promise<{ key: PublicKey; M2: Buffer }> {
    const prove = async () => {
      this.#requirePin();
      const M2 = await this.#checkProof(request, source);
      const key = parsePublicKey(request.key);
      await this.#replaceKey(key, source, () => this.#requirePin());
      return { key, M2 };
    };
    return this.#reported(source, () => this.#write(prove));
  }

  /**
   * Opens pairing to anybody, for one key and 120 s, whatever the policy and the timeout say (pairing: state machine 6).
   * For somebody at the device.
   *
   * @throws Failure `pairing.tunnel-stands` or `pairing.tunnel-unknown`
   */
  openLocally(): Promise<{ seconds: number }> {
    return this.#write(async () => {
      await this.#runner.look();
      const { state } = this.#runner;
      const refusal = state === null ? 'unknown' : refusesLocalOpening(state);
      if (refusal === 'tunnel') {
        throw new Failure('pairing.tunnel-stands', 'pairing was not opened: a paired tunnel stands');
      }
      if (refusal === 'unknown') {
        throw new Failure('pairing.tunnel-unknown', 'pairing was not opened: it is not known whether a tunnel stands');
      }
      this.#runner.dispatch({ kind: 'opened' });
      this.#record({ what: 'opened', source: LOCAL });
      return { seconds: LOCAL_OPENING_MS / 1000 };
    });
  }

  /**
   * Sets the PIN, or removes it with null; sets the count of wrong proofs back. For somebody at the device.
   *
   * @param pin 6 to 16 digits
   * @throws Failure `pairing.pin-invalid`, or `state.unwritable`: then the old one stays
   */
  setPin(pin: string | null): Promise<void> {
    const guard = this.#options.pin;
    return this.#write(async () => {
      await (pin === null ? guard.remove() : guard.set(pin));
      this.#options.log.info(pin === null ? 'the PIN was removed' : 'a new PIN was set');
      this.#record({ what: pin === null ? 'pin-removed' : 'pin-set', source: LOCAL });
    });
  }

  /**
   * Makes the device one that was never paired; the PIN stays, its wrong proofs are forgotten. Also before `start`.
   *
   * The order is that of the least harm when the power is cut: without the key nobody is left who could come in unseen,
   * and while the marker is there pairing still opens after the timeout; the marker goes last, as it alone keeps
   * strangers waiting. A tunnel of the removed key that still stands keeps pairing closed, but does not count as paired.
   *
   * Who asked for it puts it on record.
   *
   * @throws Failure `key.unwritable` or `state.unwritable`; to be tried again then
   */
  reset(): Promise<void> {
    const { keyFile, everPaired, pin } = this.#options;
    return this.#write(async () => {
      await keyFile.remove();
      await pin.forgive();
      await everPaired.forget();
      this.#runner.dispatch({ kind: 'reset' });
      if (this.#runner.state !== null) await this.#runner.look();
    });
  }

  /** What keeps whoever knows the PIN from pairing, where the policy asks for it. */
  faults(): Failure[] {
    const failure = this.#runner.state?.rules.policy === 'pin' ? this.#options.pin.failure() : null;
    return failure === null ? [] : [failure];
  }

  async status(): Promise<PairingStatus> {
    const { clock, pin } = this.#options;
    return {
      policy: this.#rules.policy,
      ...describeMachine(this.#runner.state, clock.nowMs()),
      pinReady: this.refusesPin() === null,
      pin: pin.status(),
      key: await this.#describeKey(),
    };
  }

  /** @param require throws unless the key may be set now: what was found a moment ago may not be so any more */
  async #replaceKey(key: PublicKey, source: string, require: () => void): Promise<void> {
    const { everPaired, keyFile } = this.#options;
    await this.#runner.look();
    require();
    if (this.#rules.remember) {
      await everPaired.remember();
      this.#runner.dispatch({ kind: 'remembered' });
      require(); // a tunnel may have come while the marker was being written
    }
    await keyFile.replace(key);
    this.#runner.dispatch({ kind: 'key-set' });
    this.#record({ what: 'key-set', fingerprint: key.fingerprint, source });
  }

  /** Tells the log how an attempt to set the key has ended. */
  async #reported<T extends { key: PublicKey }>(source: string, setKey: () => Promise<T>): Promise<T> {
    const { log } = this.#options;
    try {
      const result = await setKey();
      const { type, fingerprint } = result.key;
      log.info({ type, fingerprint, source }, 'the key was replaced; from now on it alone is accepted');
      return result;
    } catch (error) {
      const { code, message, remedy } = asFailure(error);
      log.warn({ code, remedy, source }, `the key was not replaced: ${message}`);
      throw error;
    }
  }

  async #checkProof(request: PinRequest, source: string): Promise<Buffer> {
    const { pin, log } = this.#options;
    try {
      return await pin.check(request, source);
    } catch (error) {
      if (asFailure(error).code !== 'pairing.pin-wrong') throw error;
      this.#record({ what: 'key-refused-pin', source });
      const failure = pin.failure();
      if (failure !== null) {
        this.#record({ what: 'pin-locked', source });
        log.error({ code: failure.code, remedy: failure.remedy, source }, failure.message);
      }
      throw error;
    }
  }

  #requireOpen(): void {
    if (!this.isOpen()) throw closed();
  }

  #requirePin(): void {
    const failure = this.refusesPin();
    if (failure !== null) throw failure;
  }

  /** Pairing does not wait for the record, and a record that cannot be written keeps nobody from pairing. */
  #record(entry: AuditEntry): void {
    const { audit, log } = this.#options;
    this.#lastRecord = this.#lastRecord
      .then(() => audit.record(entry))
      .catch((error: unknown) => {
        const { code, message, remedy } = asFailure(error, 'state.unwritable');
        log.error({ ...entry, code, remedy }, `this was not put on record: ${message}`);
      });
  }

  async #remember(): Promise<void> {
    if (!this.#runner.owesMarker) return; // a reset came first
    try {
      await this.#options.everPaired.remember();
      this.#runner.dispatch({ kind: 'remembered' });
    } catch (error) {
      const { code, message, remedy } = asFailure(error, 'state.unwritable');
      this.#options.log.error({ code, remedy }, `a restart would forget that this device is paired: ${message}`);
    }
  }

  #logFaults(): void {
    for (const { code, remedy, message } of this.faults()) this.#options.log.error({ code, remedy }, message);
  }

  #write<T>(task: () => Promise<T>): Promise<T> {
    const write = this.#lastWrite.then(task);
    this.#lastWrite = write.catch(() => undefined);
    return write;
  }

  async #describeKey(): Promise<PairingStatus['key']> {
    try {
      const key = await this.#options.keyFile.current();
      return key === null ? null : { type: key.type, fingerprint: key.fingerprint };
    } catch (error) {
      return { failure: asFailure(error).message };
    }
  }
}

function closed(): Failure {
  return new Failure('pairing.closed', 'pairing is not open');
}
