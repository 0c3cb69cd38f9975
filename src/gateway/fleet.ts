import { timingSafeEqual } from 'node:crypto';
import { Failure } from '../support/failures.ts';
import type { Secrets } from './secrets.ts';
import type { DeviceChanges, Store, StoredFleet } from './store.ts';
import { isStrong, isTunnelToken } from './tokens.ts';
import { type Device, type ServiceSpec, USUAL_SERVICES } from './types.ts';

/** What is seen of a device rather than decided. */
export type Seen = Partial<Pick<Device, 'lastSeenAtMs' | 'lastConnectedAtMs' | 'heartbeat'>>;

/** What `create` is told; already of the right types and lengths. */
export interface NewDevice {
  readonly key: string;
  readonly tokenCode: string;
  readonly type: string;
  readonly distribution: string;
  readonly productSerial: string | null;
}

/** What tokens are kept with. */
export type TokenSecrets = Pick<Secrets, 'fingerprint' | 'seal' | 'unseal'>;

export interface FleetParts {
  readonly store: Store;
  readonly secrets: TokenSecrets;
  /** Wall clock. */
  readonly nowMs: () => number;
}

/** A pause ends by itself. */
export function isPaused(device: Device, nowMs: number): boolean {
  return device.pausedUntilMs !== null && device.pausedUntilMs > nowMs;
}

/**
 * The devices in memory. A decision is written to the store first and counts then; decisions on one device are made one
 * after the other, so that a slow disk cannot put the older one last.
 */
export class Fleet {
  readonly #store: Store;
  readonly #secrets: TokenSecrets;
  readonly #nowMs: () => number;
  readonly #devices = new Map<string, Device>();
  /** Device keys by the hash of their tokens. */
  readonly #byTunnelToken = new Map<string, string>();
  /** The last decision on each device that is not done yet. */
  readonly #turns = new Map<string, Promise<void>>();

  constructor({ store, secrets, nowMs }: FleetParts) {
    this.#store = store;
    this.#secrets = secrets;
    this.#nowMs = nowMs;
  }

  load({ devices }: Pick<StoredFleet, 'devices'>): void {
    for (const device of devices) this.#put(device);
  }

  all(): Device[] {
    return [...this.#devices.values()];
  }

  get(key: string): Device | null {
    return this.#devices.get(key) ?? null;
  }

  /** @throws Failure `gateway.device-unknown` */
  need(key: string): Device {
    const device = this.#devices.get(key);
    if (device === undefined) throw new Failure('gateway.device-unknown', `There is no device ${key}`);
    return device;
  }

  isPaused(device: Device): boolean {
    return isPaused(device, this.#nowMs());
  }

  byTunnelToken(token: string): Device | null {
    if (!isTunnelToken(token)) return null;
    return this.get(this.#byTunnelToken.get(this.#secrets.fingerprint(token)) ?? '');
  }

  /**
   * Whether that is the Meeting token of the device, and its keyed hash. It takes the same time for an unknown device,
   * for a wrong token, and for one that is nearly right.
   */
  checkTokenCode(key: string, tokenCode: string): { right: boolean; hash: string } {
    const hash = this.#secrets.fingerprint(tokenCode);
    const expected = this.#devices.get(key)?.tokenCodeHash;
    const same = timingSafeEqual(
      Buffer.from(hash),
      Buffer.from((expected ?? '').padEnd(hash.length).slice(0, hash.length)),
    );
    return { right: expected !== undefined && same, hash };
  }

  /** @throws Failure `gateway.device-exists`, `gateway.store-failed` */
  create({ tokenCode, ...facts }: NewDevice): Promise<Device> {
    return this.#inTurn(facts.key, async () => {
      const device: Device = {
        ...facts,
        authorized: true,
        pausedUntilMs: null,
        createdAtMs: this.#nowMs(),
        services: USUAL_SERVICES,
        ...this.#tokenCodeFields(tokenCode),
        tunnelTokenHash: null,
        tunnelTokenSealed: null,
        publicKey: null,
        lastConnectedAtMs: null,
        lastSeenAtMs: null,
        heartbeat: null,
      };
      if (this.#devices.has(device.key)) {
        throw new Failure('gateway.device-exists', `There is a device ${device.key} already`);
      }
      await this.#store.insertDevice(device);
      this.#put(device);
      return device;
    });
  }

  /** @throws Failure `gateway.device-unknown`, `gateway.store-failed` */
  remove(key: string): Promise<Device> {
    return this.#inTurn(key, async () => {
      const device = this.need(key);
      await this.#store.deleteDevice(key);
      this.#forget(this.need(key));
      return device;
    });
  }

  /**
   * Changes a device as `decide` says of its state at that moment; null changes nothing.
   *
   * @throws Failure `gateway.device-unknown`, `gateway.store-failed`
   */
  change(key: string, decide: (device: Device) => DeviceChanges | null): Promise<Device> {
    return this.#inTurn(key, async () => {
      const changes = decide(this.need(key));
      if (changes === null) return this.need(key);
      await this.#store.updateDevice(key, changes);
      return this.#put({ ...this.need(key), ...changes });
    });
  }

  /** Gives it another Meeting token. @throws as `change` */
  setTokenCode(key: string, tokenCode: string): Promise<Device> {
    return this.change(key, () => this.#tokenCodeFields(tokenCode));
  }

  /**
   * The tunnel token, by `make` where there is none or it is to be another. `made` tells that it is new, `first` that
   * there was none before.
   */
  async tunnelToken(
    key: string,
    rotate: boolean,
    make: () => string,
  ): Promise<{ token: string; made: boolean; first: boolean }> {
    let token: string | null = null;
    let first = false;
    const { tunnelTokenSealed } = await this.change(key, (device) => {
      first = device.tunnelTokenSealed === null;
      if (!first && !rotate) return null;
      token = make();
      return { tunnelTokenHash: this.#secrets.fingerprint(token), tunnelTokenSealed: this.#secrets.seal(token, key) };
    });
    if (token !== null) return { token, made: true, first };
    return { token: this.#secrets.unseal(tunnelTokenSealed ?? '', key), made: false, first };
  }

  /** Gives it other services, and the names of those that are no more. @throws as `change` */
  setServices(key: string, services: readonly ServiceSpec[]): Promise<{ device: Device; dropped: string[] }> {
    const names = new Set(services.map(({ name }) => name));
    return this.dropServices(key, (device) => ({
      services,
      dropped: device.services.flatMap(({ name }) => (names.has(name) ? [] : [name])),
    }));
  }

  /** Takes the ports of services away as `decide` says, and sets the services that stay. @throws as `change` */
  dropServices(
    key: string,
    decide: (device: Device) => { services: readonly ServiceSpec[]; dropped: string[] },
  ): Promise<{ device: Device; dropped: string[] }> {
    return this.#inTurn(key, async () => {
      const { services, dropped } = decide(this.need(key));
      await this.#store.setServices(key, services, dropped);
      return { device: this.#put({ ...this.need(key), services }), dropped };
    });
  }

  /** Notes what was seen, in memory: the audit writes it. A device that is no more is passed over. */
  saw(key: string, seen: Seen): void {
    const device = this.#devices.get(key);
    if (device !== undefined) this.#devices.set(key, { ...device, ...seen });
  }

  #tokenCodeFields(tokenCode: string): Pick<Device, 'tokenCodeHash' | 'tokenCodeStrong'> {
    return { tokenCodeHash: this.#secrets.fingerprint(tokenCode), tokenCodeStrong: isStrong(tokenCode) };
  }

  #put(device: Device): Device {
    const before = this.#devices.get(device.key);
    if (before !== undefined) this.#dropToken(before);
    this.#devices.set(device.key, device);
    if (device.tunnelTokenHash !== null) this.#byTunnelToken.set(device.tunnelTokenHash, device.key);
    return device;
  }

  #forget(device: Device): void {
    this.#dropToken(device);
    this.#devices.delete(device.key);
  }

  #dropToken({ tunnelTokenHash }: Device): void {
    if (tunnelTokenHash !== null) this.#byTunnelToken.delete(tunnelTokenHash);
  }

  #inTurn<T>(key: string, decision: () => Promise<T>): Promise<T> {
    const done = (this.#turns.get(key) ?? Promise.resolve()).then(decision);
    const turn = done.then(
      () => undefined,
      () => undefined, // told to whoever asked for it
    );
    this.#turns.set(key, turn);
    void turn.then(() => {
      if (this.#turns.get(key) === turn) this.#turns.delete(key);
    });
    return done;
  }
}
