import type { Clock } from '../support/clock.ts';
import { asFailure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import type { Seen } from './fleet.ts';
import { Rejections } from './rejections.ts';
import type { KnownAddress, Observations, Store } from './store.ts';
import type { AuditEntry } from './types.ts';

/** An entry waits so long for others; what was only seen waits longer, since little is lost with it. */
const WRITE_MS = 200;
const SEEN_WRITE_MS = 5_000;
const BATCH = 500;
/** While the disk fails. */
const RETRY_MS = 5_000;
const MAX_UNWRITTEN = 10_000;

export interface AuditParts {
  readonly store: Pick<Store, 'observe' | 'auditOf'>;
  readonly clock: Clock;
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly log: Log;
}

/** For the metrics. */
export interface AuditCounts {
  readonly unwritten: number;
  /** Lost, because the disk failed for too long. */
  readonly dropped: number;
}

/**
 * What happened, on its way to the store: in batches, kept while the disk fails, and never waited for. An idle gateway
 * writes nothing.
 */
export class Audit {
  readonly #store: Pick<Store, 'observe' | 'auditOf'>;
  readonly #clock: Clock;
  readonly #nowMs: () => number;
  readonly #log: Log;
  readonly #rejections: Rejections;
  /** The oldest first. */
  #entries: AuditEntry[] = [];
  readonly #addresses = new Map<string, KnownAddress>();
  readonly #seen = new Map<string, Seen>();
  #timer: { cancel: () => void; atMs: number } | null = null;
  /** Writing and reading, one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #failing = false;
  #dropped = 0;

  constructor({ store, clock, nowMs, log }: AuditParts) {
    this.#store = store;
    this.#clock = clock;
    this.#nowMs = nowMs;
    this.#log = log;
    this.#rejections = new Rejections({ clock, nowMs, write: (entry) => this.#add(entry) });
  }

  record(entry: Omit<AuditEntry, 'atMs'>): void {
    if (entry.event === 'rejected') this.#rejections.record(entry);
    else this.#add({ ...entry, atMs: this.#nowMs() });
  }

  /** The newest of each device is written. */
  saw(key: string, seen: Seen): void {
    this.#seen.set(key, { ...this.#seen.get(key), ...seen });
    this.#writeWithin(SEEN_WRITE_MS);
  }

  sawAddress(address: KnownAddress): void {
    this.#addresses.set(`${address.deviceKey} ${address.address}`, address);
    this.#writeWithin(WRITE_MS);
  }

  counts(): AuditCounts {
    return { unwritten: this.#entries.length, dropped: this.#dropped };
  }

  /** Writes what there is; a failing disk is not told here. */
  flush(): Promise<void> {
    return this.#inTurn(() => this.#write());
  }

  /**
   * The newest first, with what is not on disk yet.
   *
   * @throws Failure `gateway.store-failed`
   */
  newest(deviceKey: string | null, limit: number): Promise<AuditEntry[]> {
    return this.#inTurn(async () => {
      const written = await this.#store.auditOf(deviceKey, limit);
      const unwritten = [...this.#entries, ...this.#rejections.counting()]
        .filter((entry) => deviceKey === null || entry.deviceKey === deviceKey)
        .reverse();
      return [...unwritten, ...written].sort((a, b) => b.atMs - a.atMs).slice(0, limit);
    });
  }

  /** Writes the rest. What comes afterwards is kept in memory only. */
  async stop(): Promise<void> {
    this.#rejections.stop(); // first what is counted
    await this.flush();
    this.#timer?.cancel();
    this.#timer = null;
  }

  #add(entry: AuditEntry): void {
    this.#entries.push(entry);
    if (this.#entries.length > MAX_UNWRITTEN) this.#drop();
    this.#writeWithin(this.#entries.length >= BATCH ? 0 : WRITE_MS);
  }

  /** The oldest rejection, or the oldest of all. */
  #drop(): void {
    const rejected = this.#entries.findIndex((entry) => entry.event === 'rejected');
    this.#entries.splice(Math.max(0, rejected), 1);
    this.#dropped += 1;
  }

  #writeWithin(delayMs: number): void {
    const atMs = this.#clock.nowMs() + (this.#failing ? RETRY_MS : delayMs);
    if (this.#timer !== null && this.#timer.atMs <= atMs) return;
    this.#timer?.cancel();
    const cancel = this.#clock.after(atMs - this.#clock.nowMs(), () => {
      this.#timer = null;
      void this.#inTurn(() => this.#write());
    });
    this.#timer = { cancel, atMs };
  }

  async #write(): Promise<void> {
    const audit = this.#entries.slice(0, BATCH);
    const addresses = new Map(this.#addresses);
    const seen = new Map(this.#seen);
    if (audit.length + addresses.size + seen.size === 0) return;
    try {
      await this.#store.observe(observations(audit, addresses, seen));
    } catch (error) {
      this.#failed(error);
      return;
    }
    if (this.#failing) this.#log.info('what happened is written to the disk again');
    this.#failing = false;
    const written = new Set(audit);
    this.#entries = this.#entries.filter((entry) => !written.has(entry));
    forget(this.#addresses, addresses);
    forget(this.#seen, seen);
    if (this.#entries.length > 0) await this.#write();
  }

  #failed(error: unknown): void {
    const { code, message, remedy } = asFailure(error, 'gateway.store-failed');
    if (!this.#failing) this.#log.error({ code, remedy }, `what happened cannot be written: ${message}`);
    this.#failing = true;
    this.#writeWithin(RETRY_MS);
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#last.then(task);
    this.#last = done.catch(() => undefined); // told to whoever asked
    return done;
  }
}

function observations(
  audit: readonly AuditEntry[],
  addresses: ReadonlyMap<string, KnownAddress>,
  seen: ReadonlyMap<string, Seen>,
): Observations {
  return { audit, addresses: [...addresses.values()], seen: [...seen].map(([key, what]) => ({ key, ...what })) };
}

/** What was replaced while it was written stays. */
function forget<K, V>(map: Map<K, V>, written: ReadonlyMap<K, V>): void {
  for (const [key, value] of written) if (map.get(key) === value) map.delete(key);
}
