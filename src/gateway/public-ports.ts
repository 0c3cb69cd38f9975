import type { Socket } from 'node:net';
import { asFailure, Failure } from '../support/failures.ts';
import { Repeats } from '../support/repeats.ts';
import { Later } from './later.ts';
import { Leases } from './leases.ts';
import { PortOpener, type PortOpenerOptions } from './port-opener.ts';
import { type Carrier, type PortSurroundings, PublicPort, sessionOver } from './public-port.ts';
import type { Session } from './session.ts';
import type { StoredFleet } from './store.ts';
import type { BlockedPort, OpenedTunnel, Service } from './types.ts';

export interface PublicPortsOptions extends PortOpenerOptions {
  readonly leaseMs: number;
}

const MOVED = 'the stored port is none, or belongs to another service or to the gateway itself';
/** A leased port that could not be opened is tried again after this time. */
const TRY_AGAIN_MS = 30_000;
/** A session that can carry nothing for the moment (as many streams as it may have) is asked again after this time. */
const ASK_AGAIN_MS = 1_000;
const REMIND_MS = 10 * 60_000;

/**
 * The public ports of the devices' services. A port listens exactly while somebody can carry its connections: the device
 * is online, and its session forwards the service, or a lease for it runs and the session can carry it. Else connections
 * are refused by the kernel, which every client understands, and never accepted first.
 */
export class PublicPorts {
  readonly #options: PublicPortsOptions;
  readonly #opener: PortOpener;
  readonly #around: PortSurroundings;
  readonly #leases: Leases;
  readonly #repeats: Repeats;
  readonly #online = new Map<string, Session>();
  readonly #ports = new Map<string, Map<string, PublicPort>>();
  readonly #sockets = new Set<Socket>();
  readonly #failed: Later<PublicPort>;
  readonly #refused: Later<PublicPort>;
  #accepting = true;
  #turnedAway = 0;

  constructor(options: PublicPortsOptions) {
    this.#options = options;
    this.#opener = new PortOpener(options);
    this.#around = {
      opener: this.#opener,
      clock: options.clock,
      log: options.log,
      carrier: (port) => this.#carrier(port),
      refused: (port) => this.#settle(port),
      sockets: this.#sockets,
      turnedAway: () => {
        this.#turnedAway += 1;
      },
      idle: (port) => this.#forget(port),
    };
    this.#failed = new Later(options.clock, TRY_AGAIN_MS, (port) => this.#settle(port));
    this.#refused = new Later(options.clock, ASK_AGAIN_MS, (port) => this.#settle(port));
    this.#repeats = new Repeats(options.clock, REMIND_MS);
    this.#leases = new Leases({ ...options, ended: (deviceKey, name) => this.#settleNamed(deviceKey, name) });
  }

  /** Before the first session: reserves what was stored, and takes up the leases that still run. */
  async load({ devices, assignments, blockedPorts, leases }: StoredFleet): Promise<void> {
    const { pool, store, log, audit } = this.#options;
    this.#opener.load(blockedPorts);
    const moved = pool.load(
      assignments,
      blockedPorts.map(({ port }) => port),
    );
    await this.#leases.load(leases);
    for (const { deviceKey, name } of this.#leases.all()) this.#portFor(deviceKey, name);
    for (const { deviceKey, service, oldPort, newPort } of moved) {
      const detail = { service, old_port: oldPort, new_port: newPort ?? 'none' };
      log.error({ deviceKey, ...detail }, MOVED);
      const services = devices.find(({ key }) => key === deviceKey)?.services;
      if (services === undefined) continue;
      // The row has to go before there can be another; leases of the service go with it.
      await store.setServices(deviceKey, services, [service]);
      if (newPort !== null) await store.assignPort({ deviceKey, service, port: newPort });
      audit({ deviceKey, event: 'port_conflict_resolved', reason: MOVED, detail });
    }
  }

  /** The device is online through this session: its leased ports listen. A session that was before is over. */
  online(session: Session): void {
    this.#online.set(session.deviceKey, session);
    this.#settleAll(session.deviceKey);
  }

  /** The session is over: its device's ports are closed, unless a newer session has them. */
  offline(session: Session): void {
    if (this.#online.get(session.deviceKey) !== session) return;
    this.#online.delete(session.deviceKey);
    this.#settleAll(session.deviceKey);
  }

  /**
   * The port of a service listens for as long as this session is the device's. Gives the port.
   *
   * @throws Failure `gateway.no-port`, `gateway.port-taken`, `gateway.cannot-listen`, `gateway.store-failed`,
   * `gateway.session-over`
   */
  async forward(session: Session, service: Service): Promise<number> {
    this.#demandOnline(session);
    const port = this.#portFor(session.deviceKey, service.name);
    const forwarded = { session, service };
    port.forwarded = forwarded;
    port.wasRefused = false; // that was before it asked for this
    try {
      await port.open();
      return this.#numberOf(port, session);
    } catch (error) {
      if (port.forwarded === forwarded) port.forwarded = null;
      this.#settle(port);
      throw error;
    }
  }

  /** The session takes its request back; open connections go on. */
  cancelForward(session: Session, { name }: Service): void {
    const port = this.#find(session.deviceKey, name);
    if (port?.forwarded?.session !== session) return;
    port.forwarded = null;
    this.#settle(port);
  }

  /**
   * Opens the port of a service for the time of a lease, or renews it. The lease stays when the session ends: the port
   * listens again as soon as the device is back.
   *
   * @throws Failure as `forward` does, and `gateway.service-not-forwarded` where the session cannot carry it
   */
  async lease(session: Session, service: Service): Promise<OpenedTunnel> {
    const { deviceKey } = session;
    this.#demandOnline(session);
    const refusal = session.refusal(service);
    if (refusal !== null) {
      throw new Failure(
        'gateway.service-not-forwarded',
        `${service.name} of ${deviceKey} cannot be reached: ${refusal}`,
      );
    }
    const port = this.#portFor(deviceKey, service.name);
    const ask = { session, service };
    port.asks.add(ask);
    try {
      await port.open();
      this.#numberOf(port, session);
      const lease = await this.#leases.grant(deviceKey, service);
      return { ...lease, port: this.#numberOf(port, session) };
    } finally {
      port.asks.delete(ask);
      this.#settle(port);
    }
  }

  /** The leases whose port listens now. */
  tunnels(): OpenedTunnel[] {
    return this.#leases.all().flatMap((lease) => {
      const port = this.portOf(lease.deviceKey, lease.name);
      return port !== null && this.#find(lease.deviceKey, lease.name)?.listens ? [{ ...lease, port }] : [];
    });
  }

  /** The port that belongs to a service, whether it listens or not. */
  portOf(deviceKey: string, service: string): number | null {
    return this.#options.pool.portOf(deviceKey, service);
  }

  blocked(): BlockedPort[] {
    return this.#opener.blocked();
  }

  /** False where it was not blocked. */
  releaseBlocked(port: number): Promise<boolean> {
    return this.#opener.releaseBlocked(port);
  }

  /** For the metrics. `turnedAway` counts connections that were accepted and closed at once. */
  counts(): { listening: number; connections: number; turnedAway: number } {
    const listening = this.#all().filter(({ listens }) => listens).length;
    return { listening, connections: this.#sockets.size, turnedAway: this.#turnedAway };
  }

  /**
   * Services, or with null all of a device, were removed, in the store already: their listeners are closed and their
   * ports are free for others. Open connections end with their session.
   */
  drop(deviceKey: string, names: readonly string[] | null): void {
    const { pool } = this.#options;
    this.#leases.drop(deviceKey, names);
    for (const name of names ?? [...pool.servicesOf(deviceKey).keys()]) {
      // What is being written now may stand in the store after the removal: then the port has to stay reserved.
      if (this.#find(deviceKey, name)?.storing !== true) pool.releaseService(deviceKey, name);
    }
    for (const port of this.#portsOf(deviceKey)) {
      if (names?.includes(port.name) === false) continue;
      port.forwarded = null;
      port.asks.clear();
      this.#settle(port);
    }
  }

  /** Closes all listeners, for good; open connections go on. */
  stopAccepting(): void {
    this.#accepting = false;
    for (const port of this.#all()) this.#settle(port);
  }

  /** Closes listeners and connections, and waits for what is being stored. */
  async stop(): Promise<void> {
    this.stopAccepting();
    this.#leases.stop();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.allSettled(this.#all().flatMap(({ opening }) => opening ?? []));
  }

  /** Whose a connection would be now, if the session takes it. */
  #carrier(port: PublicPort): Carrier | null {
    const session = this.#online.get(port.deviceKey);
    if (session === undefined || !this.#accepting) return null;
    if (port.forwarded?.session === session) return port.forwarded;
    const service = this.#leases.of(port.deviceKey, port.name);
    if (service !== null) return { session, service };
    return [...port.asks].find((ask) => ask.session === session) ?? null;
  }

  /** Opens or closes the port, as things stand now. */
  #settle(port: PublicPort): void {
    this.#failed.delete(port);
    this.#refused.delete(port);
    if (port.forwarded?.session !== this.#online.get(port.deviceKey)) port.forwarded = null;
    const carrier = this.#carrier(port);
    // A session is sure of what it forwards only once the port listens.
    const isAsked = carrier !== null && (port.wasRefused || carrier !== port.forwarded);
    port.wasRefused = isAsked && carrier.session.refusal(carrier.service) !== null;
    if (port.wasRefused) this.#refused.add(port);
    if (carrier === null || port.wasRefused) port.close();
    else port.open().catch((error: unknown) => this.#failing(port, error));
  }

  /** Nobody waits for the answer: it is told in the log, and tried again. */
  #failing(port: PublicPort, error: unknown): void {
    if (this.#carrier(port) === null || port.wasRefused || port.listens || port.opening !== null) return;
    const { code, message, remedy } = asFailure(error);
    const { level, repeated } = this.#repeats.next(code, code);
    const { deviceKey, name: service } = port;
    this.#options.log[level]({ code, remedy, deviceKey, service, repeated }, message);
    this.#failed.add(port);
  }

  #numberOf(port: PublicPort, session: Session): number {
    const number = this.portOf(port.deviceKey, port.name);
    this.#demandOnline(session);
    if (!port.listens || number === null) throw sessionOver(port.deviceKey);
    return number;
  }

  #demandOnline(session: Session): void {
    if (!this.#accepting || this.#online.get(session.deviceKey) !== session) throw sessionOver(session.deviceKey);
  }

  #settleAll(deviceKey: string): void {
    for (const port of this.#portsOf(deviceKey)) this.#settle(port);
  }

  #settleNamed(deviceKey: string, name: string): void {
    const port = this.#find(deviceKey, name);
    if (port !== null) this.#settle(port);
  }

  #all(): PublicPort[] {
    return [...this.#ports.values()].flatMap((ports) => [...ports.values()]);
  }

  #portsOf(deviceKey: string): PublicPort[] {
    return [...(this.#ports.get(deviceKey)?.values() ?? [])];
  }

  #find(deviceKey: string, name: string): PublicPort | null {
    return this.#ports.get(deviceKey)?.get(name) ?? null;
  }

  #portFor(deviceKey: string, name: string): PublicPort {
    const known = this.#find(deviceKey, name);
    if (known !== null) return known;
    const port = new PublicPort(deviceKey, name, this.#around);
    const ports = this.#ports.get(deviceKey);
    if (ports === undefined) this.#ports.set(deviceKey, new Map([[name, port]]));
    else ports.set(name, port);
    return port;
  }

  #forget(port: PublicPort): void {
    const { deviceKey, name } = port;
    if (this.#leases.of(deviceKey, name) !== null || this.#find(deviceKey, name) !== port) return;
    const ports = this.#ports.get(deviceKey);
    ports?.delete(name);
    if (ports?.size === 0) this.#ports.delete(deviceKey);
  }
}
