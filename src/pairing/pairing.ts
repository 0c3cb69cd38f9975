import type { Cancel, Clock } from '../support/clock.ts';
import { asFailure, Failure, type FailureCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import type { AuditEntry } from './audit-entry.ts';
import {
  type Access,
  acceptsPin,
  initialState,
  isOpen,
  LOCAL_OPENING_MS,
  type Observation,
  openedForMs,
  opensInMs,
  type PairingEffect,
  type PairingEvent,
  type PairingRules,
  type PairingState,
  type Policy,
  reason,
  refusesLocalOpening,
  step,
} from './machine.ts';
import type { PinGuard, PinRequest, PinStatus } from './pin-guard.ts';
import { type PublicKey, parsePublicKey } from './public-key.ts';

export type { Observation, PairingRules, Policy } from './machine.ts';

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

export interface PairingStatus {
  policy: Policy;
  /** Whether a key of anybody would be accepted now. */
  open: boolean;
  /** Whether a key would be accepted now together with a proof of the PIN. */
  pinReady: boolean;
  /** Why pairing is open or not, in words. */
  reason: string;
  /** Until anybody, or whoever proves the PIN, may pair: 0 when it is so, null when it will not come by itself. */
  opensInSeconds: number | null;
  /** The opening by somebody at the device; null when there is none. */
  openedLocally: { secondsLeft: number } | null;
  /** null when nobody can tell. */
  pin: PinStatus | null;
  tunnel: 'active' | 'none' | 'unknown';
  /** Whether the timeout applies: a tunnel was seen, or the device was paired when the service started. */
  everPaired: boolean;
  /** The key in force; null when there is none, `failure` when nobody can tell. */
  key: { type: string; fingerprint: string } | { failure: string } | null;
}

/** An observation that does not come is a fault; the monitor's own bounds are below this. */
const OBSERVE_TIMEOUT_MS = 10_000;
/** The source of what was done at the device. */
const LOCAL = 'local';

const ANNOUNCEMENTS: Record<Access, string> = {
  open: 'pairing is open',
  pin: 'pairing is open to whoever proves the PIN',
  closed: 'pairing is closed',
};

/** Runs the pairing machine: feeds it, carries out its effects, and replaces the key when it says yes. */
export class Pairing {
  readonly #options: PairingOptions;
  #rules: PairingRules;
  /** null until it has been read what was remembered. */
  #state: PairingState | null = null;
  #cancelWake: Cancel = () => undefined;
  #observations = 0;
  #stopped = false;
  /** Writes of marker and key run one after the other: each finds what the one before it left. */
  #lastWrite: Promise<unknown> = Promise.resolve();
  #lastRecord: Promise<unknown> = Promise.resolve();

  constructor(options: PairingOptions) {
    this.#options = options;
    const { policy, timeoutMs, remember } = options;
    this.#rules = { policy, timeoutMs, remember };
  }

  /** Reads what is remembered and looks at the tunnel once. Never rejects: what cannot be read counts as paired. */
  async start(): Promise<void> {
    const { everPaired, pin } = this.#options;
    const { remember } = this.#rules;
    await pin.load();
    const marked = remember ? await this.#tryRead(() => everPaired.read(), 'state.unreadable') : 'no';
    const past = {
      everPaired: remember && (marked !== 'no' || (await this.#holdsKey())),
      markerWritten: marked === 'yes',
    };
    this.#state = initialState(this.#rules, past);
    await this.#look();
  }

  /** Ends the timer and waits for a write under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelWake();
    await this.#lastWrite;
    await this.#lastRecord;
  }

  /** Applies rules that were changed while the service runs; what was seen is kept. */
  configure(rules: PairingRules): void {
    this.#rules = rules;
    this.#dispatch({ kind: 'configured', rules });
  }

  /** Takes what the watcher saw; of no effect before `start` and after `stop`. */
  observed(observation: Observation): void {
    this.#observations += 1;
    this.#dispatch({ kind: 'observed', observation });
  }

  get policy(): Policy {
    return this.#rules.policy;
  }

  /** Whether a key of anybody would be accepted at this moment. */
  isOpen(): boolean {
    return this.#state !== null && !this.#stopped && isOpen(this.#state, this.#options.clock.nowMs());
  }

  /** Why a proof of the PIN would not be accepted at this moment; null when it would. */
  refusesPin(): Failure | null {
    const state = this.#state;
    if (state === null || this.#stopped || !acceptsPin(state, this.#options.clock.nowMs())) return closed();
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
      await this.#look();
      const refusal = this.#state === null || this.#stopped ? 'unknown' : refusesLocalOpening(this.#state);
      if (refusal === 'tunnel') {
        throw new Failure('pairing.tunnel-stands', 'pairing was not opened: a paired tunnel stands');
      }
      if (refusal === 'unknown') {
        throw new Failure('pairing.tunnel-unknown', 'pairing was not opened: it is not known whether a tunnel stands');
      }
      this.#dispatch({ kind: 'opened' });
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
   * @param source who asked for it, for the record
   * @throws Failure `key.unwritable` or `state.unwritable`; to be tried again then
   */
  reset(source = LOCAL): Promise<void> {
    const { keyFile, everPaired, pin, log } = this.#options;
    return this.#write(async () => {
      await keyFile.remove();
      await pin.forgive();
      await everPaired.forget();
      log.warn({ source }, 'pairing was reset: there is no key any more');
      this.#record({ what: 'reset', source });
      this.#dispatch({ kind: 'reset' });
      if (this.#state !== null && !this.#stopped) await this.#look();
    });
  }

  /** What keeps whoever knows the PIN from pairing, where the policy asks for it. */
  faults(): Failure[] {
    const failure = this.#state !== null && this.#rules.policy === 'pin' ? this.#options.pin.failure() : null;
    return failure === null ? [] : [failure];
  }

  async status(): Promise<PairingStatus> {
    const nowMs = this.#options.clock.nowMs();
    const state = this.#state;
    const waitMs = state === null ? null : opensInMs(state, nowMs);
    const openedMs = state === null ? null : openedForMs(state, nowMs);
    const observed = state?.observed ?? 'fault';
    return {
      policy: this.#rules.policy,
      open: this.isOpen(),
      pinReady: this.refusesPin() === null,
      reason: state === null ? 'the service is starting' : reason(state, nowMs),
      opensInSeconds: waitMs === null ? null : Math.ceil(waitMs / 1000),
      openedLocally: openedMs === null ? null : { secondsLeft: Math.ceil(openedMs / 1000) },
      pin: this.#options.pin.status(),
      tunnel: observed === 'fault' ? 'unknown' : observed,
      everPaired: state?.everSeen ?? false,
      key: await this.#describeKey(),
    };
  }

  /** @param require throws unless the key may be set now: what was found a moment ago may not be so any more */
  async #replaceKey(key: PublicKey, source: string, require: () => void): Promise<void> {
    const { everPaired, keyFile } = this.#options;
    await this.#look();
    require();
    if (this.#rules.remember) {
      await everPaired.remember();
      this.#dispatch({ kind: 'remembered' });
      require(); // a tunnel may have come while the marker was being written
    }
    await keyFile.replace(key);
    this.#dispatch({ kind: 'key-set' });
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

  /**
   * One observation on request, bounded in time. Dropped when the watcher reported something meanwhile, perhaps because
   * of this very look: that is as new, and the watcher, which may tell only changes, would not say it again. A fault is
   * never dropped: who asked for a look must not go on without one.
   */
  async #look(): Promise<void> {
    const { observe, clock, log } = this.#options;
    const before = this.#observations;
    let observation: Observation = { kind: 'fault' };
    let cancel: Cancel = () => undefined;
    const deadline = new Promise<Observation>((_resolve, reject) => {
      cancel = clock.after(OBSERVE_TIMEOUT_MS, () => reject(new Error(`no answer within ${OBSERVE_TIMEOUT_MS} ms`)));
    });
    try {
      observation = await Promise.race([observe(), deadline]);
    } catch (error) {
      log.error({ err: error }, 'the tunnel could not be looked at; pairing does not open');
    } finally {
      cancel();
    }
    if (observation.kind === 'fault' || this.#observations === before) this.observed(observation);
  }

  #dispatch(event: PairingEvent): void {
    if (this.#state === null || this.#stopped) return;
    const { state, effects } = step(this.#state, event, this.#options.clock.nowMs());
    this.#state = state;
    this.#cancelWake();
    for (const effect of effects) this.#execute(effect, state);
  }

  #execute(effect: PairingEffect, state: PairingState): void {
    const { clock, log } = this.#options;
    switch (effect.kind) {
      case 'remember':
        void this.#write(() => this.#remember());
        break;
      case 'wake':
        this.#cancelWake = clock.after(effect.afterMs, () => this.#dispatch({ kind: 'woken' }));
        break;
      case 'announce':
        log.info({ reason: reason(state, clock.nowMs()) }, ANNOUNCEMENTS[effect.access]);
        break;
    }
  }

  async #remember(): Promise<void> {
    if (this.#state?.marker !== 'owed') return; // a reset came first
    try {
      await this.#options.everPaired.remember();
      this.#dispatch({ kind: 'remembered' });
    } catch (error) {
      const { code, message, remedy } = asFailure(error, 'state.unwritable');
      this.#options.log.error({ code, remedy }, `a restart would forget that this device is paired: ${message}`);
    }
  }

  #write<T>(task: () => Promise<T>): Promise<T> {
    const write = this.#lastWrite.then(task);
    this.#lastWrite = write.catch(() => undefined);
    return write;
  }

  async #holdsKey(): Promise<boolean> {
    const { keyFile } = this.#options;
    return (await this.#tryRead(async () => (await keyFile.current()) !== null, 'key.unreadable')) !== 'no';
  }

  /** Where nobody can tell whether the device was paired, it counts as paired: a stranger waits for the timeout. */
  async #tryRead(wasPaired: () => Promise<boolean>, code: FailureCode): Promise<'yes' | 'no' | 'unknown'> {
    try {
      return (await wasPaired()) ? 'yes' : 'no';
    } catch (error) {
      const failure = asFailure(error, code);
      const facts = { code: failure.code, remedy: failure.remedy };
      this.#options.log.error(facts, `the device counts as paired: ${failure.message}`);
      return 'unknown';
    }
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
