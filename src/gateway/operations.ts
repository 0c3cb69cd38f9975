import { Failure } from '../support/failures.ts';
import type { Attempts } from './attempts.ts';
import type { Audit } from './audit.ts';
import type { Fleet, NewDevice } from './fleet.ts';
import type { Host } from './host.ts';
import type { KnownAddresses } from './known-addresses.ts';
import type { PortPool } from './port-pool.ts';
import type { PublicPorts } from './public-ports.ts';
import type { Session, SessionFacts } from './session.ts';
import type { Sessions } from './sessions.ts';
import { makeDeviceKey, makeTokenCode, makeTunnelToken } from './tokens.ts';
import {
  type AuditEntry,
  type AuditEvent,
  type BlockedPort,
  type Device,
  type EndReason,
  type EntryName,
  localPortOf,
  type OpenedTunnel,
  type Service,
  type ServiceSpec,
} from './types.ts';

export type { NewDevice } from './fleet.ts';
export type { OpenedTunnel } from './types.ts';

/** A connected device, for people. */
export interface OnlineSession extends SessionFacts {
  readonly deviceKey: string;
  readonly entry: EntryName;
  readonly address: string;
  readonly connectedAtMs: number;
}

export interface DeviceStatus {
  readonly device: Device;
  readonly session: OnlineSession | null;
  /** All services with a public port, or that could have one; `tunnelPort` is null before the first need. */
  readonly services: readonly {
    readonly name: string;
    readonly localPort: number | null;
    readonly tunnelPort: number | null;
  }[];
}

/** Services that nobody configures: a port of the device that an operator names. */
const RELAY = /^relay-(\d{1,5})$/;
const MAX_RELAYS = 16;

const USUAL_TYPE = 'generic';

export interface OperationsParts {
  readonly fleet: Fleet;
  readonly sessions: Sessions;
  readonly ports: PublicPorts;
  readonly pool: PortPool;
  readonly attempts: Attempts;
  readonly addresses: KnownAddresses;
  readonly audit: Audit;
  readonly host: Host;
  /** Wall clock. */
  readonly nowMs: () => number;
}

/**
 * All that an operator, or a device over REST, can do: each a decision that is stored, then carried out, then kept in
 * the audit. REST and nothing else calls this; it parses and answers, this acts.
 *
 * @throws Failure `gateway.device-unknown` for a key that is not there, `gateway.store-failed`
 */
export class Operations {
  readonly #parts: OperationsParts;

  constructor(parts: OperationsParts) {
    this.#parts = parts;
  }

  devices(): readonly Device[] {
    return this.#parts.fleet.all();
  }

  status(key: string): DeviceStatus {
    const { fleet, sessions, pool } = this.#parts;
    const device = fleet.need(key);
    const session = sessions.current(key);
    // Without a session, that of the entry which it was given a token for.
    const entry = session?.entry ?? (device.tunnelTokenHash === null ? 'agent' : 'ssh');
    const ports = pool.servicesOf(key);
    const configured = device.services.map(({ name }) => name);
    const others = [...ports.keys()].filter((name) => !configured.includes(name));
    const services = [...configured, ...others].map((name) => {
      return {
        name,
        localPort: serviceOf(device, name, entry)?.localPort ?? null,
        tunnelPort: ports.get(name) ?? null,
      };
    });
    return { device, session: session && onlineSession(session), services };
  }

  sessions(): readonly OnlineSession[] {
    return this.#parts.sessions.all().map(onlineSession);
  }

  /** @throws Failure `gateway.device-exists` */
  async create(newDevice: NewDevice): Promise<Device> {
    const device = await this.#parts.fleet.create(newDevice);
    this.#record(device.key, 'device_created', { type: device.type });
    return device;
  }

  /** Makes key and token: 32 hex digits each. */
  async generate(type: string): Promise<{ device: Device; tokenCode: string }> {
    const tokenCode = makeTokenCode();
    const facts = { type: type === '' ? USUAL_TYPE : type, distribution: '', productSerial: null };
    return { device: await this.create({ key: makeDeviceKey(), tokenCode, ...facts }), tokenCode };
  }

  /** Ends its session, frees its ports. */
  async remove(key: string): Promise<void> {
    const { fleet, ports, attempts, addresses } = this.#parts;
    await fleet.remove(key);
    this.#end(key, 'operator_disconnect');
    ports.drop(key, null);
    attempts.forget(key);
    addresses.forget(key);
    this.#record(key, 'device_removed');
  }

  /** False ends its session. */
  async authorize(key: string, authorized: boolean): Promise<Device> {
    const device = await this.#parts.fleet.change(key, () => ({ authorized }));
    if (!authorized) this.#end(key, 'operator_disconnect');
    this.#record(key, authorized ? 'authorized' : 'unauthorized');
    return device;
  }

  /** A new Meeting token, made here unless given; the old one is worth nothing and its session ends. */
  async setTokenCode(key: string, tokenCode: string | null): Promise<string> {
    const token = tokenCode ?? makeTokenCode();
    await this.#parts.fleet.setTokenCode(key, token);
    this.#parts.attempts.forget(key);
    this.#end(key, 'token_rotated');
    this.#record(key, 'token_rotated', { token: 'token_code' });
    return token;
  }

  /** The tunnel token, made at the first call; `rotate` makes another, and ends the session. */
  async tunnelToken(key: string, { rotate }: { rotate: boolean }): Promise<string> {
    const { token, made, first } = await this.#parts.fleet.tunnelToken(key, rotate, makeTunnelToken);
    if (!made) return token;
    if (!first) this.#end(key, 'token_rotated');
    this.#record(key, first ? 'token_created' : 'token_rotated', { token: 'tunnel' });
    return token;
  }

  /** The device of a tunnel token that would be let in now; null otherwise. */
  deviceOfTunnelToken(token: string): Device | null {
    const { fleet } = this.#parts;
    const device = fleet.byTunnelToken(token);
    return device?.authorized === true && !fleet.isPaused(device) ? device : null;
  }

  /** @param untilMs wall clock; stored before the session ends */
  async pause(key: string, untilMs: number): Promise<Device> {
    const device = await this.#parts.fleet.change(key, () => ({ pausedUntilMs: untilMs }));
    this.#end(key, 'paused_by_operator');
    this.#record(key, 'paused', { until: new Date(untilMs).toISOString() });
    return device;
  }

  async resume(key: string): Promise<Device> {
    const device = await this.#parts.fleet.change(key, () => ({ pausedUntilMs: null }));
    this.#record(key, 'resumed');
    return device;
  }

  /** False where it was not connected. */
  disconnect(key: string): boolean {
    this.#parts.fleet.need(key);
    return this.#end(key, 'operator_disconnect');
  }

  /** Services that are dropped lose their ports. What a session forwards changes at its next connection. */
  async setForwards(key: string, services: readonly ServiceSpec[]): Promise<Device> {
    const { device, dropped } = await this.#parts.fleet.setServices(key, services);
    if (dropped.length > 0) this.#parts.ports.drop(key, dropped);
    const text = services.map(({ name, localPort }) => (localPort === null ? name : `${name}:${localPort}`)).join(' ');
    this.#record(key, 'forwards_changed', { services: text });
    return device;
  }

  /**
   * Opens the public port of a service for the time of a lease, or renews it; `scp` is `ssh`, `relay` names its port.
   * Of relays a device has sixteen; for one more, the port of the oldest that has no lease is given up.
   *
   * @throws Failure `gateway.not-authorized`, `gateway.device-offline`, `gateway.device-paused`,
   * `gateway.service-not-forwarded`, `gateway.no-port`, `gateway.port-taken`, `gateway.cannot-listen`,
   * `gateway.session-over` (the session ended meanwhile)
   */
  async open(key: string, service: string, relayPort: number | null): Promise<OpenedTunnel> {
    const { fleet, sessions, ports } = this.#parts;
    const device = fleet.need(key);
    if (!device.authorized) throw new Failure('gateway.not-authorized', `The device ${key} is not authorized`);
    if (fleet.isPaused(device)) {
      const until = new Date(device.pausedUntilMs ?? 0).toISOString();
      throw new Failure('gateway.device-paused', `The device ${key} is paused until ${until}`);
    }
    const session = sessions.current(key);
    if (session === null) throw new Failure('gateway.device-offline', offlineSentence(device));
    const name = service === 'scp' ? 'ssh' : service === 'relay' ? `relay-${relayPort}` : service;
    const asked = serviceOf(device, name, session.entry);
    const refusal = asked === null ? `${name} is no service of it` : session.refusal(asked);
    if (asked === null || refusal !== null) {
      throw new Failure('gateway.service-not-forwarded', `The device ${key} does not offer ${name}: ${refusal}`);
    }
    if (RELAY.test(name)) await this.#makeRoomForRelay(key, name);
    return ports.lease(session, asked);
  }

  /** The leases that listen now. */
  tunnels(): readonly OpenedTunnel[] {
    return this.#parts.ports.tunnels();
  }

  blockedPorts(): readonly BlockedPort[] {
    return this.#parts.ports.blocked();
  }

  /** False where it was not blocked. */
  releasePort(port: number): Promise<boolean> {
    return this.#parts.ports.releaseBlocked(port);
  }

  /** Whether this is the Meeting token of that device: X-Token-Code. Wrong ones are counted and take their time. */
  async isTokenOf(key: string, tokenCode: string, address: string): Promise<boolean> {
    return (await this.#parts.host.checkTokenCode('rest', key, tokenCode, address)).right;
  }

  /** @param address where it came from, which is its `ip_address` unless it says another */
  heartbeat(key: string, fields: Readonly<Record<string, string>>, address: string): { lastSeenAtMs: number } {
    const { fleet, audit, nowMs } = this.#parts;
    fleet.need(key);
    const seen = { lastSeenAtMs: nowMs(), heartbeat: { ip_address: address, ...fields } };
    fleet.saw(key, seen);
    audit.saw(key, seen);
    return { lastSeenAtMs: seen.lastSeenAtMs };
  }

  async setPublicKey(key: string, line: string): Promise<void> {
    let changed = false;
    await this.#parts.fleet.change(key, (device) => {
      changed = device.publicKey !== line;
      return changed ? { publicKey: line } : null;
    });
    if (changed) this.#record(key, 'settings_changed', { setting: 'public key' });
  }

  /** The newest first, with what is not on disk yet. Null: of all. */
  audit(key: string | null, limit: number): Promise<readonly AuditEntry[]> {
    if (key !== null) this.#parts.fleet.need(key);
    return this.#parts.audit.newest(key, limit);
  }

  #end(key: string, reason: EndReason): boolean {
    const session = this.#parts.sessions.current(key);
    session?.end(reason);
    return session !== null;
  }

  #record(deviceKey: string, event: AuditEvent, detail: Readonly<Record<string, string | number>> = {}): void {
    this.#parts.audit.record({ deviceKey, event, reason: null, detail });
  }

  async #makeRoomForRelay(key: string, name: string): Promise<void> {
    const { fleet, ports, pool } = this.#parts;
    const relays = [...pool.servicesOf(key).keys()].filter((service) => RELAY.test(service));
    if (relays.includes(name) || relays.length < MAX_RELAYS) return;
    const leased = new Set(ports.tunnels().flatMap((tunnel) => (tunnel.deviceKey === key ? [tunnel.name] : [])));
    const idle = relays.find((relay) => !leased.has(relay));
    if (idle === undefined) {
      throw new Failure(
        'gateway.no-port',
        `The device ${key} has ${MAX_RELAYS} relays open: the most that one may have`,
      );
    }
    const { dropped } = await fleet.dropServices(key, ({ services }) => ({ services, dropped: [idle] }));
    ports.drop(key, dropped);
  }
}

/** A configured service, a usual one, or a relay; null where nobody knows its local port. */
function serviceOf(device: Device, name: string, entry: EntryName): Service | null {
  const spec = device.services.find((one) => one.name === name) ?? { name, localPort: relayPortOf(name) };
  const localPort = localPortOf(spec, entry);
  return localPort === null ? null : { name, localPort };
}

function relayPortOf(name: string): number | null {
  const port = Number(RELAY.exec(name)?.[1] ?? 0);
  return port > 0 && port <= 65_535 ? port : null;
}

function onlineSession(session: Session): OnlineSession {
  const { deviceKey, entry, address, connectedAtMs } = session;
  return { deviceKey, entry, address, connectedAtMs, ...session.facts() };
}

function offlineSentence({ key, lastConnectedAtMs }: Device): string {
  if (lastConnectedAtMs === null) return `The device ${key} was never connected`;
  return `The device ${key} is offline since ${new Date(lastConnectedAtMs).toISOString()}`;
}
