import { address, networkOf } from './addresses.ts';
import type { Field, Lookup, Operand, Range } from './model.ts';
import { PROTOCOLS } from './symbols.ts';

/** A set as a match asks for it, `directions` being `src` or `dst` for each part; null where it is not understood. */
export type IpSets = (name: string, directions: readonly string[]) => Lookup | null;

export const NO_SETS: IpSets = () => null;

interface IpSet {
  readonly type: string;
  readonly elements: string[];
}

/** Reads what `ipset save` prints. Pure. */
export function readIpSets(printed: string): IpSets {
  const sets = new Map<string, IpSet>();
  for (const line of printed.split('\n')) {
    const [word, name = '', value = '', ...options] = line.trim().split(/\s+/);
    if (word === 'create') sets.set(name, { type: value, elements: [] });
    // What is left out of a network makes the order matter: such a set is not understood.
    if (word === 'add') sets.get(name)?.elements.push(options.includes('nomatch') ? 'nomatch' : value);
  }
  return (name, directions) => {
    const set = sets.get(name);
    return set === undefined ? null : lookupOf(set, directions);
  };
}

/** Each part of an element: what it is of the packet, and how it is read. */
interface Part {
  readonly operands: (from: boolean) => readonly Operand[];
  readonly read: (text: string) => readonly Range[] | null;
}

const one = (source: Field, target: Field) => (from: boolean) => [{ field: from ? source : target }];

const addressPart: Part = {
  operands: one('saddr', 'daddr'),
  read(text) {
    const [from, to] = text.includes('-') ? text.split('-').map(address) : [];
    const range = from != null && to != null ? ([from, to] as const) : networkOf(text);
    return range === null ? null : [range];
  },
};

const PARTS: Readonly<Record<string, Part>> = {
  ip: addressPart,
  net: addressPart,
  iface: { operands: one('iif', 'oif'), read: (text) => (text.includes(':') ? null : [text]) },
  /** `tcp:80`, `udp:5000-5010`. */
  port: {
    operands: (from) => [{ field: 'l4proto' }, { field: from ? 'sport' : 'dport' }],
    read(text) {
      const [, name = 'tcp', first, last] = /^(?:([a-z-]+):)?(\d+)(?:-(\d+))?$/.exec(text) ?? [];
      const protocol = PROTOCOLS[name];
      if (first === undefined || protocol === undefined) return null;
      return [
        [BigInt(protocol), BigInt(protocol)],
        [BigInt(first), BigInt(last ?? first)],
      ];
    },
  },
};

function lookupOf({ type, elements }: IpSet, directions: readonly string[]): Lookup | null {
  const [storage, kinds = ''] = type.split(':');
  if (storage !== 'hash' && type !== 'bitmap:ip') return null;
  const parts = kinds.split(',').map((kind) => PARTS[kind]);
  if (parts.some((part) => part === undefined) || directions.length < parts.length) return null;
  const read = elements.map((element) => {
    const texts = element.split(',');
    const ranges = parts.map((part, index) => part?.read(texts[index] ?? '') ?? null);
    return texts.length !== parts.length || ranges.includes(null) ? null : ranges.flatMap((range) => range ?? []);
  });
  return {
    operands: parts.flatMap((part, index) => part?.operands(directions[index] === 'src') ?? []),
    entries: read.filter((entry) => entry !== null),
    complete: !read.includes(null),
  };
}
