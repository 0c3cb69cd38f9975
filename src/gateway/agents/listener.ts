import { constants } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { createSecureContext, type SecureContext } from 'node:tls';
import { BufferPool } from '../../link/buffer-pool.ts';
import { cachedLines, type FindLine } from '../../link/tcp-table.ts';
import type { Clock } from '../../support/clock.ts';
import { Failure, systemCode } from '../../support/failures.ts';
import { listen, listeningAt } from '../../support/listen.ts';
import type { Log } from '../../support/log.ts';
import { Repeats } from '../../support/repeats.ts';
import { hostAndPort } from '../../support/text.ts';
import type { Certificate, KeyPair } from '../certificate.ts';
import type { EntryHost } from '../entry.ts';
import type { Session } from '../session.ts';
import type { EndReason } from '../types.ts';
import { type Arrived, Reception } from './reception.ts';
import { AgentSession } from './session.ts';

export interface AgentEntryOptions {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** With `optional` and `required` a certificate is needed. */
  readonly tls: 'off' | 'optional' | 'required';
  /** For TLS and the first line together, from admission. */
  readonly handshakeTimeoutMs: number;
  /** Silence after which the kernel asks a peer whether it is still there. */
  readonly keepaliveMs: number;
  readonly entryHost: EntryHost;
  readonly certificate: Certificate | null;
  readonly clock: Clock;
  /** Wall clock, for people. */
  readonly nowMs: () => number;
  readonly log: Log;
}

/** A fleet that comes back does so within seconds; Linux allows 4096 unless told otherwise (net.core.somaxconn). */
const BACKLOG = 4096;
const REMIND_MS = 60_000;
/** A little more than `AgentSession.end` takes. */
const STOP_MS = 2_500;

/** The port that agents dial. */
export class AgentEntry {
  readonly #options: AgentEntryOptions;
  readonly #pool = new BufferPool();
  readonly #findLine: FindLine;
  readonly #server: Server;
  readonly #reception: Reception;
  readonly #troubles: Repeats;
  readonly #sessions = new Set<AgentSession>();
  /** Over, but with clients that still take what came for them. */
  readonly #fading = new Set<AgentSession>();
  #secureContext: SecureContext | null = null;
  #ignoreCertificate = () => {};
  #accepting = false;
  /** Called with the end of the last session. */
  #emptied = () => {};

  constructor(options: AgentEntryOptions) {
    this.#options = options;
    const { clock, certificate, tls, keepaliveMs } = options;
    this.#findLine = cachedLines(clock);
    this.#troubles = new Repeats(clock, REMIND_MS);
    if (tls !== 'off' && certificate !== null) {
      this.#useCertificate(certificate.current);
      this.#ignoreCertificate = certificate.onChange((pair) => this.#useCertificate(pair));
    }
    this.#reception = new Reception({
      ...options,
      pool: this.#pool,
      secureContext: () => this.#secureContext,
      arrived: (arrived) => this.#arrived(arrived),
    });
    const settings = { noDelay: true, keepAlive: true, keepAliveInitialDelay: keepaliveMs, pauseOnConnect: true };
    this.#server = createServer(settings, (socket) => this.#receive(socket));
  }

  /** @throws Failure `gateway.cannot-listen` */
  async start(): Promise<void> {
    const { host, port, log } = this.#options;
    await listen(this.#server, { host, port, backlog: BACKLOG }).catch((error: unknown) => {
      throw cannotListen(error, host, port);
    });
    this.#accepting = true;
    // Without file descriptors libuv closes what it cannot accept; it goes on as soon as there are some.
    this.#server.on('error', (error) => {
      const sentence = `an agent's connection could not be accepted: ${systemCode(error) ?? error.message}`;
      const { level, repeated } = this.#troubles.next('internal.unexpected', sentence);
      log[level]({ repeated }, sentence);
    });
  }

  /** Where it listens; null while it does not. */
  get address(): { host: string; port: number } | null {
    return listeningAt(this.#server);
  }

  /** Sessions that are not over, and connections that are not authenticated yet. */
  status(): { sessions: number; handshakes: number } {
    return { sessions: this.#sessions.size, handshakes: this.#reception.size };
  }

  /** No new connection is let in; sessions go on. */
  stopAccepting(): void {
    if (!this.#accepting) return;
    this.#accepting = false;
    this.#server.close();
  }

  /** Ends all that is left, at the latest after two seconds. */
  async stop(): Promise<void> {
    this.stopAccepting();
    this.#ignoreCertificate();
    this.#reception.stop();
    for (const session of [...this.#sessions]) session.end('shutdown');
    if (this.#sessions.size > 0) {
      await new Promise<void>((resolve) => {
        const cancel = this.#options.clock.after(STOP_MS, resolve);
        this.#emptied = () => {
          cancel();
          resolve();
        };
      });
    }
    for (const session of [...this.#sessions, ...this.#fading]) session.destroy();
  }

  #receive(socket: Socket): void {
    this.#reception.receive(socket).catch((error: unknown) => {
      this.#options.log.error({ err: error }, 'the handshake of an agent ended with an unexpected error');
      socket.destroy();
    });
  }

  #useCertificate(pair: KeyPair): void {
    this.#secureContext = createSecureContext({
      cert: pair.cert,
      key: pair.key,
      minVersion: 'TLSv1.2',
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION, // costs us more than the peer, and no agent needs it
    });
  }

  /** An agent was accepted, and told so: its session begins. */
  #arrived({ link, rest, device, address }: Arrived): void {
    const { clock, log, nowMs, entryHost } = this.#options;
    const session = new AgentSession({
      deviceKey: device.key,
      address,
      connectedAtMs: nowMs(),
      link,
      rest,
      pool: this.#pool,
      findLine: this.#findLine,
      clock,
      log,
      ended: (ended, reason, detail) => this.#ended(ended as AgentSession, reason, detail),
    });
    this.#sessions.add(session);
    const allowed = entryHost.started(session, device);
    session.start();
    if (!allowed) session.end(this.#accepting ? 'operator_disconnect' : 'shutdown');
  }

  #ended(session: AgentSession, reason: EndReason, detail: string | null): void {
    this.#sessions.delete(session);
    for (const before of this.#fading) if (before.gone) this.#fading.delete(before);
    if (!session.gone) this.#fading.add(session);
    this.#options.entryHost.ended(session as Session, reason, detail);
    if (this.#sessions.size === 0) this.#emptied();
  }
}

function cannotListen(error: unknown, host: string, port: number): Failure {
  const why: Record<string, string> = {
    EADDRINUSE: 'another program holds the port',
    EACCES: 'this user may not use the port',
    EADDRNOTAVAIL: 'that is no address of this machine',
  };
  const code = systemCode(error) ?? 'unknown';
  const sentence = `agents cannot be let in at ${hostAndPort(host, port)}: ${why[code] ?? code}`;
  return new Failure('gateway.cannot-listen', sentence, { cause: error });
}
