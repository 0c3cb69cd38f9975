import { address, networkOf } from './addresses.ts';
import type { IpSets } from './ipset-reader.ts';
import type { Field, Lookup, Range, Step } from './model.ts';
import { ADDRESS_TYPES, CT_DIRECTIONS, CT_STATES, CT_STATUS, PACKET_TYPES, PROTOCOLS, TCP_FLAGS } from './symbols.ts';

// The conditions of iptables (iptables(8), iptables-extensions(8)), each as steps; undefined: not understood.

export interface Option {
  /** Without its dashes. */
  readonly name: string;
  readonly negated: boolean;
  readonly words: readonly string[];
}

type Read = (option: Option) => readonly Step[] | undefined;

export const UNKNOWN: Step = { kind: 'unknown' };
const RATE: Step = { kind: 'rate', over: false };
const OVER: Step = { kind: 'rate', over: true };

const match = (lookup: Lookup, negated: boolean): Step => ({ kind: 'match', lookup, negated });

/** One field, whose word is read as ranges. */
function field(name: Field, ranges: (word: string) => readonly (Range | null | undefined)[] | null): Read {
  return ({ words: [word = ''], negated }) => {
    const found = ranges(word);
    if (found === null || found.some((range) => range == null)) return undefined;
    const entries = found.map((range) => [range ?? null]);
    return [match({ operands: [{ field: name }], entries, complete: true }, negated)];
  };
}

const networks = (word: string) => word.split(',').map(networkOf);
/** iptables marks what begins so with a plus. */
const interfaceName = (word: string) => [word.replace(/\+$/, '*')];
const protocol = (word: string): Range | undefined => {
  const value = PROTOCOLS[word] ?? (/^\d+$/.test(word) ? Number(word) : undefined);
  return value === undefined ? undefined : [BigInt(value), BigInt(value)];
};
/** `22`, `22:25`, `:25` or `22:`, one or several. */
const ports = (word: string) =>
  word.split(',').map((part): Range | undefined => {
    const [, from, colon, to] = /^(\d*)(:?)(\d*)$/.exec(part) ?? [];
    if (from === undefined || part === '') return undefined;
    return [BigInt(from || 0), BigInt(to || (colon === '' ? from : 65535))];
  });
const addresses = (word: string): (Range | undefined)[] => {
  const [from, to] = word.split('-').map(address);
  return [from == null || to === null ? undefined : [from, to ?? from]];
};

/** Some of several names: one bit of them is set. */
function bits(name: Field, symbols: Readonly<Record<string, number>>): Read {
  return ({ words: [word = ''], negated }) => {
    const values = word
      .toLowerCase()
      .split(',')
      .map((each) => symbols[each]);
    if (values.some((value) => value === undefined)) return undefined;
    const mask = values.reduce<bigint>((sum, value) => sum | BigInt(value ?? 0), 0n);
    return [match({ operands: [{ field: name, mask }], entries: [[[0n, 0n]]], complete: true }, !negated)];
  };
}

/** One of several names. */
const named = (name: Field, symbols: Readonly<Record<string, number>>): Read =>
  field(name, (word) =>
    word.split(',').map((each): Range | undefined => {
      const value = symbols[each.toLowerCase()];
      return value === undefined ? undefined : [BigInt(value), BigInt(value)];
    }),
  );

const marked = (name: Field): Read => {
  return ({ words: [word = ''], negated }) => {
    const [, value, mask] = /^(0x[\da-f]+|\d+)(?:\/(0x[\da-f]+|\d+))?$/i.exec(word) ?? [];
    if (value === undefined) return undefined;
    const operand = mask === undefined ? { field: name } : { field: name, mask: BigInt(mask) };
    const entries = [[[BigInt(value), BigInt(value)] as const]];
    return [match({ operands: [operand], entries, complete: true }, negated)];
  };
};

const tcpFlags: Read = ({ words: [mask = '', set = ''], negated }) => {
  const [asked, wanted] = [mask, set].map((list) =>
    list
      .toLowerCase()
      .split(',')
      .reduce((sum, name) => sum | BigInt(TCP_FLAGS[name] ?? 0), 0n),
  ) as [bigint, bigint];
  const lookup = { operands: [{ field: 'tcpflags' as const, mask: asked }], entries: [[[wanted, wanted] as const]] };
  return [match({ ...lookup, complete: true }, negated)];
};

/** Those that belong to no module, or stand for the same in all. */
export const PLAIN_MATCHES: Readonly<Record<string, Read>> = {
  s: field('saddr', networks),
  source: field('saddr', networks),
  d: field('daddr', networks),
  destination: field('daddr', networks),
  i: field('iif', interfaceName),
  'in-interface': field('iif', interfaceName),
  o: field('oif', interfaceName),
  'out-interface': field('oif', interfaceName),
  p: (option) => (option.words[0] === 'all' ? [] : field('l4proto', (word) => [protocol(word)])(option)),
  sport: field('sport', ports),
  dport: field('dport', ports),
  'tcp-flags': tcpFlags,
  f: ({ negated }) => [match({ operands: [{ field: 'fragment' }], entries: [[[0n, 0n]]], complete: true }, !negated)],
};

const MODULES: Readonly<Record<string, Readonly<Record<string, Read>>>> = {
  addrtype: {
    'src-type': named('saddrtype', ADDRESS_TYPES),
    'dst-type': named('daddrtype', ADDRESS_TYPES),
    'limit-iface-in': () => [],
    'limit-iface-out': () => [],
  },
  comment: { comment: () => [] },
  connlimit: {
    'connlimit-above': () => [OVER],
    'connlimit-upto': () => [RATE],
    'connlimit-mask': () => [],
    'connlimit-saddr': () => [],
    'connlimit-daddr': () => [],
  },
  connmark: { mark: marked('ctmark') },
  conntrack: {
    ctstate: (option) =>
      /[SD]NAT/.test(option.words[0] ?? '') ? statesAndNat(option) : bits('ctstate', CT_STATES)(option),
    ctstatus: bits('ctstatus', { ...CT_STATUS, seen_reply: 2 }),
    ctdir: named('ctdir', CT_DIRECTIONS),
    ctproto: field('l4proto', (word) => [protocol(word)]),
  },
  iprange: { 'src-range': field('saddr', addresses), 'dst-range': field('daddr', addresses) },
  limit: { limit: () => [RATE], 'limit-burst': () => [] },
  mark: { mark: marked('mark') },
  multiport: {
    sports: field('sport', ports),
    'source-ports': field('sport', ports),
    dports: field('dport', ports),
    'destination-ports': field('dport', ports),
  },
  pkttype: { 'pkt-type': named('pkttype', PACKET_TYPES) },
  state: { state: bits('ctstate', CT_STATES) },
};

/** The states that are none of connections are bits of their status. */
const statesAndNat: Read = ({ words: [word = ''], negated }) => {
  const wanted = word.split(',');
  if (wanted.some((each) => each !== 'DNAT' && each !== 'SNAT')) return undefined;
  return bits('ctstatus', CT_STATUS)({ name: 'ctstatus', words: [word], negated });
};

/** What a module asks with all of its options together. */
const WHOLE: Readonly<Record<string, (options: readonly Option[], sets: IpSets) => readonly Step[]>> = {
  hashlimit: (options) => (options.some(({ name }) => name === 'hashlimit-above') ? [OVER] : [RATE]),
  recent(options) {
    const asked = options.find(({ name }) => ['set', 'rcheck', 'update', 'remove'].includes(name));
    if (asked?.name === 'set' && !asked.negated) return [];
    // So often within a time is a rate; to have been there at all is not.
    const counted = options.some(({ name }) => name === 'hitcount');
    return counted && !asked?.negated ? [OVER] : [UNKNOWN];
  },
  rpfilter(options) {
    if (options.some(({ name }) => name !== 'invert' && name !== 'loose' && name !== 'validmark')) return [UNKNOWN];
    const lookup = { operands: [{ field: 'reversepath' as const }], entries: [[[1n, 1n] as const]], complete: true };
    return [
      match(
        lookup,
        options.some(({ name }) => name === 'invert'),
      ),
    ];
  },
  set(options, sets) {
    const [asked, ...others] = options;
    const [name = '', directions = ''] = asked?.words ?? [];
    if (asked?.name !== 'match-set' || others.length > 0) return [UNKNOWN];
    const lookup = sets(name, directions.split(','));
    return lookup === null ? [UNKNOWN] : [match(lookup, asked.negated)];
  },
};

/** They ask nothing by themselves. */
const NO_CONDITION = ['', 'comment', 'dccp', 'icmp', 'icmp6', 'limit', 'sctp', 'tcp', 'udp', 'udplite'];

/** The steps of one `-m`. */
export function matchSteps(module: string, options: readonly Option[], sets: IpSets): readonly Step[] {
  const whole = WHOLE[module];
  if (whole !== undefined) return whole(options, sets);
  if (options.length === 0) return NO_CONDITION.includes(module) || module in MODULES ? [] : [UNKNOWN];
  return options.flatMap((option) => MODULES[module]?.[option.name]?.(option) ?? [UNKNOWN]);
}
