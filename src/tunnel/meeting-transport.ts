import { BufferPool } from '../link/buffer-pool.ts';
import type { Clock } from '../support/clock.ts';
import type { ProxyAddress } from './dialer.ts';
import type { Identity } from './handshake.ts';
import { LocalForward } from './local-forward.ts';
import { runSession, type SessionOptions } from './session.ts';
import { named, type SessionEvents, type Transport } from './transport.ts';

export interface MeetingOptions {
  proxy: ProxyAddress;
  identity: Identity;
  /** Allow-list: service name to local port. Read anew for every stream, the deadline for every session. */
  services: Record<string, number>;
  /** Loopback address from which the local services are dialled. */
  tunnelSource: string;
  handshakeTimeoutMs: number;
  clock: Clock;
}

/** After the end of the last session, for the local services to take what is left for them. */
const STOP_GRACE_MS = 500;

/** The tunnel through the Meeting proxy. */
export function meetingTransport(options: MeetingOptions): Transport {
  const { proxy, identity, tunnelSource, clock } = options;
  const pool = new BufferPool();
  const forward = new LocalForward({
    get services() {
      return options.services;
    },
    sourceAddress: tunnelSource,
    pool,
    clock,
  });
  const session = ({ note, served }: SessionEvents): SessionOptions => {
    const openLocal = forward.opener({ served, closed: (port, sentence) => note('target.closed', sentence, port) });
    return { proxy, identity, handshakeTimeoutMs: options.handshakeTimeoutMs, openLocal, pool, clock };
  };
  return {
    name: 'meeting',
    peer: { host: proxy.host, port: proxy.port, tls: proxy.tls !== null },
    secret: identity.token,
    connect: (events, stop) => named(runSession(session(events), events, stop)),
    close: () => forward.stop(STOP_GRACE_MS),
  };
}
