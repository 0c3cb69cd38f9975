import { type Clock, pause } from '../support/clock.ts';
import { asFailure, Failure, type FailureCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { Repeats } from '../support/repeats.ts';
import { type Ending, FRESH, HELD_MS, nextAttempt, type ReconnectLimits } from './reconnect.ts';
import { type ForwardStatus, saysReplaced, type Transport, type UpSession } from './transport.ts';

export interface TunnelOptions {
  transport: Transport;
  /** Read anew at every attempt. */
  reconnect: ReconnectLimits;
  clock: Clock;
  /** A number in [0, 1), as Math.random. */
  random: () => number;
  log: Log;
  /** Called after each change of `state`. */
  onChange?: (status: TunnelStatus) => void;
}

/** What the tunnel is doing, fit for JSON. Times are durations until or since the moment of asking. */
export interface TunnelStatus {
  transport: Transport['name'];
  state: 'connecting' | 'up' | 'waiting' | 'stopped';
  inStateMs: number;
  /** The other end: the Meeting proxy, or the SSH gateway. */
  proxy: { host: string; port: number; tls: boolean };
  /** Null unless the state is `up`. */
  protocol: UpSession['protocol'] | null;
  /** The key under which the proxy knows this device, where it said so; null unless the state is `up`. */
  peerDeviceKey: string | null;
  /** What the gateway listens for; empty unless the state is `up`, and with the Meeting proxy, which does not tell. */
  forwards: readonly ForwardStatus[];
  /** Streams that are open. */
  streams: number;
  /** Since the start: connections tried, and sessions that came about. */
  attempts: number;
  sessions: number;
  /** Null unless the state is `waiting`. */
  nextAttemptInMs: number | null;
  lastFailure: PastFailure | null;
  /** Services of this device that failed connections of the tunnel, and have answered none since; the last first. */
  localFailures: LocalFailure[];
}

interface PastFailure {
  code: FailureCode;
  sentence: string;
  remedy: string;
  agoMs: number;
}

interface LocalFailure extends PastFailure {
  /** Of the service; null where it is none of ours. */
  port: number | null;
}

/** The same trouble of the tunnel, or of single streams, is told again after this time; in between at debug level. */
const REMIND_MS = { tunnel: 10 * 60_000, streams: 60_000 };

/** What keeps a stream from its service. */
const LOCAL_FAILURES: ReadonlySet<FailureCode> = new Set([
  'target.not-allowed',
  'target.refused',
  'target.timeout',
  'target.closed',
  'target.stalled',
  'ssh.target-failed',
]);
/** More than any device has services. */
const REMEMBERED_PORTS = 16;

/** Keeps one session up, for as long as it runs: never two at once. The rules are the same for every transport. */
export class TunnelAgent {
  readonly #options: TunnelOptions;
  readonly #troubles: Repeats;
  readonly #notes: Repeats;
  readonly #stopping = new AbortController();
  #loop: Promise<void> | null = null;

  #state: TunnelStatus['state'] = 'stopped';
  #stateSinceMs: number;
  #session: UpSession | null = null;
  #attempts = 0;
  #sessions = 0;
  #nextAttemptAtMs = 0;
  #lastFailure: { failure: Failure; atMs: number } | null = null;
  /** By port, the last one last. */
  readonly #localFailures = new Map<number | null, { failure: Failure; atMs: number }>();

  constructor(options: TunnelOptions) {
    const { clock } = options;
    this.#options = options;
    this.#troubles = new Repeats(clock, REMIND_MS.tunnel);
    this.#notes = new Repeats(clock, REMIND_MS.streams);
    this.#stateSinceMs = clock.nowMs();
  }

  /** Starts to keep the tunnel up; returns at once. To be called once. */
  start(): void {
    this.#loop ??= this.#run(this.#stopping.signal);
  }

  /** Ends what is running, in order, within about three seconds. The agent cannot be started again. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the tunnel agent was stopped'));
    await this.#loop;
    await this.#options.transport.close();
  }

  status(): TunnelStatus {
    const { transport, clock } = this.#options;
    const nowMs = clock.nowMs();
    const session = this.#session;
    const last = this.#lastFailure;
    return {
      transport: transport.name,
      state: this.#state,
      inStateMs: nowMs - this.#stateSinceMs,
      proxy: transport.peer,
      protocol: session?.protocol ?? null,
      peerDeviceKey: session?.peerDeviceKey ?? null,
      forwards: session?.forwards ?? [],
      streams: session?.streams() ?? 0,
      attempts: this.#attempts,
      sessions: this.#sessions,
      nextAttemptInMs: this.#state === 'waiting' ? Math.max(0, this.#nextAttemptAtMs - nowMs) : null,
      lastFailure: last && past(last, nowMs),
      localFailures: [...this.#localFailures].map(([port, each]) => ({ port, ...past(each, nowMs) })).reverse(),
    };
  }

  #enter(state: TunnelStatus['state']): void {
    this.#state = state;
    this.#stateSinceMs = this.#options.clock.nowMs();
    this.#options.onChange?.(this.status());
  }

  async #run(stop: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    let policy = FRESH;
    while (!stop.aborted) {
      const { ending, failure } = await this.#attempt(stop);
      if (stop.aborted) break;
      const decision = nextAttempt(policy, ending, this.#options.reconnect, clock.nowMs(), random);
      policy = decision.state;
      this.#failed(decision.duplicate ? duplicate(failure) : failure, decision.delayMs);
      this.#nextAttemptAtMs = clock.nowMs() + decision.delayMs;
      this.#enter('waiting');
      await pause(clock, decision.delayMs, stop);
    }
    this.#enter('stopped');
  }

  /** One connection, and how it ended. */
  async #attempt(stop: AbortSignal): Promise<{ ending: Ending; failure: Failure }> {
    this.#attempts += 1;
    this.#enter('connecting');
    try {
      const events = {
        up: (session: UpSession) => this.#up(session),
        note: (code: FailureCode, sentence: string, port?: number) => this.#note(code, sentence, port),
        served: (port: number) => void this.#localFailures.delete(port),
      };
      const { ending, failure } = await this.#options.transport.connect(events, stop);
      if (ending.heldMs >= HELD_MS) this.#troubles.forget();
      return { ending, failure: failure ?? new Failure('session.closed', 'the session was ended') };
    } catch (error) {
      const failure = asFailure(error);
      return { ending: saysReplaced(failure.message) ? { kind: 'replaced', heldMs: 0 } : { kind: 'failed' }, failure };
    } finally {
      this.#session = null;
    }
  }

  #up(session: UpSession): void {
    const { log, transport } = this.#options;
    this.#session = session;
    this.#sessions += 1;
    this.#enter('up');
    const { protocol, peerDeviceKey, forwards } = session;
    const { host, port } = transport.peer;
    const facts = {
      ...{ proxy: `${host}:${port}`, protocol, peerDeviceKey, attempts: this.#attempts },
      ...(forwards.length > 0 && { forwards }),
    };
    // A proxy that takes us and drops us all the time has been reported already.
    const level = this.#troubles.last?.startsWith('session.') ? 'debug' : 'info';
    log[level](facts, 'the tunnel is up');
  }

  #failed(failure: Failure, delayMs: number): void {
    const known = this.#withoutSecret(failure);
    this.#lastFailure = { failure: known, atMs: this.#options.clock.nowMs() };
    this.#report(known, this.#troubles, { nextAttemptInMs: Math.round(delayMs) });
  }

  #note(code: FailureCode, sentence: string, port: number | undefined): void {
    const failure = this.#withoutSecret(new Failure(code, sentence));
    if (LOCAL_FAILURES.has(code)) {
      // Which ports are not allowed is for the other end to make up.
      const service = code === 'target.not-allowed' ? null : (port ?? null);
      this.#localFailures.delete(service);
      this.#localFailures.set(service, { failure, atMs: this.#options.clock.nowMs() });
      const [oldest] = this.#localFailures.keys();
      if (this.#localFailures.size > REMEMBERED_PORTS) this.#localFailures.delete(oldest ?? null);
    }
    this.#report(failure, this.#notes, {});
  }

  #report(failure: Failure, repeats: Repeats, facts: object): void {
    const { level, repeated } = repeats.next(failure.code, failure.message);
    const { code, remedy } = failure;
    this.#options.log[level]({ code, remedy, ...(repeated > 0 && { repeated }), ...facts }, failure.message);
  }

  /** A peer's words may repeat our token, and end up in logs and in `status`. */
  #withoutSecret(failure: Failure): Failure {
    const { secret } = this.#options.transport;
    if (secret === '' || !failure.message.includes(secret)) return failure;
    return new Failure(failure.code, failure.message.replaceAll(secret, '[secret]'));
  }
}

function past({ failure, atMs }: { failure: Failure; atMs: number }, nowMs: number): PastFailure {
  const { code, message, remedy } = failure;
  return { code, sentence: message, remedy, agoMs: nowMs - atMs };
}

function duplicate(cause: Failure): Failure {
  return new Failure(
    'identity.duplicate',
    'the other end gives our session to another device with the same identity, again and again',
    { cause },
  );
}
