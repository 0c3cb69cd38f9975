import { address, isIpv6, network } from './addresses.ts';
import type { Field, Operand, Range, Step } from './model.ts';
import { has, only } from './model.ts';
import {
  ADDRESS_TYPES,
  CT_DIRECTIONS,
  CT_STATES,
  CT_STATUS,
  ETHERTYPES,
  FAMILIES,
  LINK_TYPES,
  PACKET_TYPES,
  PROTOCOLS,
  SERVICES,
  TCP_FLAGS,
} from './symbols.ts';

// The left and the right sides of nft's matches, as `nft -j` prints them (libnftables-json(5)).

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** Something that nft compares: what it is of the packet, and what the packet must be for it to be there at all. */
export interface Selector {
  readonly operand: Operand;
  readonly needs: readonly Step[];
  readonly symbols: Readonly<Record<string, number>>;
}

const ALL_BITS = (1n << 128n) - 1n;

export const isObject = (json: Json | undefined): json is { readonly [key: string]: Json } =>
  typeof json === 'object' && json !== null && !Array.isArray(json);

export const text = (json: Json | undefined): string => (typeof json === 'string' ? json : '');

const select = (
  field: Field,
  symbols: Selector['symbols'] = {},
  needs: readonly Step[] = [],
  mask?: bigint,
): Selector => ({ operand: mask === undefined ? { field } : { field, mask }, needs, symbols });

const overIp = (family: number) => [has('nfproto', only(family))];
const overProtocol = (name: string) => [has('l4proto', only(PROTOCOLS[name] ?? 0))];

/** Null: never known. */
const META: Readonly<Record<string, Selector>> = {
  iif: select('iif'),
  iifname: select('iif'),
  iiftype: select('iiftype', LINK_TYPES),
  oif: select('oif'),
  oifname: select('oif'),
  l4proto: select('l4proto', PROTOCOLS),
  mark: select('mark'),
  nfproto: select('nfproto', FAMILIES),
  pkttype: select('pkttype', PACKET_TYPES),
  protocol: select('nfproto', ETHERTYPES),
};

const CT: Readonly<Record<string, Selector>> = {
  direction: select('ctdir', CT_DIRECTIONS),
  mark: select('ctmark'),
  state: select('ctstate', CT_STATES),
  status: select('ctstatus', CT_STATUS),
};

const PORTS = { sport: select('sport', SERVICES), dport: select('dport', SERVICES) };

const PAYLOAD: Readonly<Record<string, Readonly<Record<string, Selector>>>> = {
  ip: {
    saddr: select('saddr'),
    daddr: select('daddr'),
    protocol: select('l4proto', PROTOCOLS),
    'frag-off': select('fragment'),
  },
  ip6: { saddr: select('saddr'), daddr: select('daddr'), nexthdr: select('l4proto', PROTOCOLS) },
  tcp: { ...PORTS, flags: select('tcpflags', TCP_FLAGS) },
  udp: PORTS,
  th: PORTS,
};

/** What a packet must be for a header to be there; nft leaves these conditions out of what it prints. */
const HEADERS: Readonly<Record<string, readonly Step[]>> = {
  ip: overIp(2),
  ip6: overIp(10),
  icmp: [...overIp(2), ...overProtocol('icmp')],
  icmpv6: [...overIp(10), ...overProtocol('icmpv6')],
  igmp: overProtocol('igmp'),
  tcp: overProtocol('tcp'),
  udp: overProtocol('udp'),
  udplite: overProtocol('udplite'),
  sctp: overProtocol('sctp'),
  dccp: overProtocol('dccp'),
  gre: overProtocol('gre'),
  esp: overProtocol('esp'),
  ah: overProtocol('ah'),
  comp: overProtocol('comp'),
  ether: [has('iiftype', only(LINK_TYPES.ether ?? 1))],
  arp: [has('nfproto', only(ETHERTYPES.arp ?? 3))],
};

const NEVER_KNOWN: Selector = { operand: { field: null }, needs: [], symbols: {} };

/** The left side of a match, or what a map is asked for; several for a concatenation. */
export function selectors(json: Json): readonly Selector[] {
  if (isObject(json) && Array.isArray(json.concat)) return json.concat.map(selector);
  return [selector(json)];
}

function selector(json: Json): Selector {
  if (!isObject(json)) return NEVER_KNOWN;
  const { meta, ct, payload, fib } = json;
  if (isObject(meta)) return META[text(meta.key)] ?? NEVER_KNOWN;
  if (isObject(ct)) return (ct.dir === undefined ? CT[text(ct.key)] : undefined) ?? NEVER_KNOWN;
  if (isObject(payload)) {
    const protocol = text(payload.protocol);
    const known = PAYLOAD[protocol]?.[text(payload.field)] ?? NEVER_KNOWN;
    return { ...known, needs: HEADERS[protocol] ?? [] };
  }
  if (isObject(fib)) return fibSelector(text(fib.result), flat(fib.flags));
  if (Array.isArray(json['&'])) {
    const [left = null, right = null] = json['&'];
    const inner = selector(left);
    const mask = number(right, inner.symbols);
    if (mask === null || inner.operand.mask !== undefined) return { ...NEVER_KNOWN, needs: inner.needs };
    return { ...inner, operand: { ...inner.operand, mask } };
  }
  return NEVER_KNOWN;
}

function fibSelector(result: string, flags: readonly string[]): Selector {
  const source = flags.includes('saddr');
  if (result === 'type') return select(source ? 'saddrtype' : 'daddrtype', ADDRESS_TYPES);
  if (result === 'oif' && source && flags.includes('iif')) return select('reversepath');
  return NEVER_KNOWN;
}

const flat = (json: Json | undefined): string[] => (Array.isArray(json) ? json : [json]).map((each) => text(each));

/** A value, or the bits of several flags; null where it is not understood. */
export function number(json: Json, symbols: Selector['symbols']): bigint | null {
  if (typeof json === 'number') return Number.isSafeInteger(json) ? BigInt(json) : null;
  if (typeof json === 'boolean') return json ? 1n : 0n;
  if (typeof json === 'string') {
    const symbol = symbols[json];
    if (symbol !== undefined) return BigInt(symbol);
    return /^(?:\d+|0x[\da-f]+)$/i.test(json) ? BigInt(json) : address(json);
  }
  const parts = Array.isArray(json) ? json : isObject(json) && Array.isArray(json['|']) ? json['|'] : null;
  if (parts === null || parts.length === 0) return null;
  let bits = 0n;
  for (const part of parts) {
    const one = number(part, symbols);
    if (one === null) return null;
    bits |= one;
  }
  return bits;
}

/** A value or an element of a set; undefined where it is not understood. */
export function range(json: Json, { operand, symbols }: Selector): Range | undefined {
  const { field } = operand;
  if (isObject(json)) {
    const { elem, prefix, range: ends } = json;
    if (isObject(elem)) return range(elem.val ?? null, { operand, needs: [], symbols });
    if (isObject(prefix)) {
      const base = address(text(prefix.addr));
      const bits = isIpv6(text(prefix.addr)) ? 128 : 32;
      const length = prefix.len;
      return base === null || typeof length !== 'number' ? undefined : network(base, length, bits);
    }
    if (Array.isArray(ends)) {
      const [from, to] = ends.map((end) => number(end, symbols));
      return from == null || to == null ? undefined : [from, to];
    }
  }
  if (json === '*') return null;
  if (field === 'iif' || field === 'oif') return name(json);
  if (field === 'reversepath' && typeof json !== 'boolean') return undefined;
  const value = number(json, symbols);
  return value === null ? undefined : [value, value];
}

/** The number 0 in place of an interface is none. */
function name(json: Json): Range | undefined {
  if (json === 0 || json === '0') return '';
  return typeof json === 'string' ? json : undefined;
}

/** What lies on one side of a value. */
export function side(operator: string, value: bigint): Range | undefined {
  switch (operator) {
    case '<':
      return [0n, value - 1n];
    case '<=':
      return [0n, value];
    case '>':
      return [value + 1n, ALL_BITS];
    case '>=':
      return [value, ALL_BITS];
    default:
      return undefined;
  }
}
