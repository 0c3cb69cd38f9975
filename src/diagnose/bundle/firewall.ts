import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import type { Facts } from '../facts.ts';
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
    (await isLoaded(name))
      ? part(facts)
      : { title: name, text: `(not asked: ${name} is not in the kernel, so it has no rules)` };
}

/** In the kernel for certain: loaded, built in, or in a kernel that loads no modules at all. */
async function isLoaded(name: string): Promise<boolean> {
  const modules = await readFile('/proc/modules', 'utf8').catch(() => null);
  if (modules === null || modules.split('\n').some((line) => line.startsWith(`${name} `))) return true;
  const builtin = await readFile(`/lib/modules/${release()}/modules.builtin`, 'utf8').catch(() => '');
  return builtin.includes(`/${name}.ko`);
}

function legacy(command: string, tablesFile: string): Part {
  return found(`${command}-legacy`, async (facts: Facts) => {
    const names = (await readFile(tablesFile, 'utf8').catch(() => ''))
      .split('\n')
      .filter((name) => /^[a-z]+$/.test(name));
    if (names.length === 0) return `(not asked: ${tablesFile} names no table)`;
    const pieces = await Promise.all(
      names.map((name) =>
        firstOf(program(`${command}-legacy`, '-t', name, '-S'), program(command, '-t', name, '-S'))(facts),
      ),
    );
    return pieces.map((piece) => `# ${piece.title}\n${'text' in piece ? piece.text : piece.reason}`).join('\n');
  });
}
