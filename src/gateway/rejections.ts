import type { Clock } from '../support/clock.ts';
import type { AuditEntry } from './types.ts';

/** Equal rejections become one entry within this time, and within twice the time each time that they go on. */
const FIRST_WINDOW_MS = 60_000;
const MOST_WINDOW_MS = 3600_000;

/** Sources that are named for one device and reason; further ones are counted together. */
const MAX_SOURCES = 5;
const SEVERAL = 'several';

/** Reasons without a device; further ones are counted together. Those of devices are few, and nobody pushes them out. */
const MAX_KINDS = 1_000;

type Rejection = Omit<AuditEntry, 'atMs'>;

/** An entry that was written, and how often the same came since. */
interface Window {
  readonly kind: string;
  readonly entry: Rejection;
  lastAtMs: number;
  count: number;
  lengthMs: number;
  endMs: number;
}

export interface RejectionsParts {
  readonly clock: Clock;
  readonly nowMs: () => number;
  readonly write: (entry: AuditEntry) => void;
}

/**
 * Makes few entries of many rejections: the first of its kind is written at once; those of the same device, reason and
 * source that follow are counted, and written as one. So a flood of strangers neither fills the disk nor pushes out what
 * a device did.
 */
export class Rejections {
  readonly #clock: Clock;
  readonly #nowMs: () => number;
  readonly #write: (entry: AuditEntry) => void;
  readonly #windows = new Map<string, Window>();
  /** How many sources are named, by kind. */
  readonly #kinds = new Map<string, number>();
  /** How many of the kinds are of no device. */
  #nobodys = 0;
  #cancel: (() => void) | null = null;
  #stopped = false;

  constructor({ clock, nowMs, write }: RejectionsParts) {
    this.#clock = clock;
    this.#nowMs = nowMs;
    this.#write = write;
  }

  record(rejection: Rejection): void {
    const { kind, entry } = this.#sort(rejection);
    const name = `${kind} ${entry.detail.address ?? ''}`;
    const window = this.#windows.get(name);
    if (window !== undefined) {
      window.count += 1;
      window.lastAtMs = this.#nowMs();
      return;
    }
    const endMs = this.#clock.nowMs() + FIRST_WINDOW_MS;
    const named = this.#kinds.get(kind) ?? 0;
    if (named === 0 && entry.deviceKey === null) this.#nobodys += 1;
    this.#kinds.set(kind, named + 1);
    this.#windows.set(name, { kind, entry, lastAtMs: 0, count: 0, lengthMs: FIRST_WINDOW_MS, endMs });
    this.#write({ ...entry, atMs: this.#nowMs() });
    this.#schedule();
  }

  /** What is counted and not written. */
  counting(): AuditEntry[] {
    return [...this.#windows.values()].flatMap((window) => (window.count === 0 ? [] : [summary(window)]));
  }

  /** Writes what is counted, and ends the timer. */
  stop(): void {
    for (const window of this.#windows.values()) this.#writeCount(window);
    this.#stopped = true;
    this.#cancel?.();
    this.#cancel = null;
  }

  /** As it is, or as one of several sources, or as one of several kinds. */
  #sort(entry: Rejection): { kind: string; entry: Rejection } {
    const kind = JSON.stringify([entry.deviceKey, entry.reason]);
    const named = this.#kinds.get(kind);
    if (named === undefined && entry.deviceKey === null && this.#nobodys >= MAX_KINDS) {
      return { kind: SEVERAL, entry: { event: 'rejected', deviceKey: null, reason: SEVERAL, detail: {} } };
    }
    const isNew = !this.#windows.has(`${kind} ${entry.detail.address ?? ''}`);
    if (!isNew || (named ?? 0) < MAX_SOURCES) return { kind, entry };
    return { kind, entry: { ...entry, detail: { ...entry.detail, address: SEVERAL } } };
  }

  #schedule(): void {
    if (this.#cancel !== null || this.#stopped || this.#windows.size === 0) return;
    this.#cancel = this.#clock.after(FIRST_WINDOW_MS / 6, () => {
      this.#cancel = null;
      this.#turn();
      this.#schedule();
    });
  }

  /** Ends the windows that are over; those in which something came go on, twice as long. */
  #turn(): void {
    const nowMs = this.#clock.nowMs();
    for (const [name, window] of this.#windows) {
      if (window.endMs > nowMs) continue;
      if (window.count === 0) {
        this.#windows.delete(name);
        const named = (this.#kinds.get(window.kind) ?? 1) - 1;
        if (named > 0) this.#kinds.set(window.kind, named);
        else {
          this.#kinds.delete(window.kind);
          if (window.entry.deviceKey === null) this.#nobodys -= 1;
        }
      } else {
        this.#writeCount(window);
        window.lengthMs = Math.min(2 * window.lengthMs, MOST_WINDOW_MS);
        window.endMs = nowMs + window.lengthMs;
      }
    }
  }

  #writeCount(window: Window): void {
    if (window.count > 0) this.#write(summary(window));
    window.count = 0;
  }
}

function summary({ entry, lastAtMs, count }: Window): AuditEntry {
  return { ...entry, detail: { ...entry.detail, count }, atMs: lastAtMs };
}
