import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, Registry } from 'prom-client';
import type { Operations } from '../operations.ts';
import type { EntryName } from '../types.ts';

/** What is counted elsewhere since the start, and what stands now. */
export interface MetricCounts {
  readonly authentications: Readonly<Record<EntryName, Readonly<Record<string, number>>>>;
  readonly sessionsStarted: Readonly<Record<EntryName, number>>;
  readonly sessionsEnded: Readonly<Record<string, number>>;
  readonly gates: Readonly<Record<EntryName, GateMetrics>>;
  /** The public ports that listen, and the connections that came through them. */
  readonly ports: { readonly listening: number; readonly connections: number; readonly turnedAway: number };
  readonly audit: { readonly unwritten: number; readonly dropped: number };
}

interface GateMetrics {
  readonly admitted: number;
  readonly refusedByRate: number;
  readonly refusedByPending: number;
  readonly refusedByQueue: number;
  readonly pending: number;
  readonly waiting: number;
}

export interface MetricsParts {
  readonly operations: Pick<Operations, 'devices' | 'status' | 'sessions' | 'tunnels' | 'blockedPorts'>;
  readonly counts: () => MetricCounts;
  /** Both inclusive. */
  readonly portRange: { readonly start: number; readonly end: number };
  readonly version: string;
}

const PREFIX = 'zeroforce_gateway_';
const LOOP_RESOLUTION_MS = 20;
const NANOSECONDS = 1e9;
const QUANTILES = [0.5, 0.99, 1];

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [labels: Labels, value: number];

/**
 * What the gateway counts, as Prometheus reads it: collected when it is asked for. No label holds a device key, since
 * each would be a series of its own.
 */
export class Metrics {
  readonly #registry = new Registry();
  readonly #parts: MetricsParts;
  readonly #requests: Counter;
  readonly #loop: IntervalHistogram = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });

  constructor(parts: MetricsParts) {
    this.#parts = parts;
    this.#requests = new Counter({
      name: `${PREFIX}http_requests_total`,
      help: 'Requests to the API by call and status',
      labelNames: ['route', 'status'],
      registers: [this.#registry],
    });
    this.#loop.enable();
    this.#defineGauges();
    this.#defineTotals();
  }

  /** Counts a request; `route` is a path of the contract, or `none`. */
  answered(route: string, status: number): void {
    this.#requests.inc({ route, status: String(status) });
  }

  /** In the text format of Prometheus. The delay of the event loop is that since the call before. */
  async text(): Promise<string> {
    const text = await this.#registry.metrics();
    this.#loop.reset();
    return text;
  }

  stop(): void {
    this.#loop.disable();
    this.#registry.clear();
  }

  #defineGauges(): void {
    const { operations, counts, version } = this.#parts;
    this.#gauge('build_info', 'Version of the gateway', ['version'], () => [[{ version }, 1]]);
    this.#gauge('devices', 'Devices by state', ['state'], () => {
      const devices = operations.devices();
      const online = operations.sessions().length;
      const waiting = devices.filter(({ lastConnectedAtMs }) => lastConnectedAtMs === null).length;
      return states({
        online,
        waiting_for_first_connect: waiting,
        offline: Math.max(0, devices.length - online - waiting),
      });
    });
    this.#gauge('sessions', 'Devices that are connected, by entry', ['entry'], () =>
      byEntry((entry) => operations.sessions().filter((session) => session.entry === entry).length),
    );
    this.#gauge('streams', 'Connections through tunnels that are open, by entry', ['entry'], () =>
      byEntry((entry) =>
        operations.sessions().reduce((sum, session) => sum + (session.entry === entry ? session.streams : 0), 0),
      ),
    );
    this.#gauge('tunnels', 'Public ports that are open on request', [], () => [[{}, operations.tunnels().length]]);
    this.#gauge('ports', 'Ports of the range by state', ['state'], () => this.#ports());
    this.#gauge('public_listeners', 'Public ports that listen', [], () => [[{}, counts().ports.listening]]);
    this.#gauge('public_connections', 'Connections at public ports that are open', [], () => [
      [{}, counts().ports.connections],
    ]);
    this.#gauge('handshakes', 'Connections before authentication, by entry and state', ['entry', 'state'], () =>
      perEntry(counts().gates, ({ pending, waiting }) => states({ pending, waiting })),
    );
    this.#gauge('audit_unwritten_entries', 'Entries of the audit that wait for the disk', [], () => [
      [{}, counts().audit.unwritten],
    ]);
    this.#gauge('event_loop_delay_seconds', 'Delay of the event loop since the last scrape', ['quantile'], () =>
      QUANTILES.map((quantile) => [
        { quantile: String(quantile) },
        (this.#loop.count === 0 ? 0 : this.#loop.percentile(quantile * 100)) / NANOSECONDS,
      ]),
    );
    this.#gauge('memory_bytes', 'Memory of the process by kind', ['kind'], () => {
      const { rss, heapUsed, external } = process.memoryUsage();
      return Object.entries({ rss, heap_used: heapUsed, external }).map(([kind, value]) => [{ kind }, value]);
    });
  }

  #defineTotals(): void {
    const { counts } = this.#parts;
    this.#total('connections_admitted_total', 'Connections that were let in to authenticate', ['entry'], () =>
      perEntry(counts().gates, ({ admitted }) => [[{}, admitted]]),
    );
    this.#total('connections_refused_total', 'Connections refused before a byte was read', ['entry', 'reason'], () =>
      perEntry(counts().gates, ({ refusedByRate, refusedByPending, refusedByQueue }) =>
        named('reason', { rate: refusedByRate, pending: refusedByPending, queue: refusedByQueue }),
      ),
    );
    this.#total('authentications_total', 'Authentications by how they ended', ['entry', 'outcome'], () =>
      perEntry(counts().authentications, (outcomes) => named('outcome', outcomes)),
    );
    this.#total('sessions_started_total', 'Sessions that were started', ['entry'], () =>
      byEntry((entry) => counts().sessionsStarted[entry]),
    );
    this.#total('sessions_ended_total', 'Sessions that ended, by reason', ['reason'], () =>
      named('reason', counts().sessionsEnded),
    );
    this.#total(
      'public_connections_turned_away_total',
      'Connections closed at once: nobody could take them',
      [],
      () => [[{}, counts().ports.turnedAway]],
    );
    this.#total('audit_dropped_entries_total', 'Entries of the audit that were lost, since the disk failed', [], () => [
      [{}, counts().audit.dropped],
    ]);
  }

  /** Some ports may lie outside: they were given before the range was changed. */
  #ports(): Sample[] {
    const { operations, portRange } = this.#parts;
    const { start, end } = portRange;
    const inside = (port: number | null) => port !== null && port >= start && port <= end;
    const given = operations.devices().flatMap(({ key }) => operations.status(key).services);
    const used = given.filter(({ tunnelPort }) => inside(tunnelPort)).length;
    const blocked = operations.blockedPorts().filter(({ port }) => inside(port)).length;
    return states({ used, blocked, free: Math.max(0, end - start + 1 - used - blocked) });
  }

  #gauge(name: string, help: string, labelNames: string[], samples: () => readonly Sample[]): void {
    new Gauge({
      ...{ name: `${PREFIX}${name}`, help, labelNames, registers: [this.#registry] },
      collect() {
        this.reset();
        for (const [labels, value] of samples()) this.set(labels, value);
      },
    });
  }

  /** What is counted elsewhere: the count is taken over as it is. */
  #total(name: string, help: string, labelNames: string[], samples: () => readonly Sample[]): void {
    new Counter({
      ...{ name: `${PREFIX}${name}`, help, labelNames, registers: [this.#registry] },
      collect() {
        this.reset();
        for (const [labels, value] of samples()) this.inc(labels, value);
      },
    });
  }
}

const named = (label: string, values: Readonly<Record<string, number>>): Sample[] =>
  Object.entries(values).map(([name, value]) => [{ [label]: name }, value]);

const states = (values: Readonly<Record<string, number>>): Sample[] => named('state', values);

const byEntry = (value: (entry: EntryName) => number): Sample[] => [
  [{ entry: 'agent' }, value('agent')],
  [{ entry: 'ssh' }, value('ssh')],
];

function perEntry<T>(values: Readonly<Record<EntryName, T>>, samplesOf: (value: T) => readonly Sample[]): Sample[] {
  const entries: readonly EntryName[] = ['agent', 'ssh'];
  return entries.flatMap((entry) =>
    samplesOf(values[entry]).map(([labels, value]): Sample => [{ entry, ...labels }, value]),
  );
}
