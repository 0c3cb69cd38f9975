import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import helmet from 'helmet';
import type { Clock } from '../support/clock.ts';
import type { Log } from '../support/log.ts';
import { EventHub } from './events.ts';
import { isSingleLabel, WRONG_HOST } from './host.ts';
import { documentOf, partsOf } from './html.ts';
import { SCRIPT } from './script.ts';
import type { PageStatus } from './status.ts';
import { STYLE } from './style.ts';
import { type PageView, viewOf } from './view.ts';

export type { PageStatus } from './status.ts';

export interface StatusPageOptions {
  status: () => Promise<PageStatus>;
  /** Whether `host[:port]` is an address or a name of this device; a name without a domain is taken anyway. */
  isOwnHost: (host: string) => boolean;
  /** Streams of the reverse tunnel come from this IPv4 address; the page is not for them. */
  tunnelSource: string;
  clock: Clock;
  log: Log;
}

/** Answers GET and HEAD; `source` is the address of who asks, IPv4 in its own form. */
export type PageHandler = (req: IncomingMessage, res: ServerResponse, source: string) => Promise<void>;

/** However many ask, the status is made once in this time. */
const FRESH_MS = 900;

const sha256 = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** The status page of docs/status-page.md: `/`, and `/events` that keeps it up to date. */
export class StatusPage {
  readonly #options: StatusPageOptions;
  readonly #hub: EventHub;
  readonly #protect = helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        styleSrc: [sha256(STYLE)],
        scriptSrc: [sha256(SCRIPT)],
        connectSrc: ["'self'"], // the events
        imgSrc: ['data:'], // the icon
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
      },
    },
    xFrameOptions: { action: 'deny' },
    // Of use with https only, and a browser complains about them on a plain page.
    strictTransportSecurity: false,
    crossOriginOpenerPolicy: false,
    originAgentCluster: false,
  });
  #latest: { atMs: number; view: Promise<PageView> } | null = null;

  constructor(options: StatusPageOptions) {
    const { clock, log } = options;
    this.#options = options;
    const render = (view: PageView) => JSON.stringify(partsOf(view));
    this.#hub = new EventHub({ look: () => this.#view(), render, clock, log });
  }

  /** By path, to be mounted on the HTTP service. */
  get routes(): Record<string, PageHandler> {
    return {
      '/': (req, res, source) => this.#answer(req, res, source, () => this.#showPage(res)),
      '/events': (req, res, source) => this.#answer(req, res, source, () => this.#listen(req, res)),
    };
  }

  /** Ends the event streams. */
  stop(): void {
    this.#hub.stop();
  }

  async #answer(req: IncomingMessage, res: ServerResponse, source: string, show: () => unknown): Promise<void> {
    const { isOwnHost, tunnelSource } = this.#options;
    this.#protect(req, res, () => undefined);
    res.setHeader('Cache-Control', 'no-store');
    const host = req.headers.host ?? '';
    if (source === tunnelSource) send(res, 403, 'text/plain', 'This page is not shown through the tunnel.\n');
    else if (!isSingleLabel(host) && !isOwnHost(host)) send(res, 421, 'text/plain', WRONG_HOST);
    else await show();
  }

  async #showPage(res: ServerResponse): Promise<void> {
    send(res, 200, 'text/html', documentOf(await this.#view()));
  }

  #listen(req: IncomingMessage, res: ServerResponse): void {
    if (req.method === 'HEAD') send(res, 200, 'text/event-stream', '');
    else if (!this.#hub.add(res)) {
      send(res, 503, 'text/plain', 'Too many pages are open already; this one stays as it is.\n');
    }
  }

  #view(): Promise<PageView> {
    const { status, clock } = this.#options;
    const nowMs = clock.nowMs();
    if (this.#latest === null || nowMs - this.#latest.atMs >= FRESH_MS) {
      this.#latest = { atMs: nowMs, view: status().then(viewOf) };
    }
    return this.#latest.view;
  }
}

function send(res: ServerResponse, status: number, type: string, text: string): void {
  res.writeHead(status, { 'Content-Type': `${type}; charset=utf-8`, 'Content-Length': Buffer.byteLength(text) });
  res.end(text);
}
