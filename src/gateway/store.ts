import type { Assignment, AuditEntry, BlockedPort, Device, Lease } from './types.ts';

/** All that the gateway holds in memory, as it was stored. */
export interface StoredFleet {
  readonly devices: readonly Device[];
  readonly assignments: readonly Assignment[];
  readonly blockedPorts: readonly BlockedPort[];
  readonly leases: readonly Lease[];
  /** Addresses that devices have authenticated from, the newest first. */
  readonly addresses: readonly KnownAddress[];
}

export interface KnownAddress {
  readonly address: string;
  readonly deviceKey: string;
  readonly atMs: number;
}

/** What is seen rather than decided: it is written in batches, and a crash may lose the last moment of it. */
export interface Observations {
  readonly audit: readonly AuditEntry[];
  readonly addresses: readonly KnownAddress[];
  /** The newest of each device; a key that is no longer there is passed over. */
  readonly seen: readonly (Pick<Device, 'key'> &
    Partial<Pick<Device, 'lastSeenAtMs' | 'lastConnectedAtMs' | 'heartbeat'>>)[];
}

/** What can be changed of a device after it was made. */
export type DeviceChanges = Partial<
  Pick<
    Device,
    | 'authorized'
    | 'pausedUntilMs'
    | 'services'
    | 'tokenCodeHash'
    | 'tokenCodeStrong'
    | 'tunnelTokenHash'
    | 'tunnelTokenSealed'
    | 'publicKey'
  >
>;

/**
 * Keeps the fleet on disk. The gateway reads all of it once, at its start, decides in memory, and writes each decision
 * before it counts. A promise that resolves has made it durable, as a whole; one that rejects has changed nothing.
 *
 * @throws Failure `gateway.store-failed` from every method where the disk or the database fails
 */
export interface Store {
  load(): Promise<StoredFleet>;
  /** Rejects with `gateway.device-exists` where the key, or the hash of the tunnel token, is in use. */
  insertDevice(device: Device): Promise<void>;
  /** @throws Failure `gateway.device-unknown`; `gateway.device-exists` where the tunnel token is another device's */
  updateDevice(key: string, changes: DeviceChanges): Promise<void>;
  /** With its assignments, leases and addresses; what it did stays in the audit. False where there was none. */
  deleteDevice(key: string): Promise<boolean>;
  /** Sets the services of a device and removes the assignments and leases of `dropped` ones, at once. */
  setServices(key: string, services: Device['services'], dropped: readonly string[]): Promise<void>;
  /**
   * A first port, or with `instead` another one: the old is blocked in the same step. A port that is in use or blocked,
   * or an old one that is not that service's, is `internal.unexpected`: the pool gives no such port.
   * @throws Failure `gateway.device-unknown`
   */
  assignPort(assignment: Assignment, instead?: { readonly oldPort: number; readonly atMs: number }): Promise<void>;
  releaseBlockedPort(port: number): Promise<void>;
  /** @throws Failure `gateway.device-unknown` */
  putLease(lease: Lease): Promise<void>;
  deleteLeases(leases: readonly Pick<Lease, 'deviceKey' | 'name'>[]): Promise<void>;
  observe(observations: Observations): Promise<void>;
  /** The newest `limit` entries of a device, or of all (null), the newest first. */
  auditOf(deviceKey: string | null, limit: number): Promise<AuditEntry[]>;
  /**
   * Does what was called before, and closes. From then on observations are lost without a word, and every other call
   * rejects with `gateway.store-failed`: it has stored nothing, and must not look as if it had.
   */
  close(): Promise<void>;
}
