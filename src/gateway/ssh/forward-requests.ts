import type { Service } from '../types.ts';

/** A `tcpip-forward` as the client sent it (RFC 4254 section 7.1). */
export interface ForwardRequest {
  /** `localhost` for `-R 0:…`, '' for all addresses. We listen where we were told to, whatever it says. */
  readonly address: string;
  /** 0: any port. */
  readonly port: number;
}

/** What the requests of one connection have come to. */
export interface Forwarding {
  /** In the order of the configuration. */
  readonly services: readonly Service[];
  /** Names of the services that were asked for before, whether they then came about or not. */
  readonly named: ReadonlySet<string>;
  /** The port that belongs to a service of this device; null before it ever had one. */
  portOf(service: string): number | null;
}

export type ForwardDecision = { readonly service: Service } | { readonly refused: string };

/**
 * Which service a request means (wire 5.3). A client cannot name it: the order of its requests does, or a port that is
 * this device's own. A request that failed keeps its place, so that those behind it still mean what they meant.
 */
export function decideForward({ port }: ForwardRequest, { services, named, portOf }: Forwarding): ForwardDecision {
  if (port === 0) {
    const next = services.find(({ name }) => !named.has(name));
    return next !== undefined
      ? { service: next }
      : { refused: `the device has ${services.length} services, and asked for one more` };
  }
  const owner = services.find(({ name }) => portOf(name) === port);
  if (owner === undefined) return { refused: `port ${port} is not assigned to this device` };
  if (named.has(owner.name)) return { refused: `service ${owner.name} is forwarded already` };
  return { service: owner };
}
