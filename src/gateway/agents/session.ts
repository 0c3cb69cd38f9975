import type { Socket } from 'node:net';
import { type BufferPool, ownedLease } from '../../link/buffer-pool.ts';
import { PausedWatch } from '../../link/paused-watch.ts';
import type { SocketLink } from '../../link/socket-link.ts';
import { connectionOf, type FindLine, readTcpState, type TcpState } from '../../link/tcp-table.ts';
import { UnacknowledgedWatch } from '../../link/unacknowledged-watch.ts';
import { GATEWAY_LIMITS } from '../../protocol/limits.ts';
import { Mux } from '../../protocol/mux.ts';
import type { Cancel, Clock } from '../../support/clock.ts';
import { Failure, type FailureCode, systemCode } from '../../support/failures.ts';
import type { Log } from '../../support/log.ts';
import { Repeats } from '../../support/repeats.ts';
import type { Session, SessionFacts } from '../session.ts';
import type { EndReason, Service } from '../types.ts';
import { publicEnd } from './public-end.ts';

/** After `end`, whoever has not taken what came for him by then is cut off (`Session.end`). */
const END_MS = 2_000;
/** The same note about a session's streams is told again after this time; in between at debug level. */
const REMIND_MS = 60_000;

export interface AgentSessionOptions {
  readonly deviceKey: string;
  readonly address: string;
  readonly connectedAtMs: number;
  /** Accepted already: what is written goes behind the reply. */
  readonly link: SocketLink;
  /** Frames that came with the hello. */
  readonly rest: Buffer;
  readonly pool: BufferPool;
  readonly findLine: FindLine;
  readonly clock: Clock;
  readonly log: Log;
  /** Called once, when the session is over. */
  readonly ended: (session: Session, reason: EndReason, detail: string | null) => void;
}

/** The session of one agent: frames over its connection, and a stream for each client at its public ports. */
export class AgentSession implements Session {
  readonly entry = 'agent';
  readonly deviceKey: string;
  readonly address: string;
  readonly connectedAtMs: number;
  readonly #options: AgentSessionOptions;
  readonly #mux: Mux;
  #unacknowledged: UnacknowledgedWatch | null = null;
  #paused: PausedWatch | null = null;
  #draining = false;
  /** Why we end it, once we do. */
  #ending: EndReason | null = null;
  #cancelEnd: Cancel | null = null;
  /** What we found about the connection before it ended. */
  #found: Failure | null = null;
  #over = false;
  #notes: Repeats | null = null;

  constructor(options: AgentSessionOptions) {
    this.#options = options;
    this.deviceKey = options.deviceKey;
    this.address = options.address;
    this.connectedAtMs = options.connectedAtMs;
    const { link, clock } = options;
    this.#mux = new Mux({
      role: 'gateway',
      v1: true,
      link,
      clock,
      limits: GATEWAY_LIMITS,
      events: {
        ended: (failure) => this.#ended(failure),
        goingAway: () => {}, // the session ends with its last stream; until then `refusal` says so
        note: (code, sentence) => this.#note(code, sentence),
      },
    });
    link.listen({
      drained: () => this.#mux.drained(),
      wrote: () => this.#wrote(),
      reading: (on) => this.#reading(on),
      ended: (error) => {
        this.#found ??= unanswered(error);
        this.#mux.linkEnded(error);
      },
    });
    this.#wrote(); // the reply
  }

  /** Begins to read. */
  start(): void {
    const { link, rest } = this.#options;
    if (rest.length > 0) this.#mux.receive(ownedLease(rest));
    link.deliverTo((lease) => this.#mux.receive(lease));
  }

  facts(): SessionFacts {
    const { v1, streams, opened } = this.#mux.stats();
    return { client: v1 ? 'v1' : 'legacy', streams, opened };
  }

  refusal(): string | null {
    return this.#over ? 'the session is over' : this.#mux.refusal();
  }

  carry(service: Service, socket: Socket): void {
    const { pool, findLine } = this.#options;
    const id = this.#mux.openStream(service.localPort, (events) => publicEnd(socket, events, pool, findLine));
    if (id === null) socket.destroy();
  }

  end(reason: EndReason): void {
    if (this.#over || this.#ending !== null) return;
    this.#ending = reason;
    this.#cancelEnd = this.#options.clock.after(END_MS, () => this.#mux.destroy());
    this.#mux.close(reason);
  }

  drain({ minMs, maxMs }: { minMs: number; maxMs: number }): void {
    if (this.#over || this.#ending !== null) return;
    this.#draining = true;
    this.#mux.leave('shutdown', Math.floor(minMs / 1000), Math.ceil(maxMs / 1000));
  }

  /** Cuts off everything at once, clients included that still take what came for them before the end. */
  destroy(): void {
    this.#ending ??= 'shutdown';
    this.#cancelEnd?.();
    this.#mux.destroy();
  }

  /** The session is over, and none of its clients is left. */
  get gone(): boolean {
    return this.#over && this.#mux.stats().closing === 0;
  }

  /** v1 has pings; a legacy agent that is gone is found by what it leaves unacknowledged, or by keepalive when idle. */
  #wrote(): void {
    if (this.#mux.v1) return;
    this.#unacknowledged ??= new UnacknowledgedWatch(this.#options.clock, this.#tcpState, (forMs) =>
      this.#gone('session.peer-dead', `the device has acknowledged nothing for ${Math.round(forMs / 1000)} s`),
    );
    this.#unacknowledged.wrote();
  }

  /** Slow clients of legacy streams stop the reading, and then nobody else would see the end of the connection. */
  #reading(on: boolean): void {
    // Where the table of connections cannot be read, no absence tells anything.
    if (this.#paused === null && (on || this.#tcpState() === null)) return;
    this.#paused ??= new PausedWatch(this.#options.clock, this.#tcpState, () =>
      this.#gone('session.closed', 'the device closed the connection while slow clients held it up'),
    );
    this.#paused.reading(on);
  }

  readonly #tcpState = (): TcpState | null => {
    const connection = connectionOf(this.#options.link.socket);
    return connection === null || this.#mux.v1 ? null : readTcpState(connection, this.#options.findLine);
  };

  /** The connection is useless: it is cut. */
  #gone(code: FailureCode, sentence: string): void {
    this.#found ??= new Failure(code, sentence);
    this.#options.link.destroy();
  }

  #ended(failure: Failure | null): void {
    this.#over = true;
    this.#unacknowledged?.stop();
    this.#paused?.stop();
    if (this.gone) this.#cancelEnd?.();
    const { reason, detail } = this.#reasonOf(this.#found ?? failure);
    this.#options.ended(this, reason, detail);
  }

  #reasonOf(failure: Failure | null): { reason: EndReason; detail: string | null } {
    if (this.#ending !== null) return { reason: this.#ending, detail: null };
    if (failure === null) return { reason: this.#draining ? 'shutdown' : 'connection_closed', detail: null };
    return { reason: REASONS.get(failure.code) ?? 'connection_error', detail: failure.message };
  }

  #note(code: FailureCode, sentence: string): void {
    const { clock, log } = this.#options;
    this.#notes ??= new Repeats(clock, REMIND_MS);
    const { level, repeated } = this.#notes.next(code, sentence);
    log[level]({ code, device: this.deviceKey, repeated }, sentence);
  }
}

/** How a session ended that we did not end; all else is an error of the connection. */
const REASONS: ReadonlyMap<FailureCode, EndReason> = new Map([
  ['session.closed', 'connection_closed'],
  ['session.going-away', 'connection_closed'],
  ['session.peer-dead', 'keepalive_timeout'],
]);

/** What the kernel says when keepalive got no answer. */
function unanswered(error: Error | null): Failure | null {
  const code = systemCode(error);
  if (code !== 'ETIMEDOUT' && code !== 'EHOSTUNREACH') return null;
  return new Failure('session.peer-dead', `the device does not answer any more: ${code}`, { cause: error });
}
