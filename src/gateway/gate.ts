import type { Clock } from '../support/clock.ts';
import { TokenBucket } from '../support/token-bucket.ts';
import { BoundedMap } from './bounded-map.ts';
import type { Place } from './entry.ts';
import { sourceOf } from './source.ts';

/** The connections of a fleet that returns after a restart, some of them twice. */
const MAX_WAITING = 20_000;

/** One known address holds at most four times what it leaves: of 50 places 40, and who comes next always finds some. */
const SHARE_OF_PLACES = 4;

/** And waits with as many as it leaves room for. */
const SHARE_OF_QUEUE = 1;

/** While strangers come from several addresses, each of them has this part of their rate. */
const SHARE_OF_RATE = 1 / 5;
const RIVALS_WITHIN_MS = 10_000;
const MAX_SOURCES = 10_000;

export interface GateParts {
  /** New connections of strangers a second; one more at once. */
  readonly connectionRate: number;
  /** Handshakes in flight: of strangers, and the same number of known peers. */
  readonly maxPending: number;
  readonly clock: Clock;
  /** Whether a device has shown its token there. */
  readonly isKnown: (address: string) => boolean;
  /** How many known peers wait at most. */
  readonly maxWaiting?: number;
}

/** For the metrics: all since the start, but `pending` and `waiting`, which are now. */
export interface GateCounts {
  readonly admitted: number;
  readonly refusedByRate: number;
  readonly refusedByPending: number;
  /** Known peers that found the queue full. */
  readonly refusedByQueue: number;
  readonly pending: number;
  readonly waiting: number;
}

export type Admission = { readonly place: Place } | { readonly refused: 'rate' | 'pending' | 'queue' | 'gone' };

/** Gives one that waits its place. */
type Enter = () => void;

/**
 * Admission of one entry before a byte is read. Strangers pass at a rate, so many at a time, or are refused at once.
 * Peers from where a device has shown its token pass without a rate, so many at a time, and wait for their turn: after
 * a restart the whole fleet comes together, and every device that is refused then is late for nothing. The two never
 * share a place, so neither can starve the other (wire 5.2).
 */
export class Gate {
  readonly #maxPending: number;
  readonly #maxWaiting: number;
  readonly #connectionRate: number;
  readonly #clock: Clock;
  readonly #isKnown: (address: string) => boolean;
  /** Of all strangers, and of each by its source. */
  readonly #bucket: TokenBucket;
  readonly #sources = new BoundedMap<string, TokenBucket>(MAX_SOURCES);
  #strangers = 0;
  /** Places that known sources hold. */
  readonly #held = new Map<string, number>();
  #known = 0;
  /** Who waits, by source; the source that is to be served next stands first. */
  readonly #waiting = new Map<string, Set<Enter>>();
  #waiters = 0;
  readonly #counts = { admitted: 0, refusedByRate: 0, refusedByPending: 0, refusedByQueue: 0 };
  /** The source of the last stranger, and when the last one came that was not from there. */
  #last: string | null = null;
  #rivalAtMs = Number.NEGATIVE_INFINITY;

  constructor({ connectionRate, maxPending, clock, isKnown, maxWaiting = MAX_WAITING }: GateParts) {
    this.#maxPending = maxPending;
    this.#maxWaiting = maxWaiting;
    this.#connectionRate = connectionRate;
    this.#clock = clock;
    this.#isKnown = isKnown;
    this.#bucket = new TokenBucket(connectionRate + 1, connectionRate, clock.nowMs());
  }

  counts(): GateCounts {
    return { ...this.#counts, pending: this.#strangers + this.#known, waiting: this.#waiters };
  }

  /** @param signal the peer has gone: it leaves the queue, or its place */
  admit(address: string, signal: AbortSignal): Promise<Admission> {
    if (signal.aborted) return Promise.resolve({ refused: 'gone' });
    const source = sourceOf(address);
    if (this.#isKnown(address)) return this.#admitKnown(source, signal);
    return Promise.resolve(this.#admitStranger(source, signal));
  }

  #admitStranger(source: string, signal: AbortSignal): Admission {
    if (!this.#passesRate(source)) {
      this.#counts.refusedByRate += 1;
      return { refused: 'rate' };
    }
    if (this.#strangers >= this.#maxPending) {
      this.#counts.refusedByPending += 1;
      return { refused: 'pending' };
    }
    this.#strangers += 1;
    return {
      place: this.#place(signal, () => {
        this.#strangers -= 1;
      }),
    };
  }

  /**
   * The rate of all strangers. A flood from one address would take all of it: so while others come, too, each has only
   * a part of it, and the others find something left.
   */
  #passesRate(source: string): boolean {
    const nowMs = this.#clock.nowMs();
    if (this.#last !== null && this.#last !== source) this.#rivalAtMs = nowMs;
    this.#last = source;
    const rate = this.#connectionRate;
    const own = this.#sources.need(source, () => new TokenBucket(rate + 1, rate * SHARE_OF_RATE, nowMs));
    const isAlone = nowMs - this.#rivalAtMs > RIVALS_WITHIN_MS;
    return (own.take(nowMs) || isAlone) && this.#bucket.take(nowMs);
  }

  #admitKnown(source: string, signal: AbortSignal): Promise<Admission> {
    if (!this.#waiting.has(source) && this.#mayEnter(source)) return Promise.resolve(this.#enter(source, signal));
    const waiters = this.#waiting.get(source) ?? new Set<Enter>();
    if (waiters.size >= SHARE_OF_QUEUE * (this.#maxWaiting - this.#waiters)) {
      this.#counts.refusedByQueue += 1;
      return Promise.resolve({ refused: 'queue' });
    }
    return new Promise((resolve) => {
      const leave = () => {
        signal.removeEventListener('abort', gone);
        this.#waiters -= 1;
        waiters.delete(enter);
        if (waiters.size === 0) this.#waiting.delete(source);
      };
      const enter = () => {
        leave();
        resolve(this.#enter(source, signal));
      };
      const gone = () => {
        leave();
        resolve({ refused: 'gone' });
      };
      signal.addEventListener('abort', gone);
      this.#waiters += 1;
      this.#waiting.set(source, waiters.add(enter));
    });
  }

  #mayEnter(source: string): boolean {
    return (this.#held.get(source) ?? 0) < SHARE_OF_PLACES * (this.#maxPending - this.#known);
  }

  #enter(source: string, signal: AbortSignal): Admission {
    this.#known += 1;
    this.#held.set(source, (this.#held.get(source) ?? 0) + 1);
    return { place: this.#place(signal, () => this.#leaveKnown(source)) };
  }

  #leaveKnown(source: string): void {
    this.#known -= 1;
    const held = (this.#held.get(source) ?? 1) - 1;
    if (held === 0) this.#held.delete(source);
    else this.#held.set(source, held);
    this.#serve();
  }

  /** Lets in who waits, one of each source in turn, as far as there are places. */
  #serve(): void {
    for (const [source, waiters] of this.#waiting) {
      if (this.#known >= this.#maxPending) return;
      if (!this.#mayEnter(source)) continue; // at most a fifth of the places' number of sources hold that many
      const [next] = waiters;
      next?.();
      if (waiters.size === 0) continue;
      this.#waiting.delete(source);
      this.#waiting.set(source, waiters); // behind the others, and this loop comes to it again
    }
  }

  /** `leave` counts once, whether it is called or the peer goes away. */
  #place(signal: AbortSignal, freed: () => void): Place {
    this.#counts.admitted += 1;
    const leave = () => {
      if (left) return;
      left = true;
      signal.removeEventListener('abort', leave);
      freed();
    };
    let left = false;
    signal.addEventListener('abort', leave);
    return { leave };
  }
}
