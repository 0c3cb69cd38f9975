import { type Clock, pause } from '../support/clock.ts';
import { asFailure, Failure, type FailureCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { Repeats } from '../support/repeats.ts';
import { BufferPool } from './buffer-pool.ts';
import type { ProxyAddress } from './dialer.ts';
import type { Identity } from './handshake.ts';
import { LocalForward } from './local-forward.ts';
import { type Ending, FRESH, HELD_MS, nextAttempt, type ReconnectLimits } from './reconnect.ts';
import { runSession, type SessionEnd, type SessionOptions, type UpSession } from './session.ts';

export interface TunnelOptions {
  proxy: ProxyAddress;
  identity: Identity;
  /** Allow-list: service name to local port. */
  services: Record<string, number>;
  /** Loopback address from which the local services are dialled. */
  tunnelSource: string;
  reconnect: ReconnectLimits;
  handshakeTimeoutMs: number;
  clock: Clock;
  /** A number in [0, 1), as Math.random. */
  random: () => number;
  log: Log;
  /** Called after each change of `state`. */
  onChange?: (status: TunnelStatus) => void;
}

/** What the tunnel is doing, fit for JSON. Times are durations until or since the moment of asking. */
export interface TunnelStatus {
  state: 'connecting' | 'up' | 'waiting' | 'stopped';
  inStateMs: number;
  proxy: { host: string; port: number; tls: boolean };
  /** Null unless the state is `up`. */
  protocol: 'v1' | 'legacy' | null;
  /** The key under which the proxy knows this device, where it said so; null unless the state is `up`. */
  peerDeviceKey: string | null;
  /** Streams that are open. */
  streams: number;
  /** Since the start: connections tried, and sessions that came about. */
  attempts: number;
  sessions: number;
  /** Null unless the state is `waiting`. */
  nextAttemptInMs: number | null;
  lastFailure: { code: FailureCode; sentence: string; remedy: string; agoMs: number } | null;
}

/** Reason that a proxy gives to a session that made room for a newer one with the same key (protocol/README 4.8). */
const REPLACED = 'session_replaced';
/** After the end of the last session, for the local services to take what is left for them. */
const STOP_GRACE_MS = 500;
/** The same trouble of the tunnel, or of single streams, is told again after this time; in between at debug level. */
const REMIND_MS = { tunnel: 10 * 60_000, streams: 60_000 };

/** Keeps one session with the proxy up, for as long as it runs: never two at once. */
export class TunnelAgent {
  readonly #options: TunnelOptions;
  readonly #forward: LocalForward;
  readonly #sessionOptions: SessionOptions;
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

  constructor(options: TunnelOptions) {
    const { proxy, identity, services, tunnelSource, handshakeTimeoutMs, clock } = options;
    const pool = new BufferPool();
    this.#options = options;
    this.#forward = new LocalForward({ services, sourceAddress: tunnelSource, pool, clock });
    this.#sessionOptions = { proxy, identity, handshakeTimeoutMs, openLocal: this.#forward.open, pool, clock };
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
    await this.#forward.stop(STOP_GRACE_MS);
  }

  status(): TunnelStatus {
    const { proxy, clock } = this.#options;
    const nowMs = clock.nowMs();
    const session = this.#session;
    const last = this.#lastFailure;
    return {
      state: this.#state,
      inStateMs: nowMs - this.#stateSinceMs,
      proxy: { host: proxy.host, port: proxy.port, tls: proxy.tls !== null },
      protocol: session === null ? null : session.v1 ? 'v1' : 'legacy',
      peerDeviceKey: session?.peerDeviceKey ?? null,
      streams: session?.stats().streams ?? 0,
      attempts: this.#attempts,
      sessions: this.#sessions,
      nextAttemptInMs: this.#state === 'waiting' ? Math.max(0, this.#nextAttemptAtMs - nowMs) : null,
      lastFailure: last && {
        code: last.failure.code,
        sentence: last.failure.message,
        remedy: last.failure.remedy,
        agoMs: nowMs - last.atMs,
      },
    };
  }

  #enter(state: TunnelStatus['state']): void {
    this.#state = state;
    this.#stateSinceMs = this.#options.clock.nowMs();
    this.#options.onChange?.(this.status());
  }

  async #run(stop: AbortSignal): Promise<void> {
    const { clock, random, reconnect } = this.#options;
    let policy = FRESH;
    while (!stop.aborted) {
      const { ending, failure } = await this.#attempt(stop);
      if (stop.aborted) break;
      const decision = nextAttempt(policy, ending, reconnect, clock.nowMs(), random);
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
        note: (code: FailureCode, sentence: string) => this.#note(code, sentence),
      };
      const end = await runSession(this.#sessionOptions, events, stop);
      if (end.heldMs >= HELD_MS) this.#troubles.forget();
      return { ending: endingOf(end), failure: end.failure ?? new Failure('session.closed', 'the session was ended') };
    } catch (error) {
      const failure = asFailure(error);
      const replaced = failure.code === 'proxy.handshake-refused' && failure.message.includes(REPLACED);
      return { ending: replaced ? { kind: 'replaced', heldMs: 0 } : { kind: 'failed' }, failure };
    } finally {
      this.#session = null;
    }
  }

  #up(session: UpSession): void {
    const { log, proxy } = this.#options;
    this.#session = session;
    this.#sessions += 1;
    this.#enter('up');
    const { protocol, peerDeviceKey } = this.status();
    const facts = { proxy: `${proxy.host}:${proxy.port}`, protocol, peerDeviceKey, attempts: this.#attempts };
    // A proxy that takes us and drops us all the time has been reported already.
    const level = this.#troubles.last?.startsWith('session.') ? 'debug' : 'info';
    log[level](facts, 'the tunnel is up');
  }

  #failed(failure: Failure, delayMs: number): void {
    const known = this.#withoutToken(failure);
    this.#lastFailure = { failure: known, atMs: this.#options.clock.nowMs() };
    this.#report(known, this.#troubles, { nextAttemptInMs: Math.round(delayMs) });
  }

  #note(code: FailureCode, sentence: string): void {
    this.#report(this.#withoutToken(new Failure(code, sentence)), this.#notes, {});
  }

  #report(failure: Failure, repeats: Repeats, facts: object): void {
    const { level, repeated } = repeats.next(failure.code, failure.message);
    const { code, remedy } = failure;
    this.#options.log[level]({ code, remedy, ...(repeated > 0 && { repeated }), ...facts }, failure.message);
  }

  /** A peer's words may repeat our token, and end up in logs and in `status`. */
  #withoutToken(failure: Failure): Failure {
    const { token } = this.#options.identity;
    if (token === '' || !failure.message.includes(token)) return failure;
    return new Failure(failure.code, failure.message.replaceAll(token, '[secret]'));
  }
}

function endingOf({ heldMs, goingAway }: SessionEnd): Ending {
  if (goingAway === null) return { kind: 'lost', heldMs };
  if (goingAway.text.includes(REPLACED)) return { kind: 'replaced', heldMs };
  return { kind: 'going-away', heldMs, ...goingAway };
}

function duplicate(cause: Failure): Failure {
  return new Failure(
    'identity.duplicate',
    'the proxy gives our session to another device with the same key, again and again',
    { cause },
  );
}
