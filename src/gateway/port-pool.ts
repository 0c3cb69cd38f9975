import type { Assignment } from './types.ts';

/** Both ends inclusive. */
export interface PortRange {
  readonly start: number;
  readonly end: number;
}

/** A port that was stored and cannot be kept: it was given twice, or is none. `newPort` is null where none is free. */
export interface Moved {
  readonly deviceKey: string;
  readonly service: string;
  readonly oldPort: number;
  readonly newPort: number | null;
}

type Owner = Pick<Assignment, 'deviceKey' | 'service'>;
type Avoid = (port: number) => boolean;

const LAST_PORT = 65_535;

/**
 * Which public port belongs to which service of which device (wire 5.7). It never changes but by a conflict, whether
 * the device is online or not. The lowest free port comes first, and last of all those that were somebody's before: who
 * still has such a number, a page that asks again by itself for one, must not find another device there a moment later.
 */
export class PortPool {
  readonly #range: PortRange;
  /** Ports that are nobody's: our own listeners, and those that another program has taken away. */
  readonly #excluded: ReadonlySet<number>;
  readonly #blocked = new Set<number>();
  /** Ports that were somebody's since the start, the one that is free for the longest time first. */
  readonly #used = new Set<number>();
  readonly #owners = new Map<number, Owner>();
  readonly #ports = new Map<string, Map<string, number>>();
  /** No port of the range below this one is free: where the search begins, so that it is not from the start each time. */
  #lowest: number;

  /** @param excluded ports of the range that belong to the gateway itself */
  constructor(range: PortRange, excluded: Iterable<number> = []) {
    this.#range = range;
    this.#excluded = new Set(excluded);
    this.#lowest = range.start;
  }

  /**
   * Takes in what was stored. Ports outside of the range are kept, too: it was narrowed since. Where a damaged store
   * gave a port twice, the first keeps it; the others are told, with the new port that they have now.
   */
  load(assignments: readonly Assignment[], blocked: Iterable<number>): Moved[] {
    for (const port of blocked) this.#blocked.add(port);
    const homeless = assignments.filter((assignment) => {
      const { deviceKey, service, port } = assignment;
      if (this.portOf(deviceKey, service) !== null || !isPort(port) || this.#isTaken(port)) return true;
      this.#give(assignment);
      return false;
    });
    return homeless.map(({ deviceKey, service, port }) => {
      return { deviceKey, service, oldPort: port, newPort: this.assign(deviceKey, service) };
    });
  }

  portOf(deviceKey: string, service: string): number | null {
    return this.#ports.get(deviceKey)?.get(service) ?? null;
  }

  /** All services of a device that have a port, whether one was asked for now or long ago. */
  servicesOf(deviceKey: string): ReadonlyMap<string, number> {
    return this.#ports.get(deviceKey) ?? new Map<string, number>();
  }

  owner(port: number): Owner | null {
    return this.#owners.get(port) ?? null;
  }

  /** No port of the range is free. */
  get full(): boolean {
    return this.#lowestFree(() => false) === null;
  }

  /** The port of a service, the lowest free one at first; null where none is free that is not to be avoided now. */
  assign(deviceKey: string, service: string, avoid: Avoid = () => false): number | null {
    const port = this.portOf(deviceKey, service) ?? this.#lowestFree(avoid);
    if (port !== null) this.#give({ deviceKey, service, port });
    return port;
  }

  /**
   * Another program has taken the port of a service: the service is given another, and nobody the old one until it is
   * unblocked. Null, and nothing changed, where it has no port or none is free.
   */
  replace(deviceKey: string, service: string, avoid: Avoid = () => false): { oldPort: number; newPort: number } | null {
    const oldPort = this.portOf(deviceKey, service);
    const newPort = this.#lowestFree(avoid);
    if (oldPort === null || newPort === null) return null;
    this.#owners.delete(oldPort);
    this.#blocked.add(oldPort);
    this.#give({ deviceKey, service, port: newPort });
    return { oldPort, newPort };
  }

  /**
   * Undoes a `replace` that could not be kept: the service has its old port again. One that was released meanwhile stays
   * without.
   */
  revert(deviceKey: string, service: string, oldPort: number): void {
    this.unblock(oldPort);
    if (this.portOf(deviceKey, service) === null) return;
    this.withdraw(deviceKey, service);
    this.#give({ deviceKey, service, port: oldPort });
  }

  /** Frees the port of a service; does nothing where it has none. */
  releaseService(deviceKey: string, service: string): void {
    const port = this.portOf(deviceKey, service);
    if (port === null) return;
    this.withdraw(deviceKey, service);
    this.#used.delete(port);
    this.#used.add(port);
  }

  /** The same for a port that never listened, so that nobody can have been told of it. */
  withdraw(deviceKey: string, service: string): void {
    const ports = this.#ports.get(deviceKey);
    const port = ports?.get(service);
    if (ports === undefined || port === undefined) return;
    ports.delete(service);
    if (ports.size === 0) this.#ports.delete(deviceKey);
    this.#owners.delete(port);
    this.#freed(port);
  }

  /** False where it was not blocked. */
  unblock(port: number): boolean {
    const was = this.#blocked.delete(port);
    if (was) this.#freed(port);
    return was;
  }

  #give({ deviceKey, service, port }: Assignment): void {
    this.#owners.set(port, { deviceKey, service });
    const ports = this.#ports.get(deviceKey);
    if (ports === undefined) this.#ports.set(deviceKey, new Map([[service, port]]));
    else ports.set(service, port);
  }

  #lowestFree(avoid: Avoid): number | null {
    const { end } = this.#range;
    while (this.#lowest <= end && this.#isTaken(this.#lowest)) this.#lowest += 1;
    const isGood = (port: number) => !this.#isTaken(port) && !avoid(port);
    for (let port = this.#lowest; port <= end; port += 1) if (isGood(port) && !this.#used.has(port)) return port;
    for (const port of this.#used) if (port >= this.#range.start && port <= end && isGood(port)) return port;
    return null;
  }

  #freed(port: number): void {
    if (port >= this.#range.start && port < this.#lowest) this.#lowest = port;
  }

  #isTaken(port: number): boolean {
    return this.#owners.has(port) || this.#blocked.has(port) || this.#excluded.has(port);
  }
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port <= LAST_PORT;
}
