/**
 * Whether a stranger may set the key, decided purely: state, event and monotonic time go in, the new state and what
 * is to be done come out. The rules are `State machine` in docs/pairing.md.
 */

/** What is known of the paired tunnel: it stands, it does not, or nobody can tell. */
export type Observation = { readonly kind: 'active' | 'none' | 'fault' };

/** Who may pair while no tunnel stands and the timeout has passed: anybody, whoever proves the PIN, or nobody. */
export type Policy = 'open' | 'pin' | 'locked';

/** Who may pair now: anybody, whoever proves the PIN, or nobody. */
export type Access = 'open' | 'pin' | 'closed';

/** What may change while the service runs. */
export interface PairingRules {
  readonly policy: Policy;
  /** How long the tunnel must have been away before pairing opens again. */
  readonly timeoutMs: number;
  /** false: what was seen is forgotten at a restart (pairing: state machine 4). */
  readonly remember: boolean;
}

export type PairingEvent =
  | { readonly kind: 'observed'; readonly observation: Observation }
  /** The time of a `wake` effect has come. */
  | { readonly kind: 'woken' }
  /** The marker "ever paired" is on the disk. */
  | { readonly kind: 'remembered' }
  /** Somebody at the device opens pairing; of no effect unless `refusesLocalOpening` is null. */
  | { readonly kind: 'opened' }
  /** A key was set. */
  | { readonly kind: 'key-set' }
  /** Key and marker have been removed. */
  | { readonly kind: 'reset' }
  | { readonly kind: 'configured'; readonly rules: PairingRules };

export type PairingEffect =
  /** Write the marker "ever paired", then report `remembered`. Asked for again at the next change when it failed. */
  | { readonly kind: 'remember' }
  /** Report `woken` after this time. A step without this effect ends the wait of an earlier one. */
  | { readonly kind: 'wake'; readonly afterMs: number }
  /** Who may pair has changed since the last step. */
  | { readonly kind: 'announce'; readonly access: Access };

export interface PairingState {
  readonly rules: PairingRules;
  /** null before the first observation. */
  readonly observed: Observation['kind'] | null;
  /** A tunnel has been seen, or the device was paired when the service started: the timeout applies. */
  readonly everSeen: boolean;
  /** Whether "ever seen" survives a restart yet; `none` while there is nothing to remember. */
  readonly marker: 'none' | 'owed' | 'written';
  /** Time without a tunnel in the stretches that have ended; those of a fault between them do not count. */
  readonly earlierAbsenceMs: number;
  /** Monotonic time at which the present stretch without a tunnel was first seen; null outside of one. */
  readonly absentSinceMs: number | null;
  /** Monotonic time until which pairing is open because somebody at the device said so; null when nobody did. */
  readonly openedUntilMs: number | null;
  /** No look has found the tunnel gone since the reset: one that stands is of the key that was removed. */
  readonly tunnelOfOldKey: boolean;
  /** What the last `announce` said. */
  readonly announced: Access;
}

export interface Step {
  readonly state: PairingState;
  readonly effects: readonly PairingEffect[];
}

/** How long a local opening lasts (pairing: state machine 6). */
export const LOCAL_OPENING_MS = 120_000;
/** Timers of Node end at 24.8 days; one that is woken too early asks again. */
const WAKE_MAX_MS = 24 * 60 * 60 * 1000;

/** @param everPaired by the marker or by a valid key in the key file; false where nothing is to be remembered */
export function initialState(rules: PairingRules, past: { everPaired: boolean; markerWritten: boolean }): PairingState {
  return {
    rules,
    observed: null,
    everSeen: past.everPaired,
    marker: past.markerWritten ? 'written' : 'none',
    earlierAbsenceMs: 0,
    absentSinceMs: null,
    openedUntilMs: null,
    tunnelOfOldKey: false,
    announced: 'closed',
  };
}

/** @param nowMs monotonic; never less than at the step before (pairing: state machine 1) */
export function step(before: PairingState, event: PairingEvent, nowMs: number): Step {
  const after = apply(before, event, nowMs);
  const effects: PairingEffect[] = [];
  const changed = after.observed !== before.observed || after.rules.remember !== before.rules.remember;
  if (after.marker === 'owed' && after.rules.remember && changed) effects.push({ kind: 'remember' });
  const waitMs = changesInMs(after, nowMs);
  if (waitMs !== null && waitMs > 0) effects.push({ kind: 'wake', afterMs: Math.min(waitMs, WAKE_MAX_MS) });
  const announced = access(after, nowMs);
  if (announced !== before.announced) effects.push({ kind: 'announce', access: announced });
  return { state: { ...after, announced }, effects };
}

function apply(state: PairingState, event: PairingEvent, nowMs: number): PairingState {
  switch (event.kind) {
    case 'observed':
      return observe(state, event.observation.kind, nowMs);
    case 'woken':
      return state;
    case 'remembered':
      return { ...state, marker: 'written' };
    case 'opened':
      if (refusesLocalOpening(state) !== null) return state;
      return { ...state, openedUntilMs: nowMs + LOCAL_OPENING_MS };
    case 'key-set':
      return { ...state, openedUntilMs: null };
    case 'reset':
      return { ...state, everSeen: false, marker: 'none', openedUntilMs: null, tunnelOfOldKey: true };
    case 'configured': {
      // What is to be remembered from now on may be on the disk or not; to write it again costs nothing.
      const owed = event.rules.remember && !state.rules.remember && state.everSeen;
      return { ...state, rules: event.rules, marker: owed ? 'owed' : state.marker };
    }
  }
}

function observe(state: PairingState, observed: Observation['kind'], nowMs: number): PairingState {
  switch (observed) {
    case 'active': {
      const everSeen = state.everSeen || !state.tunnelOfOldKey;
      return {
        ...state,
        observed,
        everSeen,
        marker: everSeen && state.marker === 'none' ? 'owed' : state.marker,
        earlierAbsenceMs: 0,
        absentSinceMs: null,
        openedUntilMs: null,
      };
    }
    case 'none':
      return { ...state, observed, absentSinceMs: state.absentSinceMs ?? nowMs, tunnelOfOldKey: false };
    case 'fault':
      // The countdown pauses: what nobody saw is neither a loss nor a tunnel (pairing: state machine 5).
      return {
        ...state,
        observed,
        earlierAbsenceMs: absenceMs(state, nowMs),
        absentSinceMs: null,
        openedUntilMs: null,
      };
  }
}

/** Who may pair at this moment. */
export function access(state: PairingState, nowMs: number): Access {
  if (isOpen(state, nowMs)) return 'open';
  return acceptsPin(state, nowMs) ? 'pin' : 'closed';
}

/** Whether a key of anybody would be accepted at this moment. */
export function isOpen(state: PairingState, nowMs: number): boolean {
  return openedForMs(state, nowMs) !== null || (state.rules.policy === 'open' && timeoutInMs(state, nowMs) === 0);
}

/** Whether a key would be accepted at this moment together with a proof of the PIN. */
export function acceptsPin(state: PairingState, nowMs: number): boolean {
  return state.rules.policy === 'pin' && timeoutInMs(state, nowMs) === 0;
}

/**
 * Time until somebody may pair when nothing changes: anybody, or whoever proves the PIN. 0 when it is so now, null when
 * it will not come by itself.
 */
export function opensInMs(state: PairingState, nowMs: number): number | null {
  if (openedForMs(state, nowMs) !== null) return 0;
  return state.rules.policy === 'locked' ? null : timeoutInMs(state, nowMs);
}

/** How much longer a local opening lasts; null when there is none. */
export function openedForMs(state: PairingState, nowMs: number): number | null {
  if (state.openedUntilMs === null || nowMs >= state.openedUntilMs) return null;
  return state.openedUntilMs - nowMs;
}

/** Why pairing cannot be opened at the device now: a tunnel stands, or nobody can tell. */
export function refusesLocalOpening(state: PairingState): 'tunnel' | 'unknown' | null {
  if (state.observed === 'none') return null;
  return state.observed === 'active' ? 'tunnel' : 'unknown';
}

/** When to look again: the end of a local opening, or the opening by itself. */
function changesInMs(state: PairingState, nowMs: number): number | null {
  return openedForMs(state, nowMs) ?? opensInMs(state, nowMs);
}

/** Time until no tunnel has stood for long enough; null while one stands or nobody can tell. */
function timeoutInMs(state: PairingState, nowMs: number): number | null {
  if (state.observed !== 'none') return null;
  if (!state.everSeen) return 0;
  return Math.max(0, state.rules.timeoutMs - absenceMs(state, nowMs));
}

function absenceMs(state: PairingState, nowMs: number): number {
  return state.earlierAbsenceMs + (state.absentSinceMs === null ? 0 : nowMs - state.absentSinceMs);
}

/** Why pairing is open or not, as a technician would say it. */
export function reason(state: PairingState, nowMs: number): string {
  switch (state.observed) {
    case null:
      return 'the connections to the tunnel port have not been looked at yet';
    case 'fault':
      return 'it is not known whether a tunnel stands';
    case 'active':
      return 'a tunnel stands';
    case 'none':
      if (openedForMs(state, nowMs) !== null) return 'it was opened at the device, for one key';
      if (state.rules.policy === 'locked') return 'the policy is locked: pairing opens only at the device';
      if (!state.everSeen) return 'the device has never been paired';
      if (timeoutInMs(state, nowMs) === 0) return 'the tunnel has been gone for longer than the pairing timeout';
      return 'there is no tunnel, but the pairing timeout has not passed yet';
  }
}
