import { createServer, type RequestListener, type Server } from 'node:http';
import type { Cancel, Clock } from './clock.ts';
import { Crowd } from './crowd.ts';
import { Failure, type FailureCode, systemCode } from './failures.ts';
import { listen, listeningAt } from './listen.ts';
import type { Log } from './log.ts';
import { unlessFlooded } from './unless-flooded.ts';

export interface HttpListenerOptions {
  handler: RequestListener;
  /** An address of this machine; `::` means all, and falls back to 0.0.0.0 where there is no IPv6. */
  host: string;
  /** 0 lets the system choose. */
  port: number;
  clock: Clock;
  log: Log;
}

/** Where the listener stands: the address it has, or why it has none. */
export interface HttpListenerStatus {
  address: { host: string; port: number } | null;
  failure: Failure | null;
}

/** A port in use, or an address that is not there yet, is tried again this often. */
const RETRY_MS = 5_000;
/** A request that dribbles in ends here, so that slow clients cannot hold all connections. */
const REQUEST_TIMEOUT_MS = 15_000;
const HEADERS_TIMEOUT_MS = 10_000;
/** Node looks for late requests every 30 s unless told otherwise. */
const LATE_CHECK_MS = 2_000;
/** More than every device of a home, few enough for the memory of a Pi. */
const MAX_CONNECTIONS = 128;
const STOP_GRACE_MS = 1_000;

/**
 * An HTTP server that keeps trying to listen. A taken port must not end the service, because the tunnel beside it is
 * how a technician gets in to free the port.
 */
export class HttpListener {
  readonly #options: HttpListenerOptions;
  #server: Server | null = null;
  #failure: Failure | null = null;
  #cancelRetry: Cancel | null = null;
  #stopped = false;

  constructor(options: HttpListenerOptions) {
    this.#options = options;
  }

  /** Resolves after the first attempt, whether it listens or not; further attempts follow by themselves. */
  async start(): Promise<void> {
    const { host, port, log } = this.#options;
    try {
      const server = this.#create();
      await listen(server, { host, port });
      server.on('error', (error) => log.error({ err: error }, 'the HTTP server reported an error'));
      if (this.#stopped) return closeServer(server);
      this.#server = server;
      this.#failure = null;
      log.info(this.status().address ?? {}, 'HTTP listens');
    } catch (error) {
      const failure = listenFailure(error, host, port);
      if (failure.code !== this.#failure?.code)
        log.error({ code: failure.code, remedy: failure.remedy }, failure.message);
      this.#failure = failure;
      if (!this.#stopped) this.#cancelRetry = this.#options.clock.after(RETRY_MS, () => void this.start());
    }
  }

  status(): HttpListenerStatus {
    return { address: listeningAt(this.#server), failure: this.#failure };
  }

  /** Stops listening; answers under way get a moment to finish. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelRetry?.();
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    const cancel = this.#options.clock.after(STOP_GRACE_MS, () => server.closeAllConnections());
    await closeServer(server);
    cancel();
  }

  #create(): Server {
    const server = createServer({
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: LATE_CHECK_MS,
    });
    const crowd = new Crowd(MAX_CONNECTIONS);
    server.on('connection', (socket) => crowd.admit(socket));
    server.on('request', unlessFlooded(this.#options.handler));
    return server;
  }
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
}

function listenFailure(error: unknown, host: string, port: number): Failure {
  const codes: Record<string, [FailureCode, string]> = {
    EADDRINUSE: ['http.port-in-use', 'is held by another program'],
    EACCES: ['http.not-permitted', 'is not permitted to this user'],
    EADDRNOTAVAIL: ['http.address-unavailable', 'is not an address of this machine'],
    ENOTFOUND: ['http.address-unavailable', 'is not an address of this machine'],
  };
  const [code, reason] = codes[systemCode(error) ?? ''] ?? [
    'http.address-unavailable',
    `cannot be used (${systemCode(error)})`,
  ];
  const what = code === 'http.address-unavailable' ? host : `port ${port} on ${host}`;
  return new Failure(code, `HTTP cannot listen: ${what} ${reason}`, { cause: error });
}
