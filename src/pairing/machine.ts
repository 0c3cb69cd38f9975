/**
 * Whether a stranger may set the key, decided purely: state, event and monotonic time go in, the new state and what
 * is to be done come out. The rules are `State machine` in docs/pairing.md.
 */

/** What is known of the paired tunnel: it stands, it does not, or nobody can tell. */
export type Observation = { readonly kind: 'active' | 'none' | 'fault' };

export type PairingEvent =
  | { readonly kind: 'observed'; readonly observation: Observation }
  /** The time of a `wake` effect has come. */
  | { readonly kind: 'woken' }
  /** The marker "ever paired" is on the disk. */
  | { readonly kind: 'remembered' };

export type PairingEffect =
  /** Write the marker "ever paired", then report `remembered`. Asked for again at the next change when it failed. */
  | { readonly kind: 'remember' }
  /** Report `woken` after this time. A step without this effect ends the wait of an earlier one. */
  | { readonly kind: 'wake'; readonly afterMs: number }
  /** Pairing has opened or closed since the last step. */
  | { readonly kind: 'announce'; readonly open: boolean };

export interface PairingState {
  /** How long the tunnel must have been away before pairing opens again. */
  readonly timeoutMs: number;
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
  /** What the last `announce` said. */
  readonly announcedOpen: boolean;
}

export interface Step {
  readonly state: PairingState;
  readonly effects: readonly PairingEffect[];
}

/** Timers of Node end at 24.8 days; one that is woken too early asks again. */
const WAKE_MAX_MS = 24 * 60 * 60 * 1000;

/** @param everPaired by the marker or by a valid key in the key file; false where nothing is to be remembered */
export function initialState(options: {
  timeoutMs: number;
  everPaired: boolean;
  markerWritten: boolean;
}): PairingState {
  return {
    timeoutMs: options.timeoutMs,
    observed: null,
    everSeen: options.everPaired,
    marker: options.markerWritten ? 'written' : 'none',
    earlierAbsenceMs: 0,
    absentSinceMs: null,
    announcedOpen: false,
  };
}

/** @param nowMs monotonic; never less than at the step before (pairing: state machine 1) */
export function step(before: PairingState, event: PairingEvent, nowMs: number): Step {
  const after = apply(before, event, nowMs);
  const open = isOpen(after, nowMs);
  const effects: PairingEffect[] = [];
  if (after.marker === 'owed' && after.observed !== before.observed) effects.push({ kind: 'remember' });
  const waitMs = opensInMs(after, nowMs);
  if (waitMs !== null && waitMs > 0) effects.push({ kind: 'wake', afterMs: Math.min(waitMs, WAKE_MAX_MS) });
  if (open !== before.announcedOpen) effects.push({ kind: 'announce', open });
  return { state: { ...after, announcedOpen: open }, effects };
}

function apply(state: PairingState, event: PairingEvent, nowMs: number): PairingState {
  switch (event.kind) {
    case 'observed':
      return observe(state, event.observation.kind, nowMs);
    case 'woken':
      return state;
    case 'remembered':
      return { ...state, marker: 'written' };
  }
}

function observe(state: PairingState, observed: Observation['kind'], nowMs: number): PairingState {
  switch (observed) {
    case 'active':
      return {
        ...state,
        observed,
        everSeen: true,
        marker: state.marker === 'none' ? 'owed' : state.marker,
        earlierAbsenceMs: 0,
        absentSinceMs: null,
      };
    case 'none':
      return { ...state, observed, absentSinceMs: state.absentSinceMs ?? nowMs };
    case 'fault':
      // The countdown pauses: what nobody saw is neither a loss nor a tunnel (pairing: state machine 5).
      return { ...state, observed, earlierAbsenceMs: absenceMs(state, nowMs), absentSinceMs: null };
  }
}

/** Whether a key would be accepted at this moment. */
export function isOpen(state: PairingState, nowMs: number): boolean {
  return opensInMs(state, nowMs) === 0;
}

/** Time until pairing opens when nothing changes: 0 when it is open, null when it will not open by itself. */
export function opensInMs(state: PairingState, nowMs: number): number | null {
  if (state.observed !== 'none') return null;
  if (!state.everSeen) return 0;
  return Math.max(0, state.timeoutMs - absenceMs(state, nowMs));
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
      if (!state.everSeen) return 'the device has never been paired';
      if (isOpen(state, nowMs)) return 'the tunnel has been gone for longer than the pairing timeout';
      return 'there is no tunnel, but the pairing timeout has not passed yet';
  }
}
