import { type Clock, pause } from '../support/clock.ts';
import { asFailure, type Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { readFlag, writeFlag, writeSinceConnected } from './flag-file.ts';
import { type Connection, type CountEnd, establishedOn, parseNetstat } from './netstat.ts';
import { runNetstat } from './run-netstat.ts';

/** netstat takes 10 ms; a setkey waits for one poll under way and one more, and its client for about 10 s. */
const NETSTAT_TIMEOUT_MS = 3_000;
/** A poll may wait for one that hangs and then hang itself, 3 s each; doubled, because a Pi is slow. */
const POLL_ALLOWANCE_MS = 12_000;

export interface ActivityMonitorOptions {
  /** A connection to this port is a tunnel. */
  tunnelPort: number;
  countEnd: CountEnd;
  /**
   * A connection counts once it has been seen for this long; 0 counts it at once. A stranger who connects and never
   * authenticates stays ESTABLISHED for sshd's LoginGraceTime, and a longer time here ignores him.
   */
  confirmMs: number;
  intervalMs: number;
  runDir: string;
  /** Name or path of the netstat program. */
  netstatCommand: string;
  clock: Clock;
  log: Log;
  /** Called after every poll, once the flag is as the observation says. */
  onObservation?: (observation: Observation) => void;
}

/** What a poll found. After a fault nothing is known: the flag is as it was, and pairing must not open. */
export type Observation = { kind: 'active' | 'none' } | { kind: 'fault'; failure: Failure };

export interface MonitorStatus {
  /** null before the first poll has ended. */
  observation: Observation | null;
  /** Established connections to the tunnel port at the last poll that could tell, unconfirmed ones included. */
  connections: number;
  /** As in the file `since-connected`. */
  sinceConnectedSeconds: number;
  /** When the last poll ended, by the monitor's clock; null before. */
  polledAtMs: number | null;
}

/** Asks netstat for connections to the tunnel port, and keeps the flag and `since-connected` in the run folder. */
export class ActivityMonitor {
  readonly #options: ActivityMonitorOptions;
  readonly #stopping = new AbortController();
  #loop: Promise<void> | null = null;
  #running: Promise<Observation> | null = null;
  #queued: Promise<Observation> | null = null;

  #observation: Observation | null = null;
  #polledAtMs: number | null = null;
  /** When each present connection was first seen, by the text of its two ends; null before the first poll that could tell. */
  #firstSeenMs: Map<string, number> | null = null;
  /** null while a tunnel is up. Before the first one, the start of the monitor stands in for the loss. */
  #lostAtMs: number | null;

  constructor(options: ActivityMonitorOptions) {
    this.#options = options;
    this.#lostAtMs = options.clock.nowMs();
  }

  /**
   * Polls now, unless somebody has asked for a poll already, and from then on `intervalMs` after each poll. Resolves
   * when the first poll has ended; never rejects.
   */
  async start(): Promise<void> {
    const first = this.#polledAtMs === null ? this.poll() : null;
    this.#loop ??= this.#pollForever(first);
    await first;
  }

  /**
   * Ends the loop and a netstat under way. The flag stays as it is: a tunnel outlives a restart of the service, and an
   * absent flag would tell others that it is down. A flag that turns stale meanwhile keeps pairing closed, and the
   * first poll of the next start corrects it.
   */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
    while (this.#running !== null) await this.#running;
  }

  /**
   * Looks at the connections and sets the flag. The answer comes from a netstat started after this call, so it waits
   * for a poll under way and then for the next, which all callers of that time share: never two at once. Never rejects.
   */
  poll(): Promise<Observation> {
    if (this.#queued !== null) return this.#queued;
    if (this.#running === null) return this.#run();
    this.#queued = this.#running.then(() => {
      this.#queued = null;
      return this.#run();
    });
    return this.#queued;
  }

  status(): MonitorStatus {
    return {
      observation: this.#observation,
      connections: this.#firstSeenMs?.size ?? 0,
      sinceConnectedSeconds: this.#sinceConnectedSeconds(),
      polledAtMs: this.#polledAtMs,
    };
  }

  /** Whether polls end, whatever they find; also before the first one has. A watchdog asks. */
  isTurning(): boolean {
    const { clock, intervalMs } = this.#options;
    return clock.nowMs() - (this.#polledAtMs ?? clock.nowMs()) < 3 * intervalMs + POLL_ALLOWANCE_MS;
  }

  async #pollForever(first: Promise<Observation> | null): Promise<void> {
    const { clock, intervalMs } = this.#options;
    const { signal } = this.#stopping;
    await first;
    while (!signal.aborted) {
      await pause(clock, intervalMs, signal);
      if (!signal.aborted) await this.poll();
    }
  }

  #run(): Promise<Observation> {
    const running = this.#observe().finally(() => {
      if (this.#running === running) this.#running = null;
    });
    this.#running = running;
    return running;
  }

  async #observe(): Promise<Observation> {
    const before = this.#observation;
    const observation = await this.#lookAndSetFlag();
    if (this.#stopping.signal.aborted) return observation;
    this.#logChange(before, observation);
    this.#observation = observation;
    this.#polledAtMs = this.#options.clock.nowMs();
    this.#options.onObservation?.(observation);
    return observation;
  }

  async #lookAndSetFlag(): Promise<Observation> {
    const { netstatCommand: command, clock, tunnelPort, countEnd, runDir } = this.#options;
    try {
      const text = await runNetstat({
        command,
        clock,
        timeoutMs: NETSTAT_TIMEOUT_MS,
        signal: this.#stopping.signal,
      });
      const isActive = this.#hasConfirmed(establishedOn(parseNetstat(text), tunnelPort, countEnd));
      if (isActive) {
        this.#lostAtMs = null;
        // Before the flag is made: whoever sees it, and then sees it removed, must not find the poll before this one.
        this.#observation = { kind: 'active' };
      } else {
        this.#lostAtMs ??= clock.nowMs();
      }
      await writeFlag(runDir, isActive ? 'present' : 'absent');
      await writeSinceConnected(runDir, this.#sinceConnectedSeconds());
      return { kind: isActive ? 'active' : 'none' };
    } catch (error) {
      return { kind: 'fault', failure: asFailure(error) };
    }
  }

  /**
   * A tunnel outlives the monitor, at a restart and at a reload. Where the one before has left its flag, it had confirmed
   * what is found at the first poll: else pairing could open beside a tunnel that stands.
   */
  #hasConfirmed(connections: Connection[]): boolean {
    const { clock, confirmMs, runDir } = this.#options;
    const nowMs = clock.nowMs();
    const newSeenMs = this.#firstSeenMs === null && readFlag(runDir) === 'present' ? nowMs - confirmMs : nowMs;
    const firstSeenMs = new Map<string, number>();
    for (const { local, remote } of connections) {
      const name = `${local.address}:${local.port} ${remote.address}:${remote.port}`;
      firstSeenMs.set(name, this.#firstSeenMs?.get(name) ?? newSeenMs);
    }
    this.#firstSeenMs = firstSeenMs;
    return [...firstSeenMs.values()].some((seenMs) => nowMs - seenMs >= confirmMs);
  }

  #sinceConnectedSeconds(): number {
    if (this.#lostAtMs === null) return 0;
    return Math.floor((this.#options.clock.nowMs() - this.#lostAtMs) / 1000);
  }

  /** One line a change: a fault that lasts is not repeated every five seconds. */
  #logChange(before: Observation | null, observation: Observation): void {
    const { log, tunnelPort } = this.#options;
    if (observation.kind === 'fault') {
      const { code, message, remedy } = observation.failure;
      if (before?.kind === 'fault' && before.failure.code === code) return;
      log.warn({ code, remedy }, `the tunnel's activity is unknown: ${message}`);
    } else if (before?.kind !== observation.kind) {
      log.info({ tunnelPort }, observation.kind === 'active' ? 'the tunnel is up' : 'no tunnel is up');
    }
  }
}
