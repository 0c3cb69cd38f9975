import type { Cancel, Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import {
  type Access,
  initialState,
  type Observation,
  type PairingEffect,
  type PairingEvent,
  type PairingRules,
  type PairingState,
  reason,
  step,
} from './machine.ts';

export interface MachineRunnerOptions {
  /** Looks at the tunnel now; may report to `observed` too. A fault closes pairing until the next report. */
  observe: () => Promise<Observation>;
  /** The marker "ever paired" is owed: it is to be written, then `remembered` reported. */
  onRemember: () => void;
  clock: Clock;
  log: Log;
}

/** An observation that does not come is a fault; the monitor's own bounds are below this. */
const OBSERVE_TIMEOUT_MS = 10_000;

const ANNOUNCEMENTS: Record<Access, string> = {
  open: 'pairing is open',
  pin: 'pairing is open to whoever proves the PIN',
  closed: 'pairing is closed',
};

/** Feeds the pairing machine with what is seen of the tunnel, keeps its timer, and tells the log what it announces. */
export class MachineRunner {
  readonly #options: MachineRunnerOptions;
  #state: PairingState | null = null;
  #stopped = false;
  #cancelWake: Cancel = () => undefined;
  #observations = 0;

  constructor(options: MachineRunnerOptions) {
    this.#options = options;
  }

  /** Begins with what is known of the past, and looks at the tunnel once. */
  async start(rules: PairingRules, past: { everPaired: boolean; markerWritten: boolean }): Promise<void> {
    this.#state = initialState(rules, past);
    await this.look();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelWake();
  }

  /** null before `start` and after `stop`: then pairing is closed. */
  get state(): PairingState | null {
    return this.#stopped ? null : this.#state;
  }

  /** Whether the marker is still to be written, also after `stop`. */
  get owesMarker(): boolean {
    return this.#state?.marker === 'owed';
  }

  /** Takes what the watcher saw; of no effect before `start` and after `stop`. */
  observed(observation: Observation): void {
    this.#observations += 1;
    this.dispatch({ kind: 'observed', observation });
  }

  /**
   * One observation on request, bounded in time. Dropped when the watcher reported something meanwhile, perhaps because
   * of this very look: that is as new, and the watcher, which may tell only changes, would not say it again. A fault is
   * never dropped: who asked for a look must not go on without one.
   */
  async look(): Promise<void> {
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

  dispatch(event: PairingEvent): void {
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
        this.#options.onRemember();
        break;
      case 'wake':
        this.#cancelWake = clock.after(effect.afterMs, () => this.dispatch({ kind: 'woken' }));
        break;
      case 'announce':
        log.info({ reason: reason(state, clock.nowMs()) }, ANNOUNCEMENTS[effect.access]);
        break;
    }
  }
}
