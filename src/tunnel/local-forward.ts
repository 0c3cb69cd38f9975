import { connect, type Socket } from 'node:net';
import { type BufferPool, PooledReader } from '../link/buffer-pool.ts';
import { SocketEnd } from '../link/socket-end.ts';
import { cachedLines, type FindLine } from '../link/tcp-table.ts';
import type { LocalEnd, LocalEvents, OpenLocal } from '../protocol/endpoints.ts';
import { type Clock, pause } from '../support/clock.ts';
import { systemCode } from '../support/failures.ts';

/** A local connection that does not stand by then has failed (protocol/README 3.1). */
const CONNECT_TIMEOUT_MS = 10_000;

/** Where streams end: services of this device only. */
const TARGET_HOST = '127.0.0.1';

export interface LocalForwardOptions {
  /** Allow-list: service name to local port. Read anew for every stream. */
  services: Record<string, number>;
  /** Loopback address that streams are dialled from: sshd's log, its penalties and the pairing routes tell them by it. */
  sourceAddress: string;
  pool: BufferPool;
  clock: Clock;
}

/** Hears how connections to the services go. */
export interface ServiceWatch {
  /** The service has said something. */
  served(port: number): void;
  /** It took the connection, and closed it before it had said anything of use. */
  closed(port: number, sentence: string): void;
}

/** A service that closes so soon, while nobody at the other end has, does not want us. */
const SOON_MS = 10_000;
/** How sshd says that it does not: with too many others before us, or for what others did who come from our address. */
const SSHD_REFUSES = /^(?:Exceeded MaxStartups|Not allowed at this time)/;

/** The connections to the allowed services of this device; they may outlive the session that opened them. */
export class LocalForward {
  readonly #options: LocalForwardOptions;
  readonly #findLine: FindLine;
  readonly #sockets = new Set<Socket>();

  constructor(options: LocalForwardOptions) {
    this.#options = options;
    this.#findLine = cachedLines(options.clock);
  }

  readonly open: OpenLocal = (port, events) => this.#open(port, events, null);

  /** The same, for somebody who wants to know how it goes. */
  opener(watch: ServiceWatch): OpenLocal {
    return (port, events) => this.#open(port, events, watch);
  }

  #open(port: number, events: LocalEvents, watch: ServiceWatch | null): LocalEnd {
    if (!Object.values(this.#options.services).includes(port)) return new ForbiddenEnd(port, events);
    const { end, socket } = dialService(port, this.#options, this.#findLine, events, watch);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    return end;
  }

  /** Waits up to `graceMs` for the services to take what is left for them, then closes what is still open. */
  async stop(graceMs: number): Promise<void> {
    const emptied = new AbortController();
    const open = [...this.#sockets];
    const look = () => {
      if (this.#sockets.size === 0) emptied.abort();
    };
    for (const socket of open) socket.once('close', look);
    look();
    await pause(this.#options.clock, graceMs, emptied.signal);
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** The end of a stream that is not allowed to exist. */
class ForbiddenEnd implements LocalEnd {
  #destroyed = false;

  constructor(port: number, events: LocalEvents) {
    process.nextTick(() => {
      if (!this.#destroyed) events.failed('not-allowed', `port ${port} is not among the services`);
    });
  }

  write(_bytes: Uint8Array, done: () => void): void {
    process.nextTick(done);
  }
  end(): void {}
  pause(): void {}
  resume(): void {}
  destroy(): void {
    this.#destroyed = true;
  }
}

/** Dials the service; what it is given before the connection stands waits in the socket. */
function dialService(
  port: number,
  { sourceAddress, pool, clock }: LocalForwardOptions,
  findLine: FindLine,
  events: LocalEvents,
  watch: ServiceWatch | null,
) {
  const reader = new PooledReader(pool);
  const socket = connect({
    host: TARGET_HOST,
    port,
    localAddress: sourceAddress,
    noDelay: true,
    allowHalfOpen: true, // `ssh host command < file` ends one direction long before the other
    onread: reader.onread,
  });
  reader.attach(socket);
  const target = `${TARGET_HOST}:${port}`;
  let connected = false;
  let connectedAtMs = 0;
  let watched = watch;
  const heard = (bytes: Buffer) => {
    const words = SSHD_REFUSES.exec(bytes.toString('latin1', 0, 32))?.[0];
    if (words === undefined) watched?.served(port);
    else watched?.closed(port, `${target} refused the connection: ${words}`);
    watched = null;
  };
  const over = (how: string) => {
    // Where the other end was first, the service had nothing to say.
    if (!socket.writableEnded && clock.nowMs() - connectedAtMs < SOON_MS) watched?.closed(port, `${target} ${how}`);
    watched = null;
  };
  const end = new SocketEnd(
    { socket, reader },
    {
      data: (lease) => {
        if (watched !== null) heard(lease.bytes);
        events.data(lease);
      },
      ended: () => {
        over('closed the connection without a word');
        events.ended();
      },
      closed: (error) => {
        if (connected) over('reset the connection without a word');
        if (connected) events.closed(error);
        else events.failed('refused', `${target} does not accept connections: ${systemCode(error) ?? 'closed'}`);
      },
    },
    findLine,
  );
  const cancelDeadline = clock.after(CONNECT_TIMEOUT_MS, () => {
    if (end.destroyed) return;
    end.destroy();
    events.failed('timeout', `${target} did not accept the connection within ${CONNECT_TIMEOUT_MS / 1000} s`);
  });
  socket.once('connect', () => {
    connected = true;
    connectedAtMs = clock.nowMs();
    cancelDeadline();
    events.opened();
  });
  socket.once('close', cancelDeadline);
  return { end, socket };
}
