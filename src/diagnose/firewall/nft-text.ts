import type { NftText } from './nft-reader.ts';

/**
 * Reads what `nft -a list ruleset` prints, for what nft 1.0.6 leaves out of its JSON: which tables are dormant, and the
 * devices of a chain; and for the rules as people know them. Pure.
 */
export function readNftText(printed: string): NftText {
  const dormant = new Set<string>();
  const devices = new Map<string, readonly string[]>();
  const rules = new Map<string, string>();
  let table = '';
  let chain = '';
  for (const line of printed.split('\n')) {
    const [, family, name] = /^table (\S+) (\S+) \{/.exec(line) ?? [];
    if (family !== undefined) {
      table = `${family} ${name}`;
      continue;
    }
    const [, block, own] = /^\t(\S+) (\S+) \{/.exec(line) ?? [];
    if (block !== undefined) {
      chain = `${table} ${own}`;
      continue;
    }
    const [, flags] = /^\tflags (.*)$/.exec(line) ?? [];
    if (flags?.split(/[ ,]+/).includes('dormant')) dormant.add(table);
    const [, hooked] = /^\t\ttype \S+ hook \S+ devices? (.+?) priority/.exec(line) ?? [];
    if (hooked !== undefined)
      devices.set(
        chain,
        [...hooked.matchAll(/"([^"]+)"/g)].map(([, device = '']) => device),
      );
    const [, rule, handle] = /^\t\t(.*\S) # handle (\d+)$/.exec(line) ?? [];
    if (rule !== undefined) rules.set(`${chain} ${handle}`, withoutCounters(rule));
  }
  return { dormant, devices, rules };
}

const withoutCounters = (rule: string) => rule.replace(/ counter packets \d+ bytes \d+/g, '');
