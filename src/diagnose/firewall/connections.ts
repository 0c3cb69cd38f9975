import { address } from './addresses.ts';
import type { PacketFilter, Passage, Place } from './evaluate.ts';
import type { Chain, Decision, Field, Hook, Lookup, Packet, Ruleset } from './model.ts';

// What has to come in, as packets.

/** A connection, or a single packet where nothing answers. */
export interface Connection {
  readonly protocol: 'tcp' | 'udp';
  readonly client: string;
  readonly clientPort: number;
  readonly server: string;
  readonly port: number;
  /** The interface at which the other machine is; `lo` for both ends here, an empty name where it is not known. */
  readonly device: string;
  /** Whether it is this device that opens it. */
  readonly outward: boolean;
}

/** What becomes of a connection. */
export type Fate =
  | { readonly kind: 'blocked'; readonly by: Decision; readonly packet: PacketName }
  /** Surely nothing stops it. */
  | { readonly kind: 'passes' }
  /** It passes unless one of these applies, which is not known. */
  | { readonly kind: 'unsure'; readonly doubts: readonly Decision[] }
  /** What listens where it was sent does not get it; `port` is null where it leaves this device or is not known. */
  | { readonly kind: 'diverted'; readonly by: Decision; readonly port: number | null };

export type PacketName = 'first packet' | 'answer' | 'later packets' | 'later answers';

/** What comes later may carry data (PSH): it is kept out only where it is with and without. */
const FLAGS: Readonly<Record<PacketName, readonly bigint[]>> = {
  'first packet': [2n],
  answer: [18n],
  'later packets': [16n, 24n],
  'later answers': [16n, 24n],
};
export const isAnswer = (name: PacketName) => name === 'answer' || name === 'later answers';
const PROTOCOL = { tcp: 6n, udp: 17n };
const [NEW, ESTABLISHED, INVALID, UNTRACKED] = [8n, 2n, 1n, 64n];
const [UNICAST, LOCAL, MULTICAST] = [1n, 2n, 5n];

/** Leads the packets that open a connection through the filter: there, back, and there again. Pure. */
export function fateOf(connection: Connection, filter: PacketFilter): Fate {
  const doubts: Decision[] = [];
  let diverted: Decision | null = null;
  let server: { address: Packet['daddr']; port: Packet['dport'] } | null = null;
  let tracked = true;
  let ctmark: Packet['ctmark'] = 0n;
  for (const name of namesOf(connection)) {
    const passages = FLAGS[name].map((tcpflags) => {
      const packet = packetOf(connection, name, tcpflags);
      const answers = isAnswer(name);
      // Whose beginning was not tracked is taken for a new one, as soon as that is possible.
      if (name !== 'first packet' && !tracked) packet.ctstate = name === 'answer' ? INVALID : NEW;
      if (server !== null && answers) [packet.saddr, packet.sport] = [server.address, server.port];
      packet.ctmark = ctmark;
      const isNew = name === 'first packet' || packet.ctstate === NEW;
      const target = server === null || answers ? null : { daddr: server.address, dport: server.port };
      return { packet, ...travel(packet, connection, { name, isNew, target }, filter) };
    });
    const blocked = passages.map((passage) => passage.blocked).filter((decision) => decision !== null);
    const [by] = blocked;
    if (by !== undefined && blocked.length === passages.length) return { kind: 'blocked', by, packet: name };
    const [first] = passages;
    if (first === undefined) continue;
    doubts.push(...blocked, ...first.doubts);
    if (name !== 'first packet' && first.diverted !== null) doubts.push(first.diverted);
    // What is not tracked does not get back the address that was asked for.
    if (diverted !== null && first.packet.ctstate === UNTRACKED) doubts.push(diverted);
    ctmark = first.packet.ctmark;
    if (name === 'first packet') {
      tracked = first.packet.ctstate !== UNTRACKED;
      diverted = first.diverted;
      server = diverted === null ? null : { address: first.packet.daddr, port: first.packet.dport };
      if (diverted !== null && leaves(first.packet, connection)) return { kind: 'diverted', by: diverted, port: null };
    }
  }
  const [other] = doubts;
  if (other !== undefined) return { kind: 'unsure', doubts };
  if (diverted === null) return { kind: 'passes' };
  const port = typeof server?.port === 'bigint' ? Number(server.port) : null;
  return { kind: 'diverted', by: diverted, port };
}

const namesOf = ({ protocol }: Connection): readonly PacketName[] =>
  protocol === 'tcp' ? ['first packet', 'answer', 'later packets', 'later answers'] : ['first packet'];

/** Whether it was led to another machine, or nobody knows where. */
function leaves({ daddr }: Packet, { server }: Connection): boolean {
  if (typeof daddr !== 'bigint') return true;
  return daddr !== address(server) && daddr >> 24n !== 127n;
}

function packetOf(connection: Connection, name: PacketName, tcpflags: bigint): Packet {
  const { protocol, client, clientPort, server, port, device, outward } = connection;
  const back = isAnswer(name);
  const [saddr, daddr] = [address(client) ?? undefined, address(server) ?? undefined];
  const [sport, dport] = [BigInt(clientPort), BigInt(port)];
  const multicast = typeof daddr === 'bigint' && daddr >> 28n === 14n;
  const own = device === 'lo' ? LOCAL : UNICAST;
  const types = { client: outward ? LOCAL : own, server: multicast ? MULTICAST : outward ? own : LOCAL };
  return {
    nfproto: server.includes(':') ? 10n : 2n,
    saddr: back ? daddr : saddr,
    daddr: back ? saddr : daddr,
    saddrtype: back ? types.server : types.client,
    daddrtype: back ? types.client : types.server,
    l4proto: PROTOCOL[protocol],
    sport: back ? dport : sport,
    dport: back ? sport : dport,
    tcpflags: protocol === 'tcp' ? tcpflags : undefined,
    pkttype: multicast ? 2n : 0n,
    fragment: 0n,
    reversepath: 1n,
    mark: 0n,
    ctdir: back ? 1n : 0n,
    ctstate: name === 'first packet' ? NEW : ESTABLISHED,
    ctstatus: name === 'first packet' ? 0n : undefined,
  };
}

/** Out, in, or by the loopback out and in again. */
function travel(
  packet: Packet,
  { device, outward, server, port }: Connection,
  { name, isNew, target }: { name: PacketName; isNew: boolean; target: Place['target'] },
  filter: PacketFilter,
): Passage {
  const leaving = device === 'lo' || outward !== isAnswer(name);
  const arriving = device === 'lo' || !leaving;
  const total: { blocked: Decision | null; doubts: Decision[]; diverted: Decision | null } = {
    blocked: null,
    doubts: [],
    diverted: null,
  };
  const pass = (hook: Hook, tracked: boolean, nat: boolean, towards: Place['target'] = null) => {
    if (total.blocked !== null) return;
    const place = { hook, device, tracked, nat, target: towards };
    const { blocked, doubts, diverted } = filter.pass(packet, place);
    total.blocked = blocked;
    total.doubts.push(...doubts);
    total.diverted ??= diverted;
  };
  const known = device === '' ? undefined : device;
  if (leaving) {
    [packet.iif, packet.oif, packet.iiftype] = ['', known, undefined];
    pass('output', false, isNew, target);
    pass('postrouting', true, isNew);
  }
  if (arriving) {
    // On its way out, the answer of a diverted connection got the address back that was asked for.
    if (leaving && isAnswer(name)) [packet.saddr, packet.sport] = [address(server) ?? undefined, BigInt(port)];
    [packet.iif, packet.oif, packet.iiftype] = [known, '', device === 'lo' ? 772n : 1n];
    pass('ingress', leaving, false);
    pass('prerouting', leaving, isNew && !leaving, leaving ? null : target);
    pass('input', true, isNew && !leaving);
  }
  return total;
}

/**
 * All values of some fields at which a rule begins or ceases to apply, within a range: whoever tries these has tried one
 * of each kind. `complete` is false where a rule looks at single bits of them.
 */
export function boundaries(
  ruleset: Ruleset,
  fields: readonly Field[],
  [from, to]: readonly [bigint, bigint],
): { values: bigint[]; complete: boolean } {
  const found = new Set<bigint>([from]);
  let complete = true;
  for (const { operands, entries } of ruleset.flatMap(lookups)) {
    for (const [index, { field, mask }] of operands.entries()) {
      if (field === null || !fields.includes(field)) continue;
      if (mask !== undefined) complete = false;
      for (const range of entries.map((entry) => entry[index])) {
        if (range == null || typeof range === 'string') continue;
        for (const value of [range[0], range[1] + 1n]) if (value >= from && value <= to) found.add(value);
      }
    }
  }
  return { values: [...found].sort((a, b) => (a < b ? -1 : 1)), complete };
}

const lookups = ({ rules }: Chain): Lookup[] =>
  rules.flatMap(({ steps }) =>
    steps.flatMap((step) => (step.kind === 'match' || step.kind === 'choose' ? [step.lookup] : [])),
  );
