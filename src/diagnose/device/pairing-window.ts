import type { ServiceStatus } from '../tools.ts';

type Pairing = ServiceStatus['pairing'];

/** A window that nobody has used for so long is open for strangers only. */
export const LONG_OPEN_SECONDS = 24 * 60 * 60;
/** Of 20; whoever forgot the PIN does not try so often. */
const FEW_LEFT = 10;

export type PairingProblem = 'unknown' | 'pinUnreadable' | 'pinMissing' | 'pinLocked' | 'pinGuessed' | 'longOpen';

/**
 * What is wrong with who may pair; null where nothing is.
 * @param noTunnelSeconds how long the service has surely seen no tunnel
 */
export function judgePairing(pairing: Pairing, noTunnelSeconds: number): PairingProblem | null {
  const { policy, pin, tunnel, open, openedLocally } = pairing;
  if (tunnel === 'unknown') return 'unknown';
  if (policy === 'pin') {
    if (pin === null) return 'pinUnreadable';
    if (!pin.set) return 'pinMissing';
    if (pin.locked) return 'pinLocked';
    if (pin.failuresLeft <= FEW_LEFT) return 'pinGuessed';
  }
  return open && openedLocally === null && noTunnelSeconds >= LONG_OPEN_SECONDS ? 'longOpen' : null;
}
