// What a packet filter of Linux does with a packet, whichever program wrote its rules: nft and iptables are read into
// the same chains of rules, and one evaluator (evaluate.ts) leads packets through them. What is not understood has a
// place of its own, so that it makes an answer uncertain, and never wrong.

export type Hook = 'ingress' | 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting' | 'egress';

/** What is known of a packet. Names of interfaces are texts, everything else is a number. */
export type Field =
  | 'iif'
  | 'oif'
  /** 1 Ethernet, 772 loopback. */
  | 'iiftype'
  /** 2 IPv4, 10 IPv6. */
  | 'nfproto'
  | 'saddr'
  | 'daddr'
  /** What the addresses are to this device (RTN_* of linux/rtnetlink.h): 1 another machine's, 2 its own, 3 broadcast, 5 multicast. */
  | 'saddrtype'
  | 'daddrtype'
  /** Whether the answer would leave where the packet came in: 1 or 0. */
  | 'reversepath'
  | 'l4proto'
  | 'sport'
  | 'dport'
  | 'tcpflags'
  /** 0 for this machine, 1 broadcast, 2 multicast. */
  | 'pkttype'
  | 'fragment'
  | 'mark'
  /** One bit: 1 invalid, 2 established, 4 related, 8 new, 64 untracked. */
  | 'ctstate'
  /** 16 and 32: source and destination were changed. */
  | 'ctstatus'
  /** 0 original, 1 reply. */
  | 'ctdir'
  | 'ctmark';

/** Undefined: not known. An empty name: there is no such interface at this hook. */
export type Packet = { [F in Field]?: bigint | string | undefined };

/** From and to, both included; a name of an interface, with `*` at its end for all that begin so; null for anything. */
export type Range = readonly [bigint, bigint] | string | null;

/** A part of the packet that is compared; only the bits of `mask`, where there is one. Null: something that is never known. */
export interface Operand {
  readonly field: Field | null;
  readonly mask?: bigint;
}

/** One of the entries holds the values of all operands. */
export interface Lookup {
  readonly operands: readonly Operand[];
  /** For each entry a range per operand. */
  readonly entries: readonly (readonly Range[])[];
  /** Whether the entries are all that there are; there may be others that could not be read. */
  readonly complete: boolean;
}

export type Step =
  | { readonly kind: 'match'; readonly lookup: Lookup; readonly negated: boolean }
  /** A condition that is not understood. */
  | { readonly kind: 'unknown' }
  /** Matches while fewer (`over`: once more) packets came than somebody has allowed. */
  | { readonly kind: 'rate'; readonly over: boolean }
  | { readonly kind: 'set'; readonly field: Field; readonly value: bigint | Field | null }
  | { readonly kind: 'untrack' }
  | { readonly kind: 'verdict'; readonly verdict: Verdict }
  /** The verdict of the first entry that holds the values; without one, the rule does not match. */
  | {
      readonly kind: 'choose';
      readonly lookup: Lookup;
      /** For each entry. */
      readonly verdicts: readonly Verdict[];
    };

export type Verdict =
  | { readonly kind: 'accept' | 'drop' | 'reject' | 'return' | 'continue' }
  /** Could be anything: another program decides, or it is not understood. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  /** To another address or port; null for the one that it has. `known` is false where they could not be read. */
  | { readonly kind: 'divert'; readonly address: bigint | null; readonly port: bigint | null; readonly known: boolean };

export interface Rule {
  readonly steps: readonly Step[];
  /** As its tool prints it. */
  readonly text: string;
  /** By which nft names it; null elsewhere. */
  readonly handle: number | null;
}

/** Which program the rules are changed with. */
export type Tool = 'nft' | 'iptables' | 'iptables-legacy';

export interface Chain {
  readonly tool: Tool;
  /** `ip`, `ip6`, `inet` or `netdev`. */
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** Null for a chain that is only jumped to. */
  readonly base: Base | null;
  readonly rules: readonly Rule[];
}

export interface Base {
  readonly hook: Hook;
  /** `nat` is asked for the first packet of a connection only. */
  readonly type: string;
  readonly priority: number;
  readonly policy: 'accept' | 'drop';
  /** Of a chain at a device: which ones; null for all. */
  readonly devices: readonly string[] | null;
}

/** All that there is, in the order in which it was made. */
export type Ruleset = readonly Chain[];

/** Where a verdict comes from: a rule, or the policy of a chain. */
export interface Decision {
  readonly verdict: Verdict;
  readonly chain: Chain;
  /** Null: the policy. */
  readonly rule: Rule | null;
  /** The chain at the hook that led there. */
  readonly base: Chain;
}

/** That a field has one of some values. */
export function has(field: Field, ...ranges: readonly Range[]): Step {
  const lookup = { operands: [{ field }], entries: ranges.map((range) => [range]), complete: true };
  return { kind: 'match', lookup, negated: false };
}

export const only = (value: bigint | number): Range => [BigInt(value), BigInt(value)];
