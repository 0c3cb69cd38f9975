import { readFile } from 'node:fs/promises';
import type { Facts } from '../facts.ts';
import { mayBeInKernel } from '../probes/kernel.ts';
import { firstOf, found, type Part, program } from './parts.ts';

/** What is looked at must not change: asking loads the module where it is missing, and the old iptables makes its table. */
export const FIREWALL_PARTS: readonly Part[] = [
  whereLoaded('nf_tables', firstOf(program('nft', 'list', 'ruleset'), program('iptables-nft-save'))),
  legacy('iptables', '/proc/net/ip_tables_names'),
  legacy('ip6tables', '/proc/net/ip6_tables_names'),
  whereLoaded('ip_set', program('ipset', 'list')),
];

function whereLoaded(name: string, part: Part): Part {
  return async (facts) =>
    mayBeInKernel(name)
      ? part(facts)
      : { title: name, text: `(not asked: ${name} is not in the kernel, so it has no rules)` };
}

/** The tables of the old kind that are there already; the newer iptables does not see them. */
function legacy(command: 'iptables' | 'ip6tables', tablesFile: string): Part {
  return found(`${command}-legacy`, async (facts: Facts) => {
    const all = (await readFile(tablesFile, 'utf8').catch(() => '')).split('\n');
    const names = all.filter((name) => /^[a-z]+$/.test(name));
    if (names.length === 0) return `(not asked: ${tablesFile} names no table)`;
    const version = await facts.run(command, ['-V']);
    const isOld = version.kind === 'ended' && version.exitCode === 0 && !version.stdout.includes('nf_tables');
    const save = isOld ? `${command}-save` : `${command}-legacy-save`;
    const pieces = await Promise.all(names.map((name) => program(save, '-t', name)(facts)));
    return pieces.map((piece) => ('text' in piece ? piece.text : `${piece.title}: ${piece.reason}`)).join('\n');
  });
}
