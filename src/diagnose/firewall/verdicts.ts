import { ipv4, ipv4Text, network } from './addresses.ts';
import { boundaries, type Connection, type Fate, fateOf } from './connections.ts';
import type { PacketFilter } from './evaluate.ts';
import type { Ruleset } from './model.ts';

/** What becomes of all who may try, and one of them as the example. */
export interface Access {
  /** `open`: somebody surely comes in; `blocked`: surely nobody; `some`: of those who should, some do not. */
  readonly kind: 'open' | 'some' | 'blocked' | 'diverted' | 'unsure';
  readonly connection: Connection;
  readonly fate: Fate;
}

/** Where systems take the port of a client from. */
const CLIENT_PORTS = [32_768n, 60_999n] as const;
/** So many kinds of clients are tried; more is a firewall that names each machine. */
const MAX_TRIES = 256;
const LAST_TRY = MAX_TRIES - 1;
/** Where mDNS is spoken (RFC 6762). */
const MDNS = { group: '224.0.0.251', port: 5353 };

/** A stream of the tunnel to a service of this device: every port that it may come from has to do. Pure. */
export function streamAccess(source: string, port: number, ruleset: Ruleset, filter: PacketFilter): Access {
  const { values, complete } = clientPorts(ruleset);
  const connections = values.map(
    (clientPort): Connection => ({
      ...{ protocol: 'tcp', client: source, clientPort: Number(clientPort), server: '127.0.0.1' },
      ...{ port, device: 'lo', outward: true },
    }),
  );
  const access = together(connections, complete, filter);
  return access.kind === 'open' ? onlyWhereAll(access, connections, filter) : access;
}

/** Whether anybody of a network comes in, by TCP or by mDNS. Pure. */
export function networkAccess(
  home: { readonly device: string; readonly address: string; readonly prefix: number },
  service: { protocol: 'tcp'; port: number } | 'mdns',
  ruleset: Ruleset,
  filter: PacketFilter,
): Access {
  const { device, address, prefix } = home;
  const own = ipv4(address) ?? 0n;
  const [from, to] = network(own, prefix, 32);
  // The first and the last address of a network are nobody's.
  const hosts = prefix < 31 ? ([from + 1n, to - 1n] as const) : ([from, to] as const);
  const clients = boundaries(ruleset, 'saddr', hosts);
  // Where this device itself stands at the beginning of a span, its neighbour stands for the others.
  const addresses = clients.values
    .map((value) => (value === own ? value + 1n : value))
    .filter((value) => value <= hosts[1]);
  const ports = service === 'mdns' ? { values: [BigInt(MDNS.port)], complete: true } : clientPorts(ruleset);
  const connections = addresses.flatMap((client) =>
    ports.values.map(
      (clientPort): Connection => ({
        protocol: service === 'mdns' ? 'udp' : 'tcp',
        client: ipv4Text(client),
        clientPort: Number(clientPort),
        server: service === 'mdns' ? MDNS.group : address,
        port: service === 'mdns' ? MDNS.port : service.port,
        device,
        outward: false,
      }),
    ),
  );
  return together(connections, clients.complete && ports.complete, filter);
}

const clientPorts = (ruleset: Ruleset) => boundaries(ruleset, 'sport', CLIENT_PORTS);

/** @param complete whether these are one of each kind */
function together(connections: readonly Connection[], complete: boolean, filter: PacketFilter): Access {
  let blocked: Access | null = null;
  let other: Access | null = null;
  for (const connection of connections.slice(0, MAX_TRIES)) {
    const fate = fateOf(connection, filter);
    if (fate.kind === 'passes') return { kind: 'open', connection, fate };
    if (fate.kind === 'blocked') blocked ??= { kind: 'blocked', connection, fate };
    else other ??= { kind: fate.kind, connection, fate };
  }
  if (other !== null) return blocked === null ? other : { ...other, kind: 'unsure' };
  if (blocked === null) throw new Error('nobody may try');
  const all = complete && connections.length - 1 <= LAST_TRY;
  return all ? blocked : { ...blocked, kind: 'some' };
}

/** One that does not pass makes it a matter of luck. */
function onlyWhereAll(open: Access, connections: readonly Connection[], filter: PacketFilter): Access {
  for (const connection of connections.slice(0, MAX_TRIES)) {
    const fate = fateOf(connection, filter);
    if (fate.kind !== 'passes') return { kind: 'some', connection, fate };
  }
  return open;
}
