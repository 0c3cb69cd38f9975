import type { IpSets } from './ipset-reader.ts';
import { matchSteps, type Option, PLAIN_MATCHES, UNKNOWN } from './iptables-matches.ts';
import type { Base, Chain, Hook, Rule, Ruleset, Step, Tool } from './model.ts';
import { targetSteps } from './targets.ts';

const HOOKS: Readonly<Record<string, Hook>> = {
  PREROUTING: 'prerouting',
  INPUT: 'input',
  FORWARD: 'forward',
  OUTPUT: 'output',
  POSTROUTING: 'postrouting',
};

/** When the chains of a table are asked (linux/netfilter_ipv4.h). */
const PRIORITIES: Readonly<Record<string, number>> = { raw: -300, mangle: -150, nat: -100, filter: 0, security: 50 };
const SOURCE_NAT_PRIORITY = 100;

interface Origin {
  readonly tool: Tool;
  readonly family: 'ip' | 'ip6';
  readonly sets: IpSets;
}

/** Reads what `iptables-save` prints, of one table or several. Pure. */
export function readIptables(printed: string, { tool, family, sets }: Origin): Ruleset {
  const chains: (Chain & { rules: Rule[] })[] = [];
  let table = '';
  for (const line of printed.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1).trim();
    const [, name, policy] = /^:(\S+) (\S+)/.exec(line) ?? [];
    if (name !== undefined) chains.push({ tool, family, table, name, base: baseOf(table, name, policy), rules: [] });
    const [, target] = /^(?:\[\d+:\d+\] )?-A (\S+)/.exec(line) ?? [];
    const chain = chains.find((each) => each.table === table && each.name === target);
    if (chain === undefined) continue;
    const isChain = (other: string) => chains.some((each) => each.table === table && each.name === other);
    chain.rules.push({
      steps: stepsOf(wordsOf(line), isChain, { tool, sets }),
      text: line.replace(/^\[\d+:\d+\] /, ''),
      handle: null,
    });
  }
  return chains;
}

function baseOf(table: string, chain: string, policy: string | undefined): Base | null {
  const hook = HOOKS[chain];
  if (hook === undefined || policy === '-') return null;
  const late = table === 'nat' && (hook === 'input' || hook === 'postrouting');
  return {
    hook,
    type: table === 'nat' ? 'nat' : 'filter',
    priority: late ? SOURCE_NAT_PRIORITY : (PRIORITIES[table] ?? 0),
    policy: policy === 'DROP' ? 'drop' : 'accept',
    devices: null,
  };
}

/** As a shell would part them: iptables quotes texts. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, quoted, plain]) => plain ?? quoted?.replace(/\\(.)/g, '$1') ?? '',
  );
}

function stepsOf(
  words: readonly string[],
  isChain: (name: string) => boolean,
  { tool, sets }: Pick<Origin, 'tool' | 'sets'>,
): Step[] {
  const options = optionsOf(words);
  const jump = options.findIndex(({ name }) => ['j', 'jump', 'g', 'goto'].includes(name));
  const conditions = jump < 0 ? options : options.slice(0, jump);
  // iptables-nft 1.8.9 compares both ports at once: it asks for not both, where the rule says neither.
  const isNot = ({ name, negated }: Option) => negated && (name === 'sport' || name === 'dport');
  const isMistaken = tool === 'iptables' && conditions.filter(isNot).length === 2;
  const steps = isMistaken
    ? [
        ...conditionSteps(
          conditions.filter((each) => !isNot(each)),
          sets,
        ),
        UNKNOWN,
      ]
    : conditionSteps(conditions, sets);
  const target = jump < 0 ? undefined : options[jump];
  const name = target?.words[0];
  if (target === undefined || name === undefined) return steps;
  if (target.name.startsWith('g')) return [...steps, { kind: 'verdict', verdict: { kind: 'goto', chain: name } }];
  if (isChain(name)) return [...steps, { kind: 'verdict', verdict: { kind: 'jump', chain: name } }];
  const given = new Map(options.slice(jump + 1).map((option) => [option.name, option.words]));
  return [...steps, ...targetSteps(name, given)];
}

/** `-A CHAIN` left out; a `!` belongs to the option after it. */
function optionsOf(words: readonly string[]): Option[] {
  const options: (Option & { words: string[] })[] = [];
  let negated = false;
  for (const word of words) {
    const [, name] = /^--?([a-zA-Z][\w-]*)$/.exec(word) ?? [];
    if (name !== undefined) {
      options.push({ name, negated, words: [] });
      negated = false;
    } else if (word === '!') {
      negated = true;
    } else {
      options.at(-1)?.words.push(word);
    }
  }
  return options.filter(({ name }) => name !== 'A' && name !== 'c');
}

/** The options of each match module (`-m`) together, since some are understood only so. */
function conditionSteps(options: readonly Option[], sets: IpSets): Step[] {
  const steps: Step[] = [];
  let module = '';
  let rest: Option[] = [];
  const finish = () => {
    steps.push(...matchSteps(module, rest, sets));
    rest = [];
  };
  for (const option of options) {
    const plain = PLAIN_MATCHES[option.name];
    if (option.name === 'm' || option.name === 'match') {
      finish();
      module = option.words[0] ?? '';
    } else if (plain !== undefined && module !== 'set') {
      steps.push(...(plain(option) ?? [UNKNOWN]));
    } else {
      rest.push(option);
    }
  }
  finish();
  return steps;
}
