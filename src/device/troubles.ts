import type { Failure } from '../support/failures.ts';
import type { TunnelStatus } from '../tunnel/agent.ts';

/** Something that keeps somebody out, as the parts of the service know it themselves. */
export interface Trouble {
  /** What it is about; it stays the same while the trouble changes its kind. */
  readonly what: string;
  /** The name of its kind. */
  readonly code: string;
  /** How long ago it was last seen to be so: 0 for a state, more for something that happened. */
  readonly agoMs: number;
}

/** What keeps somebody out now; empty for a device that does what it should. Pure. */
export function troublesOf(tunnel: TunnelStatus | null, faults: readonly Failure[]): Trouble[] {
  return [...tunnelTroubles(tunnel), ...faults.map(({ code }) => ({ what: `fault ${code}`, code, agoMs: 0 }))];
}

function tunnelTroubles(tunnel: TunnelStatus | null): Trouble[] {
  if (tunnel === null || tunnel.state === 'stopped') return [];
  const { state, lastFailure, localFailures } = tunnel;
  // Before the first attempt has ended nobody knows of any trouble.
  const down: Trouble[] =
    state === 'up' || lastFailure === null ? [] : [{ what: 'tunnel', code: lastFailure.code, agoMs: 0 }];
  return [...down, ...localFailures.map(({ port, code, agoMs }) => ({ what: `port ${port ?? '?'}`, code, agoMs }))];
}
