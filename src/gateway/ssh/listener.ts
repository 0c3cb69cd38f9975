import { createServer, type Server, type Socket } from 'node:net';
import ssh2, { type AuthContext, type Connection } from 'ssh2';
import type { Clock } from '../../support/clock.ts';
import { Failure, systemCode } from '../../support/failures.ts';
import { listen, listeningAt } from '../../support/listen.ts';
import type { Log } from '../../support/log.ts';
import { cleanText, hostAndPort } from '../../support/text.ts';
import type { EntryHost, Place } from '../entry.ts';
import { plainAddress } from '../source.ts';
import { isTunnelToken } from '../tokens.ts';
import type { Device } from '../types.ts';
import type { SshHostKey } from './host-key.ts';
import { SshSession } from './session.ts';
import { endSoon } from './sockets.ts';
import { DISCONNECT, disconnect, socketOf } from './untold.ts';

const MAX_ATTEMPTS = 3;

/**
 * What a refused client may try next, in words that it shows: `Permission denied (token-as-user)`. With an empty list
 * OpenSSH would try all that it knows and ask for a password; `none`, the only method, does not belong in it
 * (RFC 4252 section 5.2).
 */
const METHODS = ['token-as-user'] as unknown as ssh2.AuthenticationType[];

/** A handshake has some 4 KiB. */
const MAX_HANDSHAKE_BYTES = 64 * 1024;
/** What a client says before it hears anything: who it is and, some of them, their first 2 KiB of the handshake. */
const MAX_EARLY_BYTES = 8 * 1024;
/** By then a client has given up by itself, or hangs; many that hang would hold the files of the others. */
const MAX_WAIT_MS = 60_000;
/** Of SSH_MSG_DISCONNECT (RFC 4253 section 11.1). */
const MAX_GOODBYE_CODE = 15;
/** The kernel cuts it to net.core.somaxconn, 4096 as a rule: a fleet that comes back does so within seconds. */
const BACKLOG = 4096;

/**
 * ssh2 would ask for signs of life at times of its own. It has no switch for that, but takes its longest time for one;
 * its types know neither.
 */
const NO_KEEPALIVE: object = { keepaliveInterval: 2 ** 31 - 1 };

/**
 * Nothing that is old or slow, and enough for OpenSSH since 7.4 and Dropbear since 2020.79. Left out: compression, for its
 * memory; groups of Diffie-Hellman, since strangers could make us compute them; and ChaCha20, which every OpenSSH would
 * choose first and ssh2 does at half the speed of the others. The client's order decides.
 */
const ALGORITHMS: ssh2.Algorithms = {
  kex: ['curve25519-sha256', 'curve25519-sha256@libssh.org', 'ecdh-sha2-nistp256'],
  serverHostKey: ['ssh-ed25519'],
  cipher: ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'aes128-ctr', 'aes256-ctr'],
  hmac: ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com', 'hmac-sha2-256', 'hmac-sha2-512'],
  compress: ['none'],
};

export interface SshEntryOptions {
  /** Port 0 lets the system choose. `::` means all addresses, and falls back to 0.0.0.0 where there is no IPv6. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly hostKey: SshHostKey;
  readonly host: EntryHost;
  readonly handshakeTimeoutMs: number;
  readonly keepalive: { readonly intervalMs: number; readonly timeoutMs: number };
  readonly clock: Clock;
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly log: Log;
}

/** A connection that has its place and is not authenticated yet. */
interface Newcomer {
  readonly address: string;
  readonly socket: Socket;
  attempts: number;
  /** It is no newcomer any more: its place is free. */
  leave(): void;
}

/** The entry for plain SSH clients (wire 5): from the TCP connection to the session. */
export class SshEntry {
  readonly #options: SshEntryOptions;
  readonly #ssh: ssh2.Server;
  /** Connections that wait for a place. */
  readonly #waiting = new Set<Socket>();
  readonly #newcomers = new Map<Socket, Newcomer>();
  readonly #sessions = new Set<SshSession>();
  #server: Server | null = null;
  #closed: Promise<void> | null = null;

  constructor(options: SshEntryOptions) {
    this.#options = options;
    this.#ssh = new ssh2.Server({
      hostKeys: [options.hostKey.privateKey],
      ident: 'zeroforce',
      algorithms: ALGORITHMS,
      ...NO_KEEPALIVE,
    });
    this.#ssh.on('error', () => undefined); // it never listens
    this.#ssh.on('connection', (connection, { header }) => {
      const newcomer = this.#newcomers.get(socketOf(connection));
      if (newcomer !== undefined) this.#greeted(newcomer, connection, header.versions.software);
    });
  }

  /** @throws Failure `gateway.cannot-listen` */
  async start(): Promise<void> {
    const { host, port } = this.#options.listen;
    try {
      const server = createServer({ noDelay: true }, (socket) => void this.#accept(socket));
      await listen(server, { host, port, backlog: BACKLOG });
      server.on('error', (error) => this.#options.log.error({ reason: error.message }, 'the SSH entry cannot accept'));
      this.#server = server;
    } catch (error) {
      const where = hostAndPort(host, port);
      const why = systemCode(error) ?? String(error);
      throw new Failure('gateway.cannot-listen', `the SSH entry cannot listen on ${where}: ${why}`, { cause: error });
    }
    this.#options.log.info(this.address() ?? {}, 'the SSH entry listens');
  }

  /** Null while it does not listen. */
  address(): { host: string; port: number } | null {
    return listeningAt(this.#server);
  }

  stopAccepting(): void {
    const server = this.#server;
    if (server !== null) this.#closed ??= new Promise((resolve) => server.close(() => resolve()));
  }

  /** Ends every session with `shutdown`; resolves when the last connection is gone, within 2 s. */
  async stop(): Promise<void> {
    this.stopAccepting();
    for (const socket of [...this.#waiting, ...this.#newcomers.keys()]) socket.destroy();
    for (const session of this.#sessions) session.end('shutdown');
    await this.#closed;
  }

  async #accept(socket: Socket): Promise<void> {
    socket.on('error', () => undefined); // its close follows
    const { remoteAddress } = socket;
    if (remoteAddress === undefined) return void socket.destroy();
    const address = plainAddress(remoteAddress);
    const place = await this.#placeFor(socket, address);
    if (place === null) return void socket.destroy();
    if (socket.destroyed || this.#closed !== null) {
      place.leave();
      socket.destroy();
      return;
    }
    const { clock, handshakeTimeoutMs } = this.#options;
    const cancelDeadline = clock.after(handshakeTimeoutMs, () => {
      this.#refuse(newcomer, `it did not authenticate within ${handshakeTimeoutMs / 1000} s`);
    });
    const leave = () => {
      cancelDeadline();
      place.leave();
      this.#newcomers.delete(socket);
    };
    const newcomer = { address, socket, attempts: 0, leave };
    this.#newcomers.set(socket, newcomer);
    socket.once('close', leave);
    socket.on('data', () => {
      if (socket.bytesRead > MAX_HANDSHAKE_BYTES) this.#refuse(newcomer, 'its handshake is too long');
    });
    this.#ssh.injectSocket(socket);
  }

  /** What the client says meanwhile is held: only who reads a connection sees its end. */
  async #placeFor(socket: Socket, address: string): Promise<Place | null> {
    let held = Buffer.alloc(0);
    const hold = (bytes: Buffer) => {
      if (socket.bytesRead > MAX_EARLY_BYTES) socket.destroy();
      else held = Buffer.concat([held, bytes]); // a list of single bytes would hold a hundred times as much
    };
    const gone = new AbortController();
    const abort = () => gone.abort();
    const cancelWait = this.#options.clock.after(MAX_WAIT_MS, () => socket.destroy());
    this.#waiting.add(socket);
    socket.on('data', hold);
    socket.once('close', abort);
    try {
      return await this.#options.host.admit('ssh', address, gone.signal);
    } catch (error) {
      this.#options.log.error({ reason: String(error) }, 'the SSH entry could not ask for a place');
      return null;
    } finally {
      cancelWait();
      this.#waiting.delete(socket);
      socket.off('close', abort);
      socket.off('data', hold);
      socket.pause();
      if (held.length > 0 && !socket.readableEnded) socket.unshift(held);
    }
  }

  #greeted(newcomer: Newcomer, connection: Connection, software: string): void {
    connection.on('error', (error: Error) => this.#refuse(newcomer, reasonOf(error)));
    // Each key exchange costs us more than the client.
    connection.on('rekey', () => this.#refuse(newcomer, 'it changes keys before it authenticates'));
    connection.on('authentication', (context) => {
      this.#authenticate(newcomer, connection, cleanText(software, 64), context).catch((error: unknown) => {
        this.#refuse(newcomer, `the authentication is broken: ${cleanText(String(error))}`);
        newcomer.socket.destroy();
      });
    });
  }

  /** `none` is the only method, and the user name the token (wire 5.1). */
  async #authenticate(newcomer: Newcomer, connection: Connection, client: string, context: AuthContext): Promise<void> {
    const { address, socket } = newcomer;
    newcomer.attempts += 1;
    // What cannot be a token is not looked up, and takes as long as a wrong one.
    const token = context.method === 'none' && isTunnelToken(context.username) ? context.username : '';
    const answer = await this.#options.host.authenticateToken({ token, address });
    if (!this.#newcomers.has(socket)) return; // it has gone meanwhile
    if ('device' in answer) {
      newcomer.leave();
      return this.#begin(socket, connection, context, { device: answer.device, address, client });
    }
    const { code, reason } = answer.refusal;
    if (code !== 'invalid') return this.#dismiss(newcomer, connection, reason);
    context.reject(METHODS);
    if (newcomer.attempts >= MAX_ATTEMPTS) this.#dismiss(newcomer, connection, 'too many attempts');
  }

  #begin(
    socket: Socket,
    connection: Connection,
    context: AuthContext,
    who: { device: Device; address: string; client: string },
  ): void {
    const { host, keepalive, clock, nowMs, log } = this.#options;
    let allowed = false;
    const session = new SshSession({
      ...{ connection, socket, ...who },
      ...{ host, keepalive, clock, nowMs, log },
      ended: (reason, detail) => {
        this.#sessions.delete(session);
        if (allowed) host.ended(session, reason, detail);
      },
    });
    this.#sessions.add(session);
    context.accept();
    allowed = host.started(session, who.device);
    if (!allowed) session.end(this.#closed !== null ? 'shutdown' : 'operator_disconnect');
  }

  /** Ends a connection with a reason in words: the host knows of it already. */
  #dismiss(newcomer: Newcomer, connection: Connection, words: string): void {
    newcomer.leave();
    disconnect(connection, DISCONNECT.noMoreAuthMethods, words);
    endSoon(newcomer.socket, this.#options.clock);
  }

  #refuse(newcomer: Newcomer, reason: string): void {
    if (!this.#newcomers.has(newcomer.socket)) return;
    newcomer.leave();
    this.#options.host.rejected('ssh', newcomer.address, reason);
    endSoon(newcomer.socket, this.#options.clock);
  }
}

/** A goodbye comes with a code, and with words of the client: strangers would write them into the audit. */
function reasonOf(error: Error & { code?: unknown }): string {
  const { code, message } = error;
  if (typeof code !== 'number') return `the handshake is broken: ${cleanText(message)}`;
  return `it left during the handshake, with code ${code <= MAX_GOODBYE_CODE ? code : 'unknown'}`;
}
