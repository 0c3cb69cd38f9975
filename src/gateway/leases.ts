import type { Cancel, Clock } from '../support/clock.ts';
import { asFailure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import type { Store } from './store.ts';
import type { Lease, Service } from './types.ts';

export interface LeasesOptions {
  readonly store: Store;
  readonly leaseMs: number;
  readonly clock: Clock;
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly log: Log;
  /** A lease is over. */
  readonly ended: (deviceKey: string, name: string) => void;
}

interface Held extends Service {
  readonly deviceKey: string;
  /** On the monotonic clock. */
  readonly endsAtMs: number;
}

/** Leases end up to this late, so that many end, and are deleted, in one go. */
const TOGETHER_MS = 1_000;
/** What a timer can hold for sure; a longer lease is looked at in between. */
const MAX_TIMER_MS = 24 * 3600_000;

/**
 * For how long operators want to reach which services. While the gateway runs, the monotonic clock alone decides, so
 * that a wall clock that is set neither ends leases nor prolongs them. The wall clock is for the store, and to tell.
 */
export class Leases {
  readonly #options: LeasesOptions;
  readonly #held = new Map<string, Held>();
  /** Being stored: what they renew is not ended meanwhile. */
  readonly #granting = new Set<Lease>();
  #cancel: Cancel = () => {};
  #timerAtMs = Number.POSITIVE_INFINITY;

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  /**
   * Takes in what was stored, and deletes what is over. A wall clock that was set back since cannot prolong a lease: none
   * has more before it than a whole one.
   */
  async load(leases: readonly Lease[]): Promise<void> {
    const { clock, nowMs, leaseMs } = this.#options;
    const wallMs = nowMs();
    const over: Lease[] = [];
    for (const lease of leases) {
      const leftMs = Math.min(lease.expiresAtMs - wallMs, leaseMs);
      if (leftMs > 0) this.#hold(lease.deviceKey, lease, clock.nowMs() + leftMs);
      else over.push(lease);
    }
    await this.#delete(over);
  }

  /** The leased service of that name, while the lease runs. */
  of(deviceKey: string, name: string): Service | null {
    return this.#held.get(keyOf(deviceKey, name)) ?? null;
  }

  /** All that run, each with its end on the wall clock as it goes now. */
  all(): Lease[] {
    const { clock, nowMs } = this.#options;
    const offsetMs = nowMs() - clock.nowMs();
    return [...this.#held.values()].map(({ endsAtMs, ...lease }) => ({
      ...lease,
      expiresAtMs: Math.round(endsAtMs + offsetMs),
    }));
  }

  /** Begins a lease, or begins it anew; durable once this resolves, and in force from then on. */
  async grant(deviceKey: string, { name, localPort }: Service): Promise<Lease> {
    const { store, clock, nowMs, leaseMs } = this.#options;
    const lease = { deviceKey, name, localPort, expiresAtMs: Math.round(nowMs() + leaseMs) };
    const endsAtMs = clock.nowMs() + leaseMs;
    this.#granting.add(lease);
    try {
      await store.putLease(lease);
      if (this.#granting.has(lease)) this.#hold(deviceKey, lease, endsAtMs);
      else await this.#delete([lease]); // dropped meanwhile
    } finally {
      this.#granting.delete(lease);
    }
    return lease;
  }

  /** Forgets leases that the store has forgotten already: of these names, or all of the device. */
  drop(deviceKey: string, names: readonly string[] | null): void {
    const isDropped = (lease: Held | Lease) => lease.deviceKey === deviceKey && names?.includes(lease.name) !== false;
    for (const [key, held] of this.#held) if (isDropped(held)) this.#held.delete(key);
    for (const lease of this.#granting) if (isDropped(lease)) this.#granting.delete(lease);
  }

  /** Ends the timer. What runs stays stored. */
  stop(): void {
    this.#cancel();
    this.#timerAtMs = Number.NEGATIVE_INFINITY; // none is set any more
  }

  #hold(deviceKey: string, { name, localPort }: Service, endsAtMs: number): void {
    this.#held.set(keyOf(deviceKey, name), { deviceKey, name, localPort, endsAtMs });
    this.#wake(endsAtMs);
  }

  /** One timer for all: at the soonest end. */
  #wake(atMs: number): void {
    if (atMs >= this.#timerAtMs) return;
    this.#cancel();
    this.#timerAtMs = atMs;
    const delayMs = Math.min(Math.max(atMs - this.#options.clock.nowMs(), TOGETHER_MS), MAX_TIMER_MS);
    this.#cancel = this.#options.clock.after(delayMs, () => this.#end());
  }

  #end(): void {
    const { clock, ended } = this.#options;
    const renewed = new Set([...this.#granting].map((lease) => keyOf(lease.deviceKey, lease.name)));
    const over: Held[] = [];
    let nextMs = Number.POSITIVE_INFINITY;
    for (const [key, held] of this.#held) {
      if (held.endsAtMs <= clock.nowMs() && !renewed.has(key)) over.push(held);
      else nextMs = Math.min(nextMs, held.endsAtMs);
    }
    for (const { deviceKey, name } of over) this.#held.delete(keyOf(deviceKey, name));
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    this.#wake(nextMs);
    for (const { deviceKey, name } of over) ended(deviceKey, name);
    void this.#delete(over);
  }

  /** One that stays stored is over by the wall clock, too: the next start deletes it. */
  async #delete(leases: readonly Pick<Lease, 'deviceKey' | 'name'>[]): Promise<void> {
    if (leases.length === 0) return;
    try {
      await this.#options.store.deleteLeases(leases);
    } catch (error) {
      const { code, message, remedy } = asFailure(error, 'gateway.store-failed');
      this.#options.log.warn({ code, remedy, leases: leases.length }, `leases that are over stay stored: ${message}`);
    }
  }
}

/** Neither part can hold a space. */
const keyOf = (deviceKey: string, name: string): string => `${deviceKey} ${name}`;
