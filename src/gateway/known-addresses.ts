import { sourceOf } from './source.ts';
import type { KnownAddress } from './store.ts';

/** A device that changes its address often keeps the newest of them. */
const MAX_OF_DEVICE = 16;

/** The provider has long given such an address to another subscriber. */
const FORGET_MS = 90 * 24 * 3600_000;

/** An address that is seen again is written again no more often than that. */
const REFRESH_MS = 3600_000;

/** Where devices have shown a right token from. Addresses are kept as `sourceOf` writes them; times are wall clock. */
export class KnownAddresses {
  /** By device, then by source: when it was seen last, the oldest first. */
  readonly #ofDevices = new Map<string, Map<string, number>>();
  /** How many devices were seen there. */
  readonly #sources = new Map<string, number>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** @param addresses as they were stored, the newest first */
  load(addresses: readonly KnownAddress[]): void {
    for (const { deviceKey, address, atMs } of addresses.toReversed()) this.#add(deviceKey, address, atMs);
  }

  /** Whether any device was seen there. */
  has(address: string): boolean {
    return this.#sources.has(sourceOf(address));
  }

  isOf(deviceKey: string, address: string): boolean {
    const atMs = this.#ofDevices.get(deviceKey)?.get(sourceOf(address));
    return atMs !== undefined && this.#nowMs() - atMs < FORGET_MS;
  }

  /** The device has shown its token there. Gives what is to be stored; null where that is stored already. */
  saw(deviceKey: string, address: string): KnownAddress | null {
    const atMs = this.#nowMs();
    const source = sourceOf(address);
    const lastMs = this.#ofDevices.get(deviceKey)?.get(source);
    if (lastMs !== undefined && Math.abs(atMs - lastMs) < REFRESH_MS) return null;
    this.#add(deviceKey, source, atMs);
    return { deviceKey, address: source, atMs };
  }

  forget(deviceKey: string): void {
    for (const source of this.#ofDevices.get(deviceKey)?.keys() ?? []) this.#leave(source);
    this.#ofDevices.delete(deviceKey);
  }

  #add(deviceKey: string, source: string, atMs: number): void {
    if (this.#nowMs() - atMs >= FORGET_MS) return;
    const sources = this.#ofDevices.get(deviceKey) ?? new Map<string, number>();
    this.#ofDevices.set(deviceKey, sources);
    if (!sources.delete(source)) this.#sources.set(source, (this.#sources.get(source) ?? 0) + 1);
    sources.set(source, atMs);
    for (const oldest of sources.keys()) {
      if (sources.size <= MAX_OF_DEVICE) return;
      sources.delete(oldest);
      this.#leave(oldest);
    }
  }

  #leave(source: string): void {
    const devices = (this.#sources.get(source) ?? 1) - 1;
    if (devices === 0) this.#sources.delete(source);
    else this.#sources.set(source, devices);
  }
}
