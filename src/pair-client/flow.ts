import type { FailureCode } from '../support/failures.ts';

/** The one thing that is done next; each gives one `Outcome`. */
export type Action =
  /** Look for the device: by mDNS, or take the address that was given. */
  | { kind: 'find' }
  /** Log in by ssh and hold the tunnel for as long as it stands. */
  | { kind: 'connect' }
  /** Ask the device whether pairing is open. */
  | { kind: 'ask' }
  /** Send the public key. */
  | { kind: 'send' }
  /** Prove the PIN and send the public key with it. */
  | { kind: 'prove' }
  | { kind: 'wait'; ms: number }
  | { kind: 'end'; failure: Reason | null };

export interface Reason {
  code: FailureCode;
  sentence: string;
}

export type Outcome =
  | { kind: 'waited' }
  | { kind: 'found' }
  | { kind: 'not-found'; why: string }
  /** ssh: with `once`, the key was accepted and nothing more was wanted. */
  | { kind: 'verified' }
  /** ssh: the tunnel stood for `heldMs`. */
  | { kind: 'lost'; heldMs: number }
  /** ssh: this is the device, but it does not accept our key. */
  | { kind: 'refused'; why: string }
  /** ssh: another host key than the one of the first time. `sought` is false where it may be another device. */
  | { kind: 'other-host-key'; why: string; sought: boolean }
  /** ssh: a local port is taken. */
  | { kind: 'port-taken'; why: string }
  /** HTTP: pairing is open to anybody. */
  | { kind: 'open' }
  /** HTTP: pairing is closed; with `pin` it is open to whoever proves the PIN. */
  | { kind: 'closed'; pin: boolean }
  /** The PIN is wanted, and there is none; the sentence says so. */
  | { kind: 'no-pin'; why: string }
  /** HTTP: the key was taken. */
  | { kind: 'taken' }
  /** HTTP: the device wants to be left alone for a while. */
  | { kind: 'busy'; afterMs: number }
  /** ssh or HTTP: no answer, or none that makes sense. */
  | { kind: 'no-answer'; why: string }
  /** The proof of the PIN was sent, and no answer tells whether it counted. */
  | { kind: 'unclear'; why: string }
  /** Nothing that waiting could change: a key that is not accepted, a wrong PIN. */
  | { kind: 'hopeless'; reason: Reason };

/** What is known between two steps. */
export interface FlowState {
  /** What a wait leads to. */
  readonly next: 'find' | 'ask';
  /** Whether the key may be in force, so that ssh is tried before anything is asked or sent. */
  readonly tryKey: boolean;
  /** Whether the device took the key and ssh has not been tried since. */
  readonly sent: boolean;
  /** How often in a row ssh refused a key that the device had taken. */
  readonly overtaken: number;
  /** Attempts in a row that led nowhere. */
  readonly failures: number;
  /** Proofs of the PIN of which nobody knows whether they counted. */
  readonly proofs: number;
  /** Whether the tunnel has stood since the start. */
  readonly stood: boolean;
  /** When ssh was tried last. */
  readonly triedAtMs: number;
}

export interface FlowContext {
  /** Pair and check, then end; and do not try for ever. */
  once: boolean;
  /** Monotonic. */
  nowMs: number;
  /** A number in [0, 1). */
  random: () => number;
}

export interface Step {
  state: FlowState;
  action: Action;
}

/** Of readytopair. Costs the device nothing; two clients do not ask in step. */
const POLL_MS = { from: 2_000, to: 5_000 };
const FIRST_BACKOFF_MS = 2_000;
const MAX_BACKOFF_MS = 60_000;
/** The one that came last needs a moment to connect; then the device sees its tunnel and closes pairing. */
const FIRST_OVERTAKEN_MS = 10_000;
const MAX_OVERTAKEN_MS = 300_000;
/** A tunnel this long counts as held, and its loss as new trouble. */
const HELD_MS = 30_000;
/**
 * Somebody can have put the key back by hand. Not more often: the device may take an attempt for a tunnel, and then
 * waits ten minutes before it opens pairing.
 */
const TRY_KEY_AGAIN_MS = 30 * 60_000;
/** With `once`: about a minute. */
const ONCE_FAILURES = 6;
const ONCE_OVERTAKEN = 3;
/** Each may have counted as a wrong PIN; 20 of those lock the device. */
const MAX_PROOFS = 3;
const MAX_BUSY_MS = 10 * 60_000;

/**
 * How likely the device knows the key: it was made just now; it was there before; or the device has been connected with
 * before.
 */
export type KeyKnown = 'no' | 'perhaps' | 'yes';

/**
 * A device may take a refused attempt by ssh for a tunnel, and then closes pairing for ten minutes. So ssh comes first
 * only where it can be expected to succeed: a restart asks and sends nothing. A key that is perhaps known is tried when
 * pairing is found closed; while it can be paired, sending a key that is in force already changes nothing.
 */
export function begin(known: KeyKnown, nowMs: number): Step {
  const state: FlowState = {
    next: 'find',
    tryKey: known === 'yes',
    sent: false,
    overtaken: 0,
    failures: 0,
    proofs: 0,
    stood: false,
    triedAtMs: known === 'perhaps' ? Number.NEGATIVE_INFINITY : nowMs,
  };
  return { state, action: { kind: 'find' } };
}

/**
 * What to do after `outcome`. Pure. Without `once` it ends only where waiting is of no use, and nothing repeats without
 * a wait in between.
 */
export function step(state: FlowState, outcome: Outcome, { once, nowMs, random }: FlowContext): Step {
  const between = (fromMs: number, toMs: number) => Math.round(fromMs + random() * (toMs - fromMs));
  const backoff = (count: number, firstMs: number, maxMs: number) => {
    const ceilingMs = Math.min(maxMs, firstMs * 2 ** Math.min(count - 1, 20));
    return between(ceilingMs / 2, ceilingMs);
  };
  const go = (kind: 'find' | 'connect' | 'ask' | 'send' | 'prove', change: Partial<FlowState> = {}): Step => ({
    state: { ...state, ...change, ...(kind === 'connect' && { triedAtMs: nowMs }) },
    action: { kind },
  });
  const wait = (ms: number, next: FlowState['next'], change: Partial<FlowState> = {}): Step => ({
    state: { ...state, ...change, next },
    action: { kind: 'wait', ms },
  });
  const end = (failure: Reason | null): Step => ({ state, action: { kind: 'end', failure } });
  /** Try again from the beginning: the device may have another address by now. */
  const retry = (code: FailureCode, why: string, change: Partial<FlowState> = {}): Step => {
    const failures = state.failures + 1;
    if (once && failures >= ONCE_FAILURES) return end({ code, sentence: why });
    return wait(backoff(failures, FIRST_BACKOFF_MS, MAX_BACKOFF_MS), 'find', { ...change, failures });
  };

  const mayTryKey = nowMs - state.triedAtMs >= TRY_KEY_AGAIN_MS;

  switch (outcome.kind) {
    case 'waited':
      return go(state.next);

    case 'found':
      return go(state.tryKey ? 'connect' : 'ask');

    case 'not-found':
      if (once) return end({ code: 'pair.not-found', sentence: outcome.why });
      return retry('pair.not-found', outcome.why);

    case 'verified':
      return end(null);

    case 'lost': {
      const held = outcome.heldMs >= HELD_MS;
      const change = { tryKey: true, sent: false, overtaken: 0, proofs: 0, stood: true };
      return retry('pair.no-answer', 'the tunnel was lost', { ...change, ...(held && { failures: 0 }) });
    }

    case 'refused': {
      if (!state.sent) return go('ask', { tryKey: false });
      const overtaken = state.overtaken + 1;
      if (once && overtaken >= ONCE_OVERTAKEN) return end({ code: 'pair.key-refused', sentence: outcome.why });
      const waitMs = backoff(overtaken, FIRST_OVERTAKEN_MS, MAX_OVERTAKEN_MS);
      return wait(waitMs, 'ask', { tryKey: false, sent: false, overtaken });
    }

    case 'other-host-key':
      if (outcome.sought) return end({ code: 'pair.host-key', sentence: outcome.why });
      return retry('pair.not-found', outcome.why);

    case 'port-taken': // at the start somebody is there to be told; later the port may come free again
      if (!state.stood) return end({ code: 'pair.port-taken', sentence: outcome.why });
      return retry('pair.port-taken', outcome.why);

    case 'open':
      return go('send');

    case 'closed':
      if (outcome.pin) return go('prove');
      if (mayTryKey) return go('connect', { failures: 0 });
      return wait(between(POLL_MS.from, POLL_MS.to), 'ask', { failures: 0 });

    case 'no-pin':
      return mayTryKey ? go('connect') : end({ code: 'pair.pin-needed', sentence: outcome.why });

    case 'taken':
      return go('connect', { tryKey: true, sent: true, failures: 0, proofs: 0 });

    case 'busy':
      return wait(Math.min(MAX_BUSY_MS, outcome.afterMs) + between(0, POLL_MS.from), 'ask');

    case 'no-answer':
      return retry('pair.no-answer', outcome.why);

    case 'unclear': {
      const proofs = state.proofs + 1;
      if (proofs >= MAX_PROOFS) return end({ code: 'pair.no-answer', sentence: outcome.why });
      return retry('pair.no-answer', outcome.why, { proofs });
    }

    case 'hopeless':
      return end(outcome.reason);
  }
}
