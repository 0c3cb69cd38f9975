/** How an attempt or a session ended, as far as the next attempt depends on it. */
export type Ending =
  /** No session came about. */
  | { kind: 'failed' }
  /** A session was accepted and lasted `heldMs`. */
  | { kind: 'lost'; heldMs: number }
  /** The proxy took a newer connection with our device key in place of ours. */
  | { kind: 'replaced'; heldMs: number }
  /** The proxy asked, `agoMs` ago, to come back at a time of its range; the session had lasted `heldMs`. */
  | { kind: 'going-away'; heldMs: number; minMs: number; maxMs: number; agoMs: number };

export interface ReconnectLimits {
  minMs: number;
  maxMs: number;
}

/** What the policy remembers between two attempts; begin with `FRESH`. */
export interface ReconnectState {
  /** When the trouble began: the end of the last session that was held, or the first failure. */
  readonly troubleSinceMs: number | null;
  /** Upper end of the last delay's range; 0 before the first. */
  readonly ceilingMs: number;
  /** Sessions in a row that were taken from us. */
  readonly replacements: number;
}

export const FRESH: ReconnectState = { troubleSinceMs: null, ceilingMs: 0, replacements: 0 };

export interface Decision {
  state: ReconnectState;
  delayMs: number;
  /** Another device uses our key: seen often enough to say so. */
  duplicate: boolean;
}

// Deployed agents try again after 5 s, doubling to 60 s, all at the same moments. The numbers below keep a tunnel's user
// waiting for at most 5 s where the proxy was away for a short time, and spread a fleet where it was away for long.

/** A session this long counts as held. */
export const HELD_MS = 30_000;
/** The first retry after a held session; not at once, since a proxy that restarts takes a moment to let go. */
const FIRST_RETRY_MS = { from: 100, to: 500 };
/** The first ceiling, in units of the minimum: a proxy that was away for a second is back within the next. */
const FIRST_CEILING = 1.5;
const EARLY_CEILING_MS = 5000;
const EARLY_MS = 5 * 60_000;
/** A range of G goes up to 18 hours; nobody but a proxy in error wants a device away for more than one (README 4.8). */
const ORDERED_MAX_MS = 60 * 60_000;
/** One replacement is a proxy that saw us twice, two may be a coincidence. */
const DUPLICATE_AT = 3;
/** At the maximal delay each of two duplicates holds its session for a minute; only much longer is peace. */
const PEACE_MS = 10 * 60_000;

/**
 * When to try again. Pure: `random` gives a number in [0, 1), `nowMs` is monotonic.
 *
 * After a held session the first retry is quick. Then each delay is drawn from [min, ceiling], so that a fleet does
 * not come back at one instant. The ceiling doubles, up to 5 s for five minutes, then up to the maximum.
 */
export function nextAttempt(
  before: ReconnectState,
  ending: Ending,
  limits: ReconnectLimits,
  nowMs: number,
  random: () => number,
): Decision {
  const between = (fromMs: number, toMs: number) => fromMs + random() * (toMs - fromMs);

  if (ending.kind === 'going-away') {
    const usual = nextAttempt(before, { kind: 'lost', heldMs: ending.heldMs }, limits, nowMs, random);
    const orderedMs = between(Math.min(ending.minMs, ORDERED_MAX_MS), Math.min(ending.maxMs, ORDERED_MAX_MS));
    // A range that begins at once is no licence to hammer.
    return { ...usual, delayMs: Math.max(usual.delayMs, orderedMs - ending.agoMs) };
  }

  if (ending.kind === 'replaced') {
    const base = ending.heldMs < PEACE_MS ? before : FRESH;
    const state = { ...backedOff(base, limits, nowMs), replacements: base.replacements + 1 };
    const duplicate = state.replacements >= DUPLICATE_AT;
    return { state, delayMs: duplicate ? limits.maxMs : between(limits.minMs, state.ceilingMs), duplicate };
  }

  if (ending.kind === 'lost' && ending.heldMs >= HELD_MS) {
    const state = { ...FRESH, troubleSinceMs: nowMs };
    return { state, delayMs: between(FIRST_RETRY_MS.from, FIRST_RETRY_MS.to), duplicate: false };
  }

  const state = backedOff(before, limits, nowMs);
  return { state, delayMs: between(limits.minMs, state.ceilingMs), duplicate: false };
}

function backedOff(before: ReconnectState, { minMs, maxMs }: ReconnectLimits, nowMs: number): ReconnectState {
  const troubleSinceMs = before.troubleSinceMs ?? nowMs;
  const boundMs = nowMs - troubleSinceMs < EARLY_MS ? Math.min(EARLY_CEILING_MS, maxMs) : maxMs;
  const grownMs = before.ceilingMs === 0 ? minMs * FIRST_CEILING : before.ceilingMs * 2;
  return { ...before, troubleSinceMs, ceilingMs: Math.max(minMs, Math.min(grownMs, boundMs)) };
}
