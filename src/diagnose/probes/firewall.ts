import { existsSync } from 'node:fs';
import { cleanText } from '../../support/text.ts';
import type { Facts, Probe } from '../facts.ts';
import { type Fate, fateOf } from '../firewall/connections.ts';
import { PacketFilter } from '../firewall/evaluate.ts';
import { type IpSets, NO_SETS, readIpSets } from '../firewall/ipset-reader.ts';
import { readIptables } from '../firewall/iptables-reader.ts';
import type { Ruleset } from '../firewall/model.ts';
import { readNft } from '../firewall/nft-reader.ts';
import { readNftText } from '../firewall/nft-text.ts';
import { isIptables } from '../firewall/words.ts';
import { homeNetworks } from './home.ts';
import { lines, mayBeInKernel } from './kernel.ts';

/** The packet filter of this device, as far as it could be read. */
export interface Firewall {
  readonly ruleset: Ruleset;
  readonly filter: PacketFilter;
  /** The commands that said so. */
  readonly read: readonly string[];
  /** What could not be looked at, and what is needed for it; while there is something, nothing is sure to pass. */
  readonly gaps: readonly string[];
}

/** A part of the rules, or why there may be more. */
interface Part {
  ruleset: Ruleset;
  read: string[];
  gaps: string[];
}

const NOTHING: Part = { ruleset: [], read: [], gaps: [] };

/** Reads all rules; nothing is changed, and nothing loaded into the kernel. */
export const firewall: Probe<Firewall> = async (facts) => {
  const { ruleset, read, gaps } = await readAll(facts);
  return { ruleset, filter: new PacketFilter(ruleset), read, gaps };
};

async function readAll(facts: Facts): Promise<Part> {
  // The kernel makes this folder for each network where it can filter at all.
  if (!existsSync('/proc/net/netfilter')) return { ...NOTHING, read: ['/proc/net/netfilter: not there'] };
  if (!facts.isRoot) return { ...NOTHING, gaps: ['the rules are for root alone: run it with sudo'] };
  const parts = await Promise.all([readNftables(facts), readLegacy(facts)]);
  return {
    ruleset: parts.flatMap(({ ruleset }) => ruleset),
    read: parts.flatMap(({ read }) => read),
    gaps: parts.flatMap(({ gaps }) => gaps),
  };
}

async function readNftables(facts: Facts): Promise<Part> {
  if (!mayBeInKernel('nf_tables')) return { ...NOTHING, read: ['/proc/modules: no nf_tables'] };
  const [json, text] = await Promise.all([
    printed(facts, 'nft', ['-j', 'list', 'ruleset']),
    printed(facts, 'nft', ['-a', 'list', 'ruleset']),
  ]);
  const read = ['nft -j list ruleset'];
  let ruleset: Ruleset;
  try {
    if (typeof json !== 'string') throw new Error(json.why);
    ruleset = readNft(json, readNftText(typeof text === 'string' ? text : ''));
  } catch (error) {
    // The tables of iptables alone may tell who is kept out, though not who is let in.
    const why = error instanceof Error ? error.message : String(error);
    const part = await withIptables(facts, { ruleset: [], read: [] });
    return { ...part, gaps: [`the rules of nft could not be read: ${cleanText(why)}`] };
  }
  // Some rules of iptables nft can only count, and whoever made the others knows them by these words.
  const part = { ruleset, read };
  return { ...(ruleset.some(isIptables) ? await withIptables(facts, part) : part), gaps: [] };
}

/** Its tables as iptables itself shows them, where it does. */
async function withIptables(facts: Facts, { ruleset, read }: Omit<Part, 'gaps'>): Promise<Omit<Part, 'gaps'>> {
  const saved = await savedByIptables(facts);
  if (saved === null) return { ruleset, read };
  const sets = await setsFor(facts, saved);
  const clear = readIptables(saved, { tool: 'iptables', family: 'ip', sets });
  const isClear = ({ family, table }: Ruleset[number]) => family === 'ip' && clear.some((each) => each.table === table);
  return { ruleset: [...ruleset.filter((chain) => !isClear(chain)), ...clear], read: [...read, 'iptables-save'] };
}

/** What the iptables that writes to nf_tables says of its tables. */
async function savedByIptables(facts: Facts): Promise<string | null> {
  const saved = await printed(facts, 'iptables-nft-save', []);
  if (typeof saved === 'string') return saved;
  const version = await printed(facts, 'iptables', ['-V']);
  if (typeof version !== 'string' || !version.includes('nf_tables')) return null;
  const same = await printed(facts, 'iptables-save', []);
  return typeof same === 'string' ? same : null;
}

/**
 * The tables of the old kind, which nft does not see. iptables makes a table by looking at it, so that it is asked only
 * for those that are there already.
 */
async function readLegacy(facts: Facts): Promise<Part> {
  const names = lines('/proc/net/ip_tables_names');
  if (names.length === 0) return NOTHING;
  const program = await legacyProgram(facts);
  if (program === null)
    return { ...NOTHING, gaps: [`there are rules of iptables-legacy (${names.join(', ')}): install it`] };
  const part: Part = { ruleset: [], read: [], gaps: [] };
  for (const name of names) {
    const saved = await printed(facts, program, ['-t', name]);
    if (typeof saved === 'string') {
      const sets = await setsFor(facts, saved);
      part.ruleset = [...part.ruleset, ...readIptables(saved, { tool: 'iptables-legacy', family: 'ip', sets })];
      part.read.push(`${program} -t ${name}`);
    } else {
      part.gaps.push(`${program} could not be asked: ${saved.why}`);
    }
  }
  return part;
}

async function legacyProgram(facts: Facts): Promise<string | null> {
  if (typeof (await printed(facts, 'iptables-legacy', ['-V'])) === 'string') return 'iptables-legacy-save';
  const version = await printed(facts, 'iptables', ['-V']);
  return typeof version === 'string' && !version.includes('nf_tables') ? 'iptables-save' : null;
}

async function setsFor(facts: Facts, rules: string): Promise<IpSets> {
  if (!rules.includes('--match-set')) return NO_SETS;
  const saved = await printed(facts, 'ipset', ['save']);
  return typeof saved === 'string' ? readIpSets(saved) : NO_SETS;
}

/** What a program prints, or why it does not. */
async function printed(facts: Facts, command: string, args: readonly string[]): Promise<string | { why: string }> {
  const end = await facts.run(command, args);
  if (end.kind === 'ended' && end.exitCode === 0) return end.stdout;
  if (end.kind === 'ended') return { why: cleanText(end.stderr) };
  if (end.kind === 'missing') return { why: `${command} is not installed` };
  if (end.kind === 'too-much') return { why: `${command} prints too much to be read` };
  return { why: end.kind === 'failed' ? cleanText(end.why) : `${command} did not answer (${end.kind})` };
}

/**
 * What the rules of this device do with a connection that it opens itself, for whoever looks at connections that fail.
 * Null where they could not be read. IPv4 only: the rules of ip6tables-legacy are not read.
 */
export async function outboundFate(facts: Facts, to: { address: string; port: number }): Promise<Fate | null> {
  if (to.address.includes(':')) return null;
  const { filter, gaps } = await facts.get(firewall);
  const homes = await facts.get(homeNetworks);
  const [home] = homes;
  const known = homes.length === 1 && home !== undefined ? home : { address: '', device: '' };
  const connection = { client: known.address, clientPort: 32_768, server: to.address, port: to.port };
  const fate = fateOf({ protocol: 'tcp', ...connection, device: known.device, outward: true }, filter);
  return gaps.length > 0 && fate.kind !== 'blocked' ? null : fate;
}
