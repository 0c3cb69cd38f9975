import type { Server, Socket } from 'node:net';
import type { Clock } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import type { Opening, PortOpener } from './port-opener.ts';
import type { Session } from './session.ts';
import type { Service } from './types.ts';

/** Who carries the connections of a port, and what they are. */
export interface Carrier {
  readonly session: Session;
  readonly service: Service;
}

/** What all public ports have in common. */
export interface PortSurroundings {
  readonly opener: PortOpener;
  readonly clock: Clock;
  readonly log: Log;
  /** Whose a connection would be now, if the session takes it. */
  readonly carrier: (port: PublicPort) => Carrier | null;
  /** The session did not take a connection: the port is not to listen now. */
  readonly refused: (port: PublicPort) => void;
  /** All connections that are open, at any port. */
  readonly sockets: Set<Socket>;
  /** A connection was accepted and closed at once. */
  readonly turnedAway: () => void;
  /** Nothing is open or under way here any more. */
  readonly idle: (port: PublicPort) => void;
}

/** Open at once at one port; a page of a browser opens six. */
const MAX_CONNECTIONS = 256;
const TELL_FULL_EVERY_MS = 60_000;

/** The listener of one service of one device, and the connections that came through it. */
export class PublicPort implements Opening {
  readonly deviceKey: string;
  readonly name: string;
  storing = false;
  /** Its session could carry nothing, when it was asked last. */
  wasRefused = false;
  /** The session that asked for it by `-R`. */
  forwarded: Carrier | null = null;
  /** Leases that are being granted. */
  readonly asks = new Set<Carrier>();
  readonly #around: PortSurroundings;
  #server: Server | null = null;
  #opening: { readonly done: Promise<void>; readonly abort: AbortController } | null = null;
  /** Also those of a listener that was closed since. */
  #connections = 0;
  #toldFullAtMs = Number.NEGATIVE_INFINITY;

  constructor(deviceKey: string, name: string, around: PortSurroundings) {
    this.deviceKey = deviceKey;
    this.name = name;
    this.#around = around;
  }

  get listens(): boolean {
    return this.#server !== null;
  }

  /** The attempt to open it that runs now. */
  get opening(): Promise<void> | null {
    return this.#opening?.done ?? null;
  }

  /** Nothing is open, under way or asked for. */
  get isIdle(): boolean {
    const { forwarded, asks } = this;
    return [this.#server, this.#opening, forwarded].every((one) => one === null) && asks.size + this.#connections === 0;
  }

  /** Resolves as soon as the port listens; all who ask meanwhile share one attempt. Rejects as `PortOpener.open` does. */
  open(): Promise<void> {
    if (this.#server !== null) return Promise.resolve();
    const before = this.#opening;
    if (before !== null && !before.abort.signal.aborted) return before.done;
    const abort = new AbortController();
    const done = this.#open(before?.done, abort.signal);
    this.#opening = { done, abort };
    return done;
  }

  /** Stops listening, and trying to; open connections go on. */
  close(): void {
    this.#server?.close();
    this.#server = null;
    this.#opening?.abort.abort(sessionOver(this.deviceKey));
    this.#tellIdle();
  }

  async #open(before: Promise<void> | undefined, signal: AbortSignal): Promise<void> {
    await before?.catch(() => {}); // its own callers are told
    try {
      signal.throwIfAborted();
      const server = await this.#around.opener.open(this, (socket) => this.#accept(socket), signal);
      if (signal.aborted) server.close();
      signal.throwIfAborted();
      this.#server = server;
    } finally {
      if (this.#opening?.abort.signal === signal) this.#opening = null;
      this.#tellIdle();
    }
  }

  #accept(socket: Socket): void {
    const { carrier, sockets, log, turnedAway } = this.#around;
    socket.on('error', () => {}); // whoever carries it listens, too; a reset before that must not end the process
    const found = carrier(this);
    const isRefused = found === null || found.session.refusal(found.service) !== null;
    if (isRefused || this.#isFull()) {
      turnedAway();
      socket.destroy();
      // One who finds a port before it is told to anybody must not keep it from being opened.
      if (isRefused && this.listens) this.#refuse();
      return;
    }
    this.#connections += 1;
    sockets.add(socket);
    socket.once('close', () => {
      this.#connections -= 1;
      sockets.delete(socket);
      this.#tellIdle();
    });
    try {
      found.session.carry(found.service, socket);
    } catch (error) {
      log.error({ err: error, deviceKey: this.deviceKey, service: this.name }, 'a connection could not be carried');
      turnedAway();
      socket.destroy();
    }
  }

  #refuse(): void {
    this.wasRefused = true;
    this.#around.refused(this);
  }

  /** Tells so, once a while. */
  #isFull(): boolean {
    const { clock, log } = this.#around;
    if (this.#connections < MAX_CONNECTIONS) return false;
    if (clock.nowMs() - this.#toldFullAtMs < TELL_FULL_EVERY_MS) return true;
    this.#toldFullAtMs = clock.nowMs();
    log.warn(
      { deviceKey: this.deviceKey, service: this.name, open: this.#connections },
      'a public port has as many connections as it may; further ones are closed',
    );
    return true;
  }

  #tellIdle(): void {
    if (this.isIdle) this.#around.idle(this);
  }
}

export function sessionOver(deviceKey: string): Failure {
  return new Failure('gateway.session-over', `the session of ${deviceKey} ended, or the gateway stops`);
}
