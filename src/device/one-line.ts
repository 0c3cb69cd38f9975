import type { FailureCode } from '../support/failures.ts';
import type { TunnelStatus } from '../tunnel/agent.ts';
import type { DeviceStatus } from './status.ts';

/** What each service tells of itself: the monitor alone knows the one thing only. */
export interface OneLineFacts {
  readonly tunnel?: Pick<TunnelStatus, 'state' | 'lastFailure'> | null;
  /** Null with an outside monitor. */
  readonly monitor: NonNullable<DeviceStatus['monitor']>['kind'] | null;
  readonly isPairingOpen?: boolean;
  readonly faults?: readonly { readonly code: FailureCode }[];
}

/** Why a restart is the only help, where it is this. */
export const LOOP_STANDS = 'the loop of the monitor does not turn';

/** How the service is, as one line that changes only when something does; for `systemctl status`. Pure. */
export function oneLine({ tunnel, monitor, isPairingOpen, faults = [] }: OneLineFacts): string {
  const codes = [...new Set(faults.map(({ code }) => code))];
  return [
    tunnel === undefined ? null : tunnelWords(tunnel),
    monitor === null ? null : PAIRED[monitor],
    isPairingOpen === undefined ? null : `pairing is ${isPairingOpen ? 'open' : 'closed'}`,
    codes.length === 0 ? null : `does not work: ${codes.join(', ')}`,
  ]
    .filter((part) => part !== null)
    .join('; ');
}

const PAIRED: Readonly<Record<NonNullable<OneLineFacts['monitor']>, string>> = {
  active: 'a paired client is connected',
  none: 'no paired client is connected',
  fault: 'whether a paired client is connected is not known',
  starting: 'whether a paired client is connected is not known yet',
};

function tunnelWords(tunnel: Pick<TunnelStatus, 'state' | 'lastFailure'> | null): string {
  if (tunnel === null) return 'no tunnel is configured';
  if (tunnel.state === 'up') return 'the tunnel is up';
  const { lastFailure } = tunnel;
  return lastFailure === null ? 'the tunnel is being set up' : `the tunnel is down: ${lastFailure.code}`;
}
