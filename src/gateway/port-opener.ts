import type { Server, Socket } from 'node:net';
import { type Clock, pause } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { listenOn } from './port-listener.ts';
import type { PortPool } from './port-pool.ts';
import type { Store } from './store.ts';
import type { AuditEntry, BlockedPort } from './types.ts';

export interface PortOpenerOptions {
  readonly pool: PortPool;
  readonly store: Store;
  /** The one address that public ports listen on. */
  readonly bindHost: string;
  readonly clock: Clock;
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly log: Log;
  readonly audit: (entry: Omit<AuditEntry, 'atMs'>) => void;
}

/** Whose port is to be opened, and how far that is. */
export interface Opening {
  readonly deviceKey: string;
  readonly name: string;
  /** The store has been told of a new port, and has not answered: what it holds is not known. */
  storing: boolean;
}

/** The program that holds a stored port may only be passing by: an outgoing connection, our own predecessor (wire 5.7). */
const PATIENCE_MS = 5_000;
const RETRY_MS = 250;
/** A free port that another program holds is passed over for this time. */
const AVOID_MS = 60_000;
/** New ports that are tried for one opening. */
const MAX_TRIES = 64;

/** Opens public ports: the one that belongs to the service, or a new one where there is none or it was taken away. */
export class PortOpener {
  readonly #options: PortOpenerOptions;
  readonly #blocked = new Map<number, BlockedPort>();
  /** Free ports that another program was seen to hold, and until when they are passed over. */
  readonly #avoided = new Map<number, number>();

  constructor(options: PortOpenerOptions) {
    this.#options = options;
  }

  load(blocked: readonly BlockedPort[]): void {
    for (const one of blocked) this.#blocked.set(one.port, one);
  }

  /**
   * Listens on the port of a service; a new port is stored before this resolves. The pool knows the port then.
   *
   * @param signal ends it: it rejects with the reason of the abort, and nothing is left listening
   * @throws Failure `gateway.no-port`, `gateway.port-taken`, `gateway.cannot-listen`, `gateway.store-failed`
   */
  async open(opening: Opening, accept: (socket: Socket) => void, signal: AbortSignal): Promise<Server> {
    const oldPort = this.#options.pool.portOf(opening.deviceKey, opening.name);
    const server = oldPort === null ? null : await this.#patiently(oldPort, accept, signal);
    return server ?? (await this.#another(opening, oldPort, accept, signal));
  }

  blocked(): BlockedPort[] {
    return [...this.#blocked.values()];
  }

  /** The operator says that a blocked port may be given out again. False where it was not blocked. */
  async releaseBlocked(port: number): Promise<boolean> {
    const { pool, store, audit } = this.#options;
    const blocked = this.#blocked.get(port);
    if (blocked === undefined) return false;
    await store.releaseBlockedPort(port);
    if (!this.#blocked.delete(port)) return false; // asked twice at once
    pool.unblock(port);
    audit({ deviceKey: blocked.deviceKey, event: 'port_released', reason: null, detail: { port } });
    return true;
  }

  /** The service's own port, tried again for a while; null where another program keeps it. */
  async #patiently(port: number, accept: (socket: Socket) => void, signal: AbortSignal): Promise<Server | null> {
    const { bindHost, clock, log } = this.#options;
    const endMs = clock.nowMs() + PATIENCE_MS;
    for (let tries = 1; ; tries += 1) {
      const server = await listenUnless(signal, bindHost, port, accept);
      if (server !== null || clock.nowMs() >= endMs) return server;
      if (tries === 1) log.info({ port }, 'another program holds a port that belongs to a device; trying again');
      await pause(clock, RETRY_MS, signal);
    }
  }

  /** Listens on a new port first, then stores it: what is stored, and told, is a port that did work. */
  async #another(
    opening: Opening,
    oldPort: number | null,
    accept: (socket: Socket) => void,
    signal: AbortSignal,
  ): Promise<Server> {
    const { pool, bindHost, clock } = this.#options;
    const { deviceKey, name } = opening;
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const port = this.#take(opening, oldPort);
      if (port === null && pool.full) {
        throw new Failure('gateway.no-port', `no port of the range is free for ${name} of ${deviceKey}`);
      }
      if (port === null) break;
      let server: Server | null = null;
      try {
        server = await listenUnless(signal, bindHost, port, accept);
        if (server !== null) await this.#keep(opening, port, oldPort);
      } catch (error) {
        server?.close();
        this.#giveBack(opening, oldPort);
        throw error;
      }
      if (server !== null && signal.aborted) server.close(); // the port stays the service's: it is stored
      signal.throwIfAborted();
      if (server !== null) return server;
      this.#giveBack(opening, oldPort);
      this.#avoided.set(port, clock.nowMs() + AVOID_MS);
    }
    throw new Failure('gateway.port-taken', `other programs hold the ports that are free for ${name} of ${deviceKey}`);
  }

  #take({ deviceKey, name }: Opening, oldPort: number | null): number | null {
    const { pool } = this.#options;
    if (oldPort === null) return pool.assign(deviceKey, name, this.#isAvoided);
    return pool.replace(deviceKey, name, this.#isAvoided)?.newPort ?? null;
  }

  #giveBack({ deviceKey, name }: Opening, oldPort: number | null): void {
    const { pool } = this.#options;
    if (oldPort === null) pool.withdraw(deviceKey, name);
    else pool.revert(deviceKey, name, oldPort);
  }

  async #keep(opening: Opening, port: number, oldPort: number | null): Promise<void> {
    const { store, nowMs, log, audit } = this.#options;
    const { deviceKey, name: service } = opening;
    const atMs = nowMs();
    opening.storing = true;
    try {
      await store.assignPort({ deviceKey, service, port }, ...(oldPort === null ? [] : [{ oldPort, atMs }]));
    } finally {
      opening.storing = false;
    }
    if (oldPort === null) return;
    this.#blocked.set(oldPort, { port: oldPort, deviceKey, service, newPort: port, atMs });
    const detail = { service, old_port: oldPort, new_port: port };
    log.warn({ deviceKey, ...detail }, 'another program has taken a port; the service has a new one');
    audit({ deviceKey, event: 'port_conflict_resolved', reason: null, detail });
  }

  readonly #isAvoided = (port: number): boolean => {
    const untilMs = this.#avoided.get(port);
    if (untilMs === undefined) return false;
    if (untilMs > this.#options.clock.nowMs()) return true;
    this.#avoided.delete(port);
    return false;
  };
}

/** As `listenOn`; rejects with the reason of the abort, with nothing left listening. */
async function listenUnless(
  signal: AbortSignal,
  host: string,
  port: number,
  accept: (socket: Socket) => void,
): Promise<Server | null> {
  signal.throwIfAborted();
  const server = await listenOn(host, port, accept);
  if (signal.aborted) server?.close();
  signal.throwIfAborted();
  return server;
}
