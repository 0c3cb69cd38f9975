import type { SessionFacts } from './session.ts';
import type { AuditEntry, BlockedPort, Device, EntryName, Lease, ServiceSpec } from './types.ts';

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

export interface OpenedTunnel extends Lease {
  readonly port: number;
}

/** What `create` is told; already of the right types and lengths. */
export interface NewDevice {
  readonly key: string;
  readonly tokenCode: string;
  readonly type: string;
  readonly distribution: string;
  readonly productSerial: string | null;
}

/**
 * All that an operator, or a device over REST, can do: each a decision that is stored, then carried out, then kept in
 * the audit. REST and nothing else calls this; it parses and answers, this acts.
 *
 * @throws Failure `gateway.device-unknown` for a key that is not there, `gateway.store-failed`
 */
export interface Operations {
  devices(): readonly Device[];
  status(key: string): DeviceStatus;
  sessions(): readonly OnlineSession[];
  /** @throws Failure `gateway.device-exists` */
  create(device: NewDevice): Promise<Device>;
  /** Makes key and token: 32 hex digits each. */
  generate(type: string): Promise<{ device: Device; tokenCode: string }>;
  /** Ends its session, frees its ports. */
  remove(key: string): Promise<void>;
  /** False ends its session. */
  authorize(key: string, authorized: boolean): Promise<Device>;
  /** A new Meeting token, made here unless given; the old one is worth nothing and its session ends. */
  setTokenCode(key: string, tokenCode: string | null): Promise<string>;
  /** The tunnel token, made at the first call; `rotate` makes another, and ends the session. */
  tunnelToken(key: string, options: { rotate: boolean }): Promise<string>;
  /** The device of a tunnel token that would be let in now; null otherwise. */
  deviceOfTunnelToken(token: string): Device | null;
  /** @param untilMs wall clock; stored before the session ends */
  pause(key: string, untilMs: number): Promise<Device>;
  resume(key: string): Promise<Device>;
  /** False where it was not connected. */
  disconnect(key: string): boolean;
  /** Services that are dropped lose their ports. What a session forwards changes at its next connection. */
  setForwards(key: string, services: readonly ServiceSpec[]): Promise<Device>;
  /**
   * Opens the public port of a service for the time of a lease, or renews it; `scp` is `ssh`, `relay` names its port.
   *
   * @throws Failure `gateway.not-authorized`, `gateway.no-token`, `gateway.device-offline`, `gateway.device-paused`,
   * `gateway.service-not-forwarded`, `gateway.no-port`, `gateway.port-taken`
   */
  open(key: string, service: string, relayPort: number | null): Promise<OpenedTunnel>;
  /** The leases that listen now. */
  tunnels(): readonly OpenedTunnel[];
  blockedPorts(): readonly BlockedPort[];
  /** False where it was not blocked. */
  releasePort(port: number): Promise<boolean>;
  /** Whether this is the Meeting token of that device: X-Token-Code. Wrong ones are counted and take their time. */
  isTokenOf(key: string, tokenCode: string, address: string): Promise<boolean>;
  heartbeat(key: string, fields: Readonly<Record<string, string>>, address: string): { lastSeenAtMs: number };
  setPublicKey(key: string, line: string): Promise<void>;
  /** The newest first, with what is not on disk yet. Null: of all. */
  audit(key: string | null, limit: number): Promise<readonly AuditEntry[]>;
}
