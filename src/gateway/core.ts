import type { GatewayConfig } from '../config/gateway-types.ts';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { Attempts } from './attempts.ts';
import { Audit, type AuditCounts } from './audit.ts';
import { Counters } from './counters.ts';
import { Fleet, type TokenSecrets } from './fleet.ts';
import { Gate, type GateCounts } from './gate.ts';
import { Host } from './host.ts';
import { KnownAddresses } from './known-addresses.ts';
import { Operations } from './operations.ts';
import { PortPool } from './port-pool.ts';
import { PublicPorts } from './public-ports.ts';
import { Sessions } from './sessions.ts';
import type { Store, StoredFleet } from './store.ts';
import type { EntryName } from './types.ts';

export interface CoreParts {
  readonly store: Store;
  readonly secrets: TokenSecrets;
  readonly config: Pick<GatewayConfig, 'bindHost' | 'portRange' | 'leaseMs' | 'connectionRate' | 'maxPending'>;
  /** Our own ports, which are never given to a service. */
  readonly ownPorts?: readonly number[];
  readonly clock: Clock;
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly log: Log;
}

/** A snapshot for the metrics. */
export interface CoreCounts extends Pick<Counters, 'authentications' | 'sessionsStarted' | 'sessionsEnded'> {
  readonly gates: Readonly<Record<EntryName, GateCounts>>;
  readonly ports: ReturnType<PublicPorts['counts']>;
  readonly audit: AuditCounts;
}

/** The gateway without its entries and without REST: what they share, and what they act on. */
export interface Core {
  readonly host: Host;
  readonly operations: Operations;
  readonly audit: Audit;
  readonly sessions: Sessions;
  readonly ports: PublicPorts;
  counts(): CoreCounts;
  /** Takes over what is stored; before anything else. @throws Failure `gateway.store-failed` */
  load(stored?: StoredFleet): Promise<void>;
  /** Nobody is let in from now on. Sessions go on; whoever drains ends them. */
  stopAccepting(): void;
  /** After the last session: stops what listens, and writes what is left. The store is not closed. */
  stop(): Promise<void>;
}

export function createCore(parts: CoreParts): Core {
  const { store, secrets, config, ownPorts = [], clock, nowMs, log } = parts;
  const fleet = new Fleet({ store, secrets, nowMs });
  const sessions = new Sessions();
  const audit = new Audit({ store, clock, nowMs, log });
  const pool = new PortPool(config.portRange, ownPorts);
  const { bindHost, leaseMs } = config;
  const record = audit.record.bind(audit);
  const ports = new PublicPorts({ pool, store, bindHost, leaseMs, clock, nowMs, log, audit: record });
  const addresses = new KnownAddresses(nowMs);
  const gate = () => new Gate({ ...config, clock, isKnown: (address) => addresses.has(address) });
  const gates = { agent: gate(), ssh: gate() };
  const attempts = new Attempts(clock);
  const counters = new Counters();
  const shared = { fleet, sessions, ports, attempts, addresses, audit, nowMs };
  const host = new Host({ ...shared, gates, counters, clock, log });
  const operations = new Operations({ ...shared, pool, host });
  return {
    host,
    operations,
    audit,
    sessions,
    ports,
    counts: () => ({
      authentications: counters.authentications,
      sessionsStarted: counters.sessionsStarted,
      sessionsEnded: counters.sessionsEnded,
      gates: { agent: gates.agent.counts(), ssh: gates.ssh.counts() },
      ports: ports.counts(),
      audit: audit.counts(),
    }),
    async load(given) {
      const stored = given ?? (await store.load());
      fleet.load(stored);
      addresses.load(stored.addresses);
      await ports.load(stored);
    },
    stopAccepting() {
      host.stopAccepting();
      ports.stopAccepting();
    },
    async stop() {
      host.stopAccepting();
      await ports.stop();
      await audit.stop();
    },
  };
}
