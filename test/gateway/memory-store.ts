import type { DeviceChanges, KnownAddress, Observations, Store, StoredFleet } from '../../src/gateway/store.ts';
import type { Assignment, AuditEntry, BlockedPort, Device, Lease } from '../../src/gateway/types.ts';
import { Failure } from '../../src/support/failures.ts';

/** The bounds of the real store, without the slack that it has between two cleanings. */
const AUDIT_OF_ONE = 1000;
const AUDIT_OF_NOBODY = 10_000;
const AUDIT_IN_ALL = 200_000;
const ADDRESSES_OF_ONE = 16;

/** The store in memory, for tests. `fail` lets every call reject, as a full disk would, until it is set back to null. */
export class MemoryStore implements Store {
  fail: Failure | null = null;
  #closed = false;
  readonly #devices = new Map<string, Device>();
  #assignments: Assignment[] = [];
  #blocked: BlockedPort[] = [];
  #leases: Lease[] = [];
  #addresses: KnownAddress[] = [];
  /** The oldest first. */
  #audit: AuditEntry[] = [];

  constructor(fleet: Partial<StoredFleet> = {}) {
    const { devices = [], assignments = [], blockedPorts = [], leases = [], addresses = [] } = structuredClone(fleet);
    for (const device of devices) this.#devices.set(device.key, device);
    this.#assignments = [...assignments];
    this.#blocked = [...blockedPorts];
    this.#leases = [...leases];
    this.#addresses = [...addresses];
  }

  async load(): Promise<StoredFleet> {
    this.#check();
    return structuredClone({
      devices: [...this.#devices.values()],
      assignments: this.#assignments,
      blockedPorts: this.#blocked,
      leases: this.#leases,
      addresses: this.#addresses.toSorted(newestFirst),
    });
  }

  async insertDevice(device: Device): Promise<void> {
    this.#check();
    if (this.#devices.has(device.key)) {
      throw new Failure('gateway.device-exists', `there is a device ${device.key} already`);
    }
    this.#checkHash(device.key, device);
    this.#devices.set(device.key, structuredClone(device));
  }

  async updateDevice(key: string, changes: DeviceChanges): Promise<void> {
    this.#check();
    const device = this.#known(key);
    this.#checkHash(key, changes);
    this.#devices.set(key, { ...device, ...structuredClone(changes) });
  }

  async deleteDevice(key: string): Promise<boolean> {
    this.#check();
    if (!this.#devices.delete(key)) return false;
    const ofAnother = ({ deviceKey }: { deviceKey: string }) => deviceKey !== key;
    this.#assignments = this.#assignments.filter(ofAnother);
    this.#leases = this.#leases.filter(ofAnother);
    this.#addresses = this.#addresses.filter(ofAnother);
    return true;
  }

  async setServices(key: string, services: Device['services'], dropped: readonly string[]): Promise<void> {
    this.#check();
    const device = this.#known(key);
    this.#devices.set(key, { ...device, services: structuredClone(services) });
    const stays = (deviceKey: string, service: string) => deviceKey !== key || !dropped.includes(service);
    this.#assignments = this.#assignments.filter(({ deviceKey, service }) => stays(deviceKey, service));
    this.#leases = this.#leases.filter(({ deviceKey, name }) => stays(deviceKey, name));
  }

  async assignPort(assignment: Assignment, instead?: { oldPort: number; atMs: number }): Promise<void> {
    this.#check();
    const { deviceKey, service, port } = assignment;
    this.#known(deviceKey);
    const old = this.#assignments.find((one) => one.deviceKey === deviceKey && one.service === service);
    const clash = (sentence: string) => new Failure('internal.unexpected', sentence);
    if (old?.port !== instead?.oldPort) {
      throw clash(`${service} of ${deviceKey} has port ${old?.port ?? 'none'}, not ${instead?.oldPort ?? 'none'}`);
    }
    if (this.#assignments.some((one) => one.port === port) || this.#blocked.some((one) => one.port === port)) {
      throw clash(`port ${port} is in use or blocked`);
    }
    this.#assignments = [...this.#assignments.filter((one) => one !== old), { deviceKey, service, port }];
    if (instead !== undefined) {
      this.#blocked.push({ port: instead.oldPort, deviceKey, service, newPort: port, atMs: instead.atMs });
    }
  }

  async releaseBlockedPort(port: number): Promise<void> {
    this.#check();
    this.#blocked = this.#blocked.filter((one) => one.port !== port);
  }

  async putLease(lease: Lease): Promise<void> {
    this.#check();
    this.#known(lease.deviceKey);
    this.#leases = [...this.#leases.filter((one) => !sameLease(one, lease)), structuredClone(lease)];
  }

  async deleteLeases(leases: readonly Pick<Lease, 'deviceKey' | 'name'>[]): Promise<void> {
    this.#check();
    this.#leases = this.#leases.filter((one) => !leases.some((gone) => sameLease(one, gone)));
  }

  async observe({ audit, addresses, seen }: Observations): Promise<void> {
    if (this.#closed) return;
    this.#check();
    for (const { key, ...times } of structuredClone(seen)) {
      const device = this.#devices.get(key);
      if (device !== undefined) this.#devices.set(key, { ...device, ...times });
    }
    for (const found of structuredClone(addresses)) this.#addAddress(found);
    this.#audit.push(...structuredClone(audit));
    for (const key of new Set(audit.map((entry) => entry.deviceKey))) {
      const ofOne = this.#audit.filter((entry) => entry.deviceKey === key);
      const surplus = new Set(ofOne.slice(0, -(key === null ? AUDIT_OF_NOBODY : AUDIT_OF_ONE)));
      if (surplus.size > 0) this.#audit = this.#audit.filter((entry) => !surplus.has(entry));
    }
    this.#audit = this.#audit.slice(-AUDIT_IN_ALL);
  }

  async auditOf(deviceKey: string | null, limit: number): Promise<AuditEntry[]> {
    this.#check();
    const entries = this.#audit.filter((entry) => deviceKey === null || entry.deviceKey === deviceKey);
    return structuredClone(entries.toReversed().slice(0, limit));
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #check(): void {
    if (this.#closed) throw new Failure('gateway.store-failed', 'the store is closed');
    if (this.fail !== null) throw this.fail;
  }

  #known(key: string): Device {
    const device = this.#devices.get(key);
    if (device === undefined) throw new Failure('gateway.device-unknown', `there is no device ${key}`);
    return device;
  }

  #checkHash(key: string, { tunnelTokenHash }: DeviceChanges): void {
    for (const other of this.#devices.values()) {
      if (other.key === key) continue;
      const same = (other.tunnelTokenHash ?? undefined) === (tunnelTokenHash ?? null);
      if (same) throw new Failure('gateway.device-exists', 'another device has that token');
    }
  }

  #addAddress(found: KnownAddress): void {
    if (!this.#devices.has(found.deviceKey)) return;
    const isSame = (one: KnownAddress) => one.deviceKey === found.deviceKey && one.address === found.address;
    const atMs = Math.max(found.atMs, ...this.#addresses.filter(isSame).map((one) => one.atMs));
    const ofDevice = [
      ...this.#addresses.filter((one) => one.deviceKey === found.deviceKey && !isSame(one)),
      { ...found, atMs },
    ];
    this.#addresses = [
      ...this.#addresses.filter((one) => one.deviceKey !== found.deviceKey),
      ...ofDevice.toSorted(newestFirst).slice(0, ADDRESSES_OF_ONE),
    ];
  }
}

const newestFirst = (a: { atMs: number }, b: { atMs: number }) => b.atMs - a.atMs;

function sameLease(a: Pick<Lease, 'deviceKey' | 'name'>, b: Pick<Lease, 'deviceKey' | 'name'>): boolean {
  return a.deviceKey === b.deviceKey && a.name === b.name;
}
