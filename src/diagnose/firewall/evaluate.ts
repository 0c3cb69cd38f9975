import { both, entryHolds, holds, not, type Truth } from './lookup.ts';
import type { Chain, Decision, Hook, Packet, Rule, Ruleset, Step, Verdict } from './model.ts';

/** Where a packet is in the kernel. */
export interface Place {
  readonly hook: Hook;
  /** For chains at a device. */
  readonly device: string;
  /** Whether the connection is known already, as where a packet has left by the loopback and comes in again. */
  readonly tracked: boolean;
  /** Whether it is the first packet of its connection, and the first time that it is asked where to go. */
  readonly nat: boolean;
  /** Where the packets of a connection go that was led elsewhere with its first one; null for where they are sent. */
  readonly target: Pick<Packet, 'daddr' | 'dport'> | null;
}

export interface Passage {
  /** Surely dropped or rejected by this. */
  readonly blocked: Decision | null;
  /** What would have blocked or led astray, had it matched, of which it is not known whether it did; in their order. */
  readonly doubts: readonly Decision[];
  /** Led to another address or port. */
  readonly diverted: Decision | null;
}

/** How many rules a packet may meet; more are a loop, or a firewall that is looked at by its doubts. */
const MAX_RULES = 200_000;
const MAX_DEPTH = 64;
/** Connections are tracked from here on (NF_IP_PRI_CONNTRACK). */
const TRACKING_PRIORITY = -200;
/** And here sent where they were led (NF_IP_PRI_NAT_DST). */
const TARGET_PRIORITY = -100;

const INVALID = 1n;
const UNTRACKED = 64n;

const END: Verdict = { kind: 'return' };
const UNKNOWN: Verdict = { kind: 'unknown' };

/** Where a chain may end: with a verdict, or at its end. `rule` null: the end of the chain. */
interface Exit {
  verdict: Verdict;
  chain: Chain;
  rule: Rule | null;
}

/** A ruleset that packets can be led through. Pure. */
export class PacketFilter {
  readonly #bases: readonly Chain[];
  readonly #chains: ReadonlyMap<string, Chain>;
  #rulesLeft = MAX_RULES;

  constructor(ruleset: Ruleset) {
    // Among equals, the one that was made last is asked first (nf_hook_entries_grow); toSorted is stable.
    this.#bases = ruleset
      .toReversed()
      .filter(({ base }) => base !== null)
      .toSorted((a, b) => (a.base?.priority ?? 0) - (b.base?.priority ?? 0));
    this.#chains = new Map(ruleset.map((chain) => [key(chain, chain.name), chain]));
  }

  /**
   * Leads a packet through all chains at one hook. To be accepted by one chain is not to be accepted by the next.
   *
   * @param packet what the rules change of it is changed here
   */
  pass(packet: Packet, { hook, device, tracked, nat, target }: Place): Passage {
    const doubts: Decision[] = [];
    let diverted: Decision | null = null;
    this.#rulesLeft = MAX_RULES;
    const families = ['inet', packet.nfproto === 2n ? 'ip' : 'ip6', 'netdev'];
    for (const chain of this.#bases) {
      const { base } = chain;
      if (base?.hook !== hook || !families.includes(chain.family)) continue;
      if (base.devices !== null && !base.devices.includes(device)) continue;
      // What is not tracked cannot be translated.
      if (base.type === 'nat' && (!nat || packet.ctstate === UNTRACKED)) continue;
      if (base.priority >= TARGET_PRIORITY) Object.assign(packet, target);
      const early = !tracked && (hook === 'ingress' || base.priority < TRACKING_PRIORITY);
      const decisions = this.#passBase(chain, packet, early);

      const blocking = decisions.filter(({ verdict }) => verdict.kind === 'drop' || verdict.kind === 'reject');
      if (blocking.length === decisions.length) return { blocked: blocking[0] ?? null, doubts, diverted };
      const unsure = decisions.filter(({ verdict }) => verdict.kind !== 'accept');
      const [only] = unsure;
      if (only?.verdict.kind === 'divert' && decisions.length === 1) {
        diverted = only;
        redirect(packet, only.verdict);
      } else {
        doubts.push(...unsure);
      }
    }
    Object.assign(packet, target);
    return { blocked: null, doubts, diverted };
  }

  /** All ways in which a chain at a hook may end; one where everything is known. */
  #passBase(base: Chain, packet: Packet, early: boolean): Decision[] {
    const seen: Packet = early
      ? { ...packet, ctstate: INVALID, ctstatus: undefined, ctdir: undefined, ctmark: undefined }
      : packet;
    const exits = this.#walk(base, seen, true, 0);
    packet.mark = seen.mark;
    if (seen.ctstate === UNTRACKED) packet.ctstate = UNTRACKED;
    return exits.map(({ verdict, chain, rule }) => {
      if (verdict.kind !== 'return') return { verdict, chain, rule, base };
      return { verdict: { kind: base.base?.policy ?? 'accept' }, chain: base, rule: null, base };
    });
  }

  /** @param certain whether the packet comes here in any case */
  #walk(chain: Chain, packet: Packet, certain: boolean, depth: number): Exit[] {
    const exits: Exit[] = [];
    let sure = certain;
    for (const rule of chain.rules) {
      if (--this.#rulesLeft < 0 || depth > MAX_DEPTH) return [...exits, { verdict: UNKNOWN, chain, rule }];
      const { ends, goesOn } = this.#try(rule, chain, packet, sure, depth);
      for (const exit of ends) {
        if (!exits.some(({ rule: other, verdict }) => other === exit.rule && verdict.kind === exit.verdict.kind)) {
          exits.push(exit);
        }
        if (exit.verdict.kind === 'return') sure = false;
      }
      if (!goesOn) return exits;
    }
    return [...exits, { verdict: END, chain, rule: null }];
  }

  #try(rule: Rule, chain: Chain, packet: Packet, sure: boolean, depth: number): { ends: Exit[]; goesOn: boolean } {
    let truth: Truth = 'yes';
    for (const step of rule.steps) {
      if (step.kind === 'verdict') return this.#apply([step.verdict], truth, rule, chain, packet, sure, depth);
      if (step.kind === 'choose') {
        const { verdicts, truth: chosen } = choose(step, packet);
        if (chosen === 'no') break;
        return this.#apply(verdicts, both(truth, chosen), rule, chain, packet, sure, depth);
      }
      truth = both(truth, condition(step, packet, sure && truth === 'yes'));
      if (truth === 'no') break;
    }
    return { ends: [], goesOn: true };
  }

  #apply(
    verdicts: readonly Verdict[],
    truth: Truth,
    rule: Rule,
    chain: Chain,
    packet: Packet,
    sure: boolean,
    depth: number,
  ): { ends: Exit[]; goesOn: boolean } {
    const ends: Exit[] = [];
    let goesOn = truth !== 'yes';
    for (const verdict of verdicts) {
      if (verdict.kind === 'continue') {
        goesOn = true;
      } else if (verdict.kind === 'jump' || verdict.kind === 'goto') {
        const target = this.#chains.get(key(chain, verdict.chain));
        const certain = sure && truth === 'yes' && verdicts.length === 1;
        const exits: Exit[] =
          target === undefined ? [{ verdict: UNKNOWN, chain, rule }] : this.#walk(target, packet, certain, depth + 1);
        for (const exit of exits) {
          if (exit.verdict.kind === 'return' && verdict.kind === 'jump') goesOn = true;
          else ends.push(exit);
        }
      } else {
        ends.push({ verdict, chain, rule });
        if (verdict.kind === 'unknown') goesOn = true;
      }
    }
    return { ends, goesOn };
  }
}

/** Names of chains are their table's own, and so are the tables of the two kinds of iptables. */
function key({ tool, family, table }: Chain, name: string): string {
  return [tool === 'iptables-legacy' ? 'legacy' : 'nf_tables', family, table, name].join('\n');
}

/** @param sure whether what the step does is done in any case */
function condition(step: Exclude<Step, { kind: 'verdict' | 'choose' }>, packet: Packet, sure: boolean): Truth {
  switch (step.kind) {
    case 'match': {
      const truth = holds(step.lookup, packet);
      return step.negated ? not(truth) : truth;
    }
    case 'unknown':
      return 'maybe';
    case 'rate':
      return step.over ? 'no' : 'yes';
    case 'set': {
      const value = typeof step.value === 'string' ? packet[step.value] : (step.value ?? undefined);
      packet[step.field] = sure || packet[step.field] === value ? value : undefined;
      return 'yes';
    }
    case 'untrack':
      if (packet.ctstate !== undefined && packet.ctstate !== INVALID) return 'yes'; // it is tracked already
      packet.ctstate = sure ? UNTRACKED : undefined;
      packet.ctstatus = packet.ctdir = packet.ctmark = undefined;
      return 'yes';
  }
}

function choose(
  { lookup, verdicts }: Step & { kind: 'choose' },
  packet: Packet,
): { verdicts: readonly Verdict[]; truth: Truth } {
  const possible: Verdict[] = [];
  for (const [index, entry] of lookup.entries.entries()) {
    const truth = entryHolds(entry, lookup.operands, packet);
    const verdict = verdicts[index];
    if (truth === 'no' || verdict === undefined) continue;
    possible.push(verdict);
    if (truth === 'yes') return { verdicts: possible, truth: 'yes' };
  }
  if (!lookup.complete) possible.push(UNKNOWN);
  return { verdicts: possible, truth: possible.length === 0 ? 'no' : 'maybe' };
}

function redirect(packet: Packet, { address, port, known }: Verdict & { kind: 'divert' }): void {
  if (!known) packet.daddr = packet.dport = packet.daddrtype = undefined;
  if (address !== null) {
    if (packet.daddr !== address) packet.daddrtype = undefined;
    packet.daddr = address;
  }
  if (port !== null) packet.dport = port;
  if (typeof packet.ctstatus === 'bigint') packet.ctstatus |= 32n;
}
