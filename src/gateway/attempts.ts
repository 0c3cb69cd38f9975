import type { Clock } from '../support/clock.ts';
import { TokenBucket } from '../support/token-bucket.ts';
import { BoundedMap } from './bounded-map.ts';
import { sourceOf } from './source.ts';

/** A wrong answer takes its time, twice as long each time; not for long, since it holds a place meanwhile. */
const FIRST_DELAY_MS = 500;
const MOST_DELAY_MS = 4_000;
const FORGET_MS = 600_000;

/**
 * How many wrong short tokens are looked at: for one device, from all addresses that it never used; for one device,
 * from one that it did; from one address, for all devices that never used it.
 */
const STRANGERS = { burst: 5, perSecond: 1 / 60 };
const OWN_ADDRESS = { burst: 20, perSecond: 1 };
const ONE_STRANGER = { burst: 30, perSecond: 1 / 5 };

const MAX_REMEMBERED = 10_000;

/** A token that was shown, and what the fleet says of it. */
export interface Attempt {
  /** The device that is claimed, whether there is one or not. */
  readonly deviceKey: string;
  readonly address: string;
  /** Keyed hash of the token. */
  readonly hash: string;
  readonly right: boolean;
  /** Whether the device has a short token: one that can be guessed. False for an unknown device. */
  readonly guessable: boolean;
  /** Whether the device has shown its token there before. */
  readonly isOwnAddress: boolean;
}

/** `unlooked`: answered as a wrong one, whatever it was. */
export type Verdict = { readonly pass: true } | { readonly pass: false; readonly delayMs: number; unlooked: boolean };

/** What is remembered of a device that was guessed at. */
interface Guesses {
  readonly strangers: TokenBucket;
  readonly own: BoundedMap<string, TokenBucket>;
  /** The last wrong one: a device with a stale token says the same again and again, and nobody learns from it. */
  lastWrong: string | null;
}

/**
 * Guessing (wire 1.9). Tokens of 16 bytes and more cannot be guessed: the right one passes at once, whatever strangers
 * do meanwhile. Short ones are looked at so many times; docs/gateway-design.md says how long guessing takes then.
 */
export class Attempts {
  readonly #clock: Clock;
  /** Wrong answers lately, by source and by the key that was claimed. */
  readonly #wrongFrom = new BoundedMap<string, { count: number; atMs: number }>(MAX_REMEMBERED);
  readonly #wrongFor = new BoundedMap<string, { count: number; atMs: number }>(MAX_REMEMBERED);
  /** Of devices with short tokens only, so that nobody can push one out with invented keys. */
  readonly #guesses = new Map<string, Guesses>();
  readonly #strangers = new BoundedMap<string, TokenBucket>(MAX_REMEMBERED);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  judge(attempt: Attempt): Verdict {
    const looked = !attempt.guessable || this.#mayLook(attempt);
    if (attempt.right && looked) return { pass: true };
    const delayMs = Math.max(
      this.#delay(this.#wrongFrom, sourceOf(attempt.address)),
      this.#delay(this.#wrongFor, attempt.deviceKey),
    );
    return { pass: false, delayMs, unlooked: !looked };
  }

  /** A tunnel token that nobody has: only its source can be counted. */
  wrongTunnelToken(address: string): { delayMs: number } {
    return { delayMs: this.#delay(this.#wrongFrom, sourceOf(address)) };
  }

  /** The device is no more, or has another token. */
  forget(deviceKey: string): void {
    this.#guesses.delete(deviceKey);
  }

  /** Only what is wrong costs something: a right one passes as long as anything is left. */
  #mayLook({ deviceKey, address, hash, right, isOwnAddress }: Attempt): boolean {
    const nowMs = this.#clock.nowMs();
    const source = sourceOf(address);
    const known = this.#guesses.get(deviceKey);
    if (known === undefined && right && isOwnAddress) return true;
    const guesses = known ?? this.#remember(deviceKey, nowMs);
    if (!right && guesses.lastWrong === hash) return true;
    const budgets = isOwnAddress
      ? [guesses.own.need(source, () => new TokenBucket(OWN_ADDRESS.burst, OWN_ADDRESS.perSecond, nowMs))]
      : [
          guesses.strangers,
          this.#strangers.need(source, () => new TokenBucket(ONE_STRANGER.burst, ONE_STRANGER.perSecond, nowMs)),
        ];
    if (!budgets.every((budget) => budget.available(nowMs))) return false;
    if (right) return true;
    guesses.lastWrong = hash;
    for (const budget of budgets) budget.take(nowMs);
    return true;
  }

  #remember(deviceKey: string, nowMs: number): Guesses {
    const guesses = {
      strangers: new TokenBucket(STRANGERS.burst, STRANGERS.perSecond, nowMs),
      own: new BoundedMap<string, TokenBucket>(16),
      lastWrong: null,
    };
    this.#guesses.set(deviceKey, guesses);
    return guesses;
  }

  #delay(of: BoundedMap<string, { count: number; atMs: number }>, name: string): number {
    const atMs = this.#clock.nowMs();
    const before = of.get(name);
    const count = before === undefined || atMs - before.atMs > FORGET_MS ? 0 : before.count;
    of.set(name, { count: count + 1, atMs });
    return Math.min(FIRST_DELAY_MS * 2 ** count, MOST_DELAY_MS);
  }
}
