import { acceptsPin, isOpen, openedForMs, opensInMs, type PairingState, type Policy, reason } from './machine.ts';
import type { PinStatus } from './pin-guard.ts';

/** What a technician and the status page get to see. Without secrets. */
export interface PairingStatus {
  policy: Policy;
  /** Whether a key of anybody would be accepted now. */
  open: boolean;
  /** Whether a key would be accepted now together with a proof of the PIN. */
  pinReady: boolean;
  /** Why pairing is open or not, in words. */
  reason: string;
  /** Until anybody, or whoever proves the PIN, may pair: 0 when it is so, null when it will not come by itself. */
  opensInSeconds: number | null;
  /** The opening by somebody at the device; null when there is none. */
  openedLocally: { secondsLeft: number } | null;
  /** null when nobody can tell. */
  pin: PinStatus | null;
  tunnel: 'active' | 'none' | 'unknown';
  /** Whether the timeout applies: a tunnel was seen, or the device was paired when the service started. */
  everPaired: boolean;
  /** The key in force; null when there is none, `failure` when nobody can tell. */
  key: { type: string; fingerprint: string } | { failure: string } | null;
}

/** What the machine says; what the files say is the caller's to add. @param state null before the start */
export function describeMachine(
  state: PairingState | null,
  nowMs: number,
): Omit<PairingStatus, 'policy' | 'pin' | 'key'> {
  if (state === null) {
    const reason = 'the service is starting';
    const closed = { open: false, pinReady: false, reason, opensInSeconds: null, openedLocally: null };
    return { ...closed, tunnel: 'unknown', everPaired: false };
  }
  const [waitMs, openedMs] = [opensInMs(state, nowMs), openedForMs(state, nowMs)];
  return {
    open: isOpen(state, nowMs),
    pinReady: acceptsPin(state, nowMs),
    reason: reason(state, nowMs),
    opensInSeconds: waitMs === null ? null : Math.ceil(waitMs / 1000),
    openedLocally: openedMs === null ? null : { secondsLeft: Math.ceil(openedMs / 1000) },
    tunnel: state.observed === 'active' || state.observed === 'none' ? state.observed : 'unknown',
    everPaired: state.everSeen,
  };
}
