import { randomBytes } from 'node:crypto';
import type { Challenge } from '../srp/server.ts';
import type { Clock } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';

/** A person types the PIN before, a program afterwards: a proof follows in a second or two. */
const LIFE_MS = 60_000;
/** One that its source asks for again is given out again while it has as much time left. */
const REUSE_MS = 30_000;
const OPEN_MAX = 8;
/**
 * A challenge costs a Pi a quarter of a second, so all sources together get 4 at once and 30 a minute. As only the oldest
 * of 8 makes room, each stands for 8 s at least, whatever strangers ask for.
 */
const BURST = 4;
export const CHALLENGE_EVERY_MS = 2_000;

interface Entry {
  /** 32 hex digits. */
  readonly session: string;
  readonly challenge: Promise<Challenge>;
  readonly untilMs: number;
}

/** The open challenges: a few, for a minute each, one a source, for one proof each (pairing: PIN). */
export class PinChallenges {
  readonly #clock: Clock;
  /** By source, the oldest first. */
  readonly #open = new Map<string, Entry>();
  #allowance = BURST;
  #allowanceAtMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#allowanceAtMs = clock.nowMs();
  }

  /**
   * The open challenge of this source, or a new one.
   * @throws Failure `pairing.pin-busy` when all sources together have asked for too many
   */
  async open(source: string, create: () => Promise<Challenge>): Promise<{ session: string; challenge: Challenge }> {
    const entry = this.#ofSource(source) ?? this.#add(source, create);
    return { session: entry.session, challenge: await entry.challenge };
  }

  /**
   * The challenge of this session, which is over with that; null when there is none, or none any more. Whatever source
   * asks: a client may come by IPv4 the first time and by IPv6 the second.
   */
  take(session: string): Promise<Challenge> | null {
    const [source, entry] = [...this.#open].find(([, open]) => open.session === session) ?? [];
    if (source === undefined || entry === undefined) return null;
    this.#open.delete(source);
    return this.#clock.nowMs() < entry.untilMs ? entry.challenge : null;
  }

  /** Ends all of them: they are about another PIN. */
  clear(): void {
    this.#open.clear();
  }

  #ofSource(source: string): Entry | null {
    const entry = this.#open.get(source);
    return entry !== undefined && entry.untilMs - this.#clock.nowMs() >= REUSE_MS ? entry : null;
  }

  #add(source: string, create: () => Promise<Challenge>): Entry {
    this.#spend();
    const challenge = create();
    const entry = { session: randomBytes(16).toString('hex'), challenge, untilMs: this.#clock.nowMs() + LIFE_MS };
    challenge.catch(() => this.#open.get(source) === entry && this.#open.delete(source));
    this.#open.delete(source); // to stand at the end
    this.#open.set(source, entry);
    const [oldest] = this.#open.keys();
    if (this.#open.size > OPEN_MAX && oldest !== undefined) this.#open.delete(oldest);
    return entry;
  }

  #spend(): void {
    const nowMs = this.#clock.nowMs();
    this.#allowance = Math.min(BURST, this.#allowance + (nowMs - this.#allowanceAtMs) / CHALLENGE_EVERY_MS);
    this.#allowanceAtMs = nowMs;
    if (this.#allowance < 1) throw new Failure('pairing.pin-busy', 'too many clients want to prove the PIN at once');
    this.#allowance -= 1;
  }
}
