import type { Base, Chain, Hook, Lookup, Range, Rule, Ruleset, Step, Verdict } from './model.ts';
import { isObject, type Json, number, range, type Selector, selectors, side, text } from './nft-values.ts';
import { PRIORITIES } from './symbols.ts';
import { targetSteps } from './targets.ts';

/** What only the text of the ruleset tells (nft-text.ts). */
export interface NftText {
  /** Tables that are there and do nothing: `family name`. */
  readonly dormant: ReadonlySet<string>;
  /** Of the chains at a device, `family table chain`. */
  readonly devices: ReadonlyMap<string, readonly string[]>;
  /** Rules as nft prints them, `family table chain handle`. */
  readonly rules: ReadonlyMap<string, string>;
}

type Elements = readonly Json[];

const HOOKS: readonly string[] = ['ingress', 'prerouting', 'input', 'forward', 'output', 'postrouting', 'egress'];

/**
 * Reads what `nft -j list ruleset` prints. Pure.
 * @throws Error where it is not that
 */
export function readNft(json: string, known: NftText): Ruleset {
  const list = (JSON.parse(json) as { nftables?: Json }).nftables;
  if (!Array.isArray(list)) throw new Error('nft printed no ruleset');
  const entries = list.filter(isObject);
  const each = (kind: string) => entries.map((entry) => entry[kind]).filter(isObject);

  /** Named sets and maps: `family table name`. */
  const sets = new Map<string, Elements>();
  for (const set of [...each('set'), ...each('map')]) {
    sets.set(id(set, text(set.name)), Array.isArray(set.elem) ? set.elem : []);
  }
  const rules = new Map<string, Rule[]>();
  for (const rule of each('rule')) {
    const chain = id(rule, text(rule.chain));
    const expressions = Array.isArray(rule.expr) ? rule.expr : [];
    const read: Rule = {
      steps: stepsOf(expressions, (name) => sets.get(id(rule, name))),
      text: known.rules.get(`${chain} ${Number(rule.handle)}`) ?? JSON.stringify(expressions),
      handle: typeof rule.handle === 'number' ? rule.handle : null,
    };
    const others = rules.get(chain);
    if (others === undefined) rules.set(chain, [read]);
    else others.push(read);
  }
  return each('chain')
    .filter((chain) => !known.dormant.has(`${text(chain.family)} ${text(chain.table)}`))
    .map(
      (chain): Chain => ({
        tool: 'nft',
        family: text(chain.family),
        table: text(chain.table),
        name: text(chain.name),
        base: baseOf(chain, known.devices.get(id(chain, text(chain.name)))),
        rules: rules.get(id(chain, text(chain.name))) ?? [],
      }),
    );
}

const id = (part: { readonly [key: string]: Json }, name: string) => `${text(part.family)} ${text(part.table)} ${name}`;

function baseOf(chain: { readonly [key: string]: Json }, devices: readonly string[] | undefined): Base | null {
  const { hook, prio, policy, type, dev } = chain;
  if (typeof hook !== 'string' || !HOOKS.includes(hook)) return null;
  const named = typeof dev === 'string' ? [dev] : Array.isArray(dev) ? dev.map(text) : devices;
  return {
    hook: hook as Hook,
    type: text(type),
    priority: typeof prio === 'number' ? prio : (PRIORITIES[text(prio)] ?? 0),
    policy: policy === 'drop' ? 'drop' : 'accept',
    devices: named ?? null,
  };
}

type FindSet = (name: string) => Elements | undefined;

function stepsOf(expressions: readonly Json[], sets: FindSet): Step[] {
  return expressions.flatMap((expression) => (isObject(expression) ? stepOf(expression, sets) : [UNKNOWN]));
}

const UNKNOWN: Step = { kind: 'unknown' };

/** These let every packet go on to what comes after them. */
const NO_CONDITIONS = new Set([
  'counter',
  'log',
  'dup',
  'flow',
  'last',
  'secmark',
  'ct helper',
  'ct timeout',
  'ct expectation',
]);

function stepOf(expression: { readonly [key: string]: Json }, sets: FindSet): readonly Step[] {
  const [[name, value = null] = ['', null]] = Object.entries(expression);
  if (name === 'match' && isObject(value)) return matchSteps(value, sets);
  if (name === 'vmap' && isObject(value)) return mapSteps(value, sets);
  if (name === 'mangle' && isObject(value)) return mangleSteps(value);
  if (name === 'set' && isObject(value)) return stepsOf(Array.isArray(value.stmt) ? value.stmt : [], sets);
  if (name === 'limit' || name === 'quota' || name === 'ct count') {
    return [{ kind: 'rate', over: isObject(value) && value.inv === true }];
  }
  if (name === 'notrack') return [{ kind: 'untrack' }];
  if (name === 'xt') return isObject(value) ? xtSteps(text(value.type), text(value.name)) : [UNKNOWN];
  const verdict = verdictOf(name, value);
  if (verdict !== null) return [{ kind: 'verdict', verdict }];
  return NO_CONDITIONS.has(name) ? [] : [{ kind: 'verdict', verdict: { kind: 'unknown' } }];
}

function verdictOf(name: string, value: Json): Verdict | null {
  switch (name) {
    case 'accept':
    case 'drop':
    case 'reject':
    case 'return':
    case 'continue':
      return { kind: name };
    case 'jump':
    case 'goto':
      return { kind: name, chain: isObject(value) ? text(value.target) : '' };
    case 'redirect':
    case 'dnat':
      return divertOf(isObject(value) ? value : {});
    case 'snat':
    case 'masquerade':
      return { kind: 'accept' };
    default:
      return null;
  }
}

function divertOf({ addr, port }: { readonly [key: string]: Json }): Verdict {
  const [to, at] = [addr, port].map((part) => (part === undefined ? null : number(part, {})));
  const known = (addr === undefined) === (to === null) && (port === undefined) === (at === null);
  return { kind: 'divert', address: to ?? null, port: at ?? null, known };
}

/** Rules of iptables that nft cannot show; the text of iptables says more. */
function xtSteps(type: string, name: string): readonly Step[] {
  if (type === 'match') return name === 'comment' ? [] : [UNKNOWN];
  return targetSteps(name, null);
}

/** What is changed and never asked for makes no difference. */
function mangleSteps({ key = null, value = null }: { readonly [key: string]: Json }): Step[] {
  const field = selectors(key)[0]?.operand.field ?? null;
  if (field === null) return [];
  const literal = number(value, {});
  const copied = selectors(value)[0]?.operand.field ?? null;
  return [{ kind: 'set', field, value: literal ?? copied }];
}

function matchSteps({ op, left = null, right = null }: { readonly [key: string]: Json }, sets: FindSet): Step[] {
  const selected = selectors(left);
  const needs = selected.flatMap((each) => each.needs);
  const operator = text(op);
  const [first] = selected;
  if (selected.length === 1 && first !== undefined) {
    const bits = text(right).startsWith('@') ? null : number(right, first.symbols);
    const flags = operator === 'in' || operator === '!';
    if (flags && bits !== null && first.operand.mask === undefined) {
      // One of the flags, or none of them.
      const operands = [{ ...first.operand, mask: bits }];
      const lookup = { operands, entries: [[[0n, 0n] as const]], complete: true };
      return [...needs, { kind: 'match', lookup, negated: operator === 'in' }];
    }
    const beside = bits === null ? undefined : side(operator, bits);
    if (beside !== undefined) {
      const lookup = { operands: [first.operand], entries: [[beside]], complete: true };
      return [...needs, { kind: 'match', lookup, negated: false }];
    }
  }
  if (!['==', '!=', 'in'].includes(operator)) return [...needs, UNKNOWN];
  const lookup = lookupOf(selected, elementsOf(right, sets));
  return [...needs, { kind: 'match', lookup, negated: operator === '!=' }];
}

function mapSteps({ key = null, data = null }: { readonly [key: string]: Json }, sets: FindSet): Step[] {
  const selected = selectors(key);
  const needs = selected.flatMap((each) => each.needs);
  const found = elementsOf(data, sets) ?? [];
  const elements = found.filter((element): element is readonly Json[] => Array.isArray(element));
  // What is for all others comes last.
  const sorted = elements.toSorted((a, b) => Number(a[0] === '*') - Number(b[0] === '*'));
  const verdicts: Verdict[] = [];
  const entries: (readonly Range[])[] = [];
  for (const [from = null, to = null] of sorted) {
    const entry = entryOf(from, selected);
    if (entry === null) continue;
    const [[name, value = null] = ['', null]] = isObject(to) ? Object.entries(to) : [];
    entries.push(entry);
    verdicts.push(verdictOf(name, value) ?? { kind: 'unknown' });
  }
  const operands = selected.map((each) => each.operand);
  const complete = entries.length === found.length && elementsOf(data, sets) !== null;
  return [...needs, { kind: 'choose', lookup: { operands, entries, complete }, verdicts }];
}

/** The elements of a named or an anonymous set, or the one value; null for a set that is not there. */
function elementsOf(json: Json, sets: FindSet): Elements | null {
  if (typeof json === 'string' && json.startsWith('@')) return sets(json.slice(1)) ?? null;
  if (isObject(json) && Array.isArray(json.set)) return json.set;
  if (isObject(json) && json.set !== undefined) return [json.set];
  return [json];
}

function lookupOf(selected: readonly Selector[], elements: Elements | null): Lookup {
  const entries = (elements ?? []).map((element) => entryOf(element, selected));
  const understood = entries.filter((entry) => entry !== null);
  return {
    operands: selected.map(({ operand }) => operand),
    entries: understood,
    complete: elements !== null && understood.length === entries.length,
  };
}

/** One element as a range for each selector. */
function entryOf(element: Json, selected: readonly Selector[]): readonly Range[] | null {
  const value = isObject(element) && isObject(element.elem) ? (element.elem.val ?? null) : element;
  if (value === '*') return selected.map(() => null);
  const parts = isObject(value) && Array.isArray(value.concat) ? value.concat : [value];
  const ranges = selected.map((each, index) => range(parts[index] ?? null, each));
  if (parts.length !== selected.length) return null;
  return ranges.some((each) => each === undefined) ? null : (ranges as readonly Range[]);
}
