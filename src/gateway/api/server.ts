import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { Clock } from '../../support/clock.ts';
import { Crowd } from '../../support/crowd.ts';
import { Failure, systemCode } from '../../support/failures.ts';
import { listen, listeningAt } from '../../support/listen.ts';
import type { Log } from '../../support/log.ts';
import { hostAndPort } from '../../support/text.ts';
import { unlessFlooded } from '../../support/unless-flooded.ts';

/** What is needed of a certificate: what it is now, and when it is another one. */
export interface CertificateSource {
  readonly current: { readonly cert: Buffer; readonly key: Buffer };
  /** Gives the end of the listening. */
  onChange(listener: () => void): () => void;
}

export interface ApiServerOptions {
  readonly handler: RequestListener;
  /** `::` means all, and falls back to 0.0.0.0 where there is no IPv6. */
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Null: without TLS. */
  readonly certificate: CertificateSource | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** A request that dribbles in ends here, so that slow senders cannot hold all connections. */
const TIMEOUTS = { requestTimeout: 15_000, headersTimeout: 10_000, keepAliveTimeout: 15_000 };
const TLS_HANDSHAKE_MS = 10_000;
/** Node looks for late requests every 30 s unless told otherwise. */
const LATE_CHECK_MS = 2_000;
const MAX_HEADER_BYTES = 16 * 1024;
/** Devices call once a minute, for a moment each; one more pushes out the oldest of whoever holds most. */
const MAX_CONNECTIONS = 1024;
const STOP_GRACE_MS = 2_000;

/** The listener of the API. */
export class ApiServer {
  readonly #options: ApiServerOptions;
  #server: Server | TlsServer | null = null;
  #closed: Promise<void> = Promise.resolve();
  #forgetCertificate: (() => void) | null = null;

  constructor(options: ApiServerOptions) {
    this.#options = options;
  }

  /** @throws Failure `gateway.cannot-listen`, `gateway.certificate-unusable` */
  async start(): Promise<void> {
    const { host, port, log } = this.#options;
    try {
      const server = this.#create();
      await listen(server, { host, port });
      server.on('error', (error) => log.error({ err: error }, 'the HTTP server reported an error'));
      this.#server = server;
    } catch (error) {
      if (error instanceof Failure) throw error;
      const why = REASONS[systemCode(error) ?? ''] ?? `it cannot be used (${systemCode(error) ?? String(error)})`;
      throw new Failure('gateway.cannot-listen', `REST cannot listen at ${hostAndPort(host, port)}: ${why}`, {
        cause: error,
      });
    }
    const { certificate } = this.#options;
    if (certificate !== null) {
      this.#forgetCertificate = certificate.onChange(() =>
        (this.#server as TlsServer | null)?.setSecureContext(certificate.current),
      );
    }
    log.info({ ...this.address, tls: certificate !== null }, 'REST listens');
  }

  /** Null while it does not listen. */
  get address(): { host: string; port: number } | null {
    return listeningAt(this.#server);
  }

  /** Takes no new connection; what is asked is answered. */
  stopAccepting(): void {
    const server = this.#server;
    if (server === null || !server.listening) return;
    this.#closed = new Promise((resolve) => {
      server.close(() => resolve());
    });
    server.closeIdleConnections();
  }

  /** Answers under way get a moment to finish. */
  async stop(): Promise<void> {
    this.#forgetCertificate?.();
    this.#forgetCertificate = null;
    this.stopAccepting();
    const server = this.#server;
    this.#server = null;
    const cancel = this.#options.clock.after(STOP_GRACE_MS, () => server?.closeAllConnections());
    await this.#closed;
    cancel();
  }

  #create(): Server | TlsServer {
    const server = this.#bare();
    const crowd = new Crowd(MAX_CONNECTIONS);
    server.on('connection', (socket) => crowd.admit(socket));
    server.on('request', unlessFlooded(this.#options.handler));
    return server;
  }

  #bare(): Server | TlsServer {
    const { certificate } = this.#options;
    const options = { ...TIMEOUTS, connectionsCheckingInterval: LATE_CHECK_MS, maxHeaderSize: MAX_HEADER_BYTES };
    if (certificate === null) return createServer(options);
    try {
      return createTlsServer({ ...options, ...certificate.current, handshakeTimeout: TLS_HANDSHAKE_MS });
    } catch (error) {
      throw new Failure('gateway.certificate-unusable', 'The certificate and its key cannot be used for HTTPS', {
        cause: error,
      });
    }
  }
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program holds the port',
  EACCES: 'this user may not use the port',
  EADDRNOTAVAIL: 'this is not an address of this machine',
  ENOTFOUND: 'this is not an address of this machine',
};
