import type { Cancel, Clock } from '../support/clock.ts';
import { asFailure, Failure, type FailureCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import {
  initialState,
  isOpen,
  type Observation,
  opensInMs,
  type PairingEffect,
  type PairingEvent,
  type PairingState,
  reason,
  step,
} from './machine.ts';
import { type PublicKey, parsePublicKey } from './public-key.ts';

export type { Observation } from './machine.ts';

/** Where the one key is kept; `KeyFile` of this folder. */
export interface KeyStore {
  current(): Promise<PublicKey | null>;
  replace(key: PublicKey): Promise<void>;
}

/** What remembers across restarts that the device was paired; `EverPaired` of this folder. */
export interface PairedMarker {
  /** Rejects when nobody can tell. */
  read(): Promise<boolean>;
  remember(): Promise<void>;
}

export interface PairingOptions {
  /** How long the tunnel must have been away before pairing opens again. */
  timeoutMs: number;
  /** false: what was seen is forgotten at a restart (pairing: state machine 4). */
  remember: boolean;
  keyFile: KeyStore;
  everPaired: PairedMarker;
  /** Looks at the tunnel now; may report to `observed` too. A fault closes pairing until the next report. */
  observe: () => Promise<Observation>;
  clock: Clock;
  log: Log;
}

export interface PairingStatus {
  policy: 'open';
  open: boolean;
  /** Why pairing is open or not, in words. */
  reason: string;
  /** 0 when open, null when it will not open by itself. */
  opensInSeconds: number | null;
  tunnel: 'active' | 'none' | 'unknown';
  /** Whether the timeout applies: a tunnel was seen, or the device was paired when the service started. */
  everPaired: boolean;
  /** The key in force; null when there is none, `failure` when nobody can tell. */
  key: { type: string; fingerprint: string } | { failure: string } | null;
}

/** An observation that does not come is a fault; the monitor's own bounds are below this. */
const OBSERVE_TIMEOUT_MS = 10_000;

/** Runs the pairing machine: feeds it, carries out its effects, and replaces the key when it says yes. */
export class Pairing {
  readonly #options: PairingOptions;
  /** null until it has been read what was remembered. */
  #state: PairingState | null = null;
  #cancelWake: Cancel = () => undefined;
  #observations = 0;
  #stopped = false;
  /** Writes of marker and key run one after the other: each finds what the one before it left. */
  #lastWrite: Promise<unknown> = Promise.resolve();

  constructor(options: PairingOptions) {
    this.#options = options;
  }

  /** Reads what is remembered and looks at the tunnel once. Never rejects: what cannot be read counts as paired. */
  async start(): Promise<void> {
    const { timeoutMs, remember, everPaired } = this.#options;
    const marked = remember ? await this.#tryRead(() => everPaired.read(), 'state.unreadable') : 'no';
    this.#state = initialState({
      timeoutMs,
      everPaired: remember && (marked !== 'no' || (await this.#holdsKey())),
      // Where nothing is to be remembered, nothing is owed either.
      markerWritten: marked === 'yes' || !remember,
    });
    await this.#look();
  }

  /** Ends the timer and waits for a write under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelWake();
    await this.#lastWrite;
  }

  /** Takes what the watcher saw; of no effect before `start` and after `stop`. */
  observed(observation: Observation): void {
    this.#observations += 1;
    this.#dispatch({ kind: 'observed', observation });
  }

  /** Whether a key would be accepted at this moment. */
  isOpen(): boolean {
    return this.#state !== null && !this.#stopped && isOpen(this.#state, this.#options.clock.nowMs());
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
    try {
      const key = parsePublicKey(text);
      await this.#write(() => this.#replaceKey(key));
      const { type, fingerprint } = key;
      this.#options.log.info({ type, fingerprint, source }, 'the key was replaced; from now on it alone is accepted');
      return key;
    } catch (error) {
      const { code, message, remedy } = asFailure(error);
      this.#options.log.warn({ code, remedy, source }, `the key was not replaced: ${message}`);
      throw error;
    }
  }

  async status(): Promise<PairingStatus> {
    const nowMs = this.#options.clock.nowMs();
    const state = this.#state;
    const waitMs = state === null ? null : opensInMs(state, nowMs);
    const observed = state?.observed ?? 'fault';
    return {
      policy: 'open',
      open: this.isOpen(),
      reason: state === null ? 'the service is starting' : reason(state, nowMs),
      opensInSeconds: waitMs === null ? null : Math.ceil(waitMs / 1000),
      tunnel: observed === 'fault' ? 'unknown' : observed,
      everPaired: state?.everSeen ?? false,
      key: await this.#describeKey(),
    };
  }

  async #replaceKey(key: PublicKey): Promise<void> {
    const { remember, everPaired, keyFile } = this.#options;
    await this.#look();
    this.#requireOpen();
    if (remember) {
      await everPaired.remember();
      this.#dispatch({ kind: 'remembered' });
      this.#requireOpen(); // a tunnel may have come while the marker was being written
    }
    await keyFile.replace(key);
  }

  #requireOpen(): void {
    if (!this.isOpen()) throw new Failure('pairing.closed', 'pairing is not open');
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
        log.info({ reason: reason(state, clock.nowMs()) }, effect.open ? 'pairing is open' : 'pairing is closed');
        break;
    }
  }

  async #remember(): Promise<void> {
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
