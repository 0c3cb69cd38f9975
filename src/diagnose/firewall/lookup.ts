import type { Lookup, Operand, Packet, Range } from './model.ts';

/** Three values: what is not known of the packet or of the rule is `maybe`. */
export type Truth = 'yes' | 'no' | 'maybe';

export const not = (truth: Truth): Truth => (truth === 'maybe' ? truth : truth === 'yes' ? 'no' : 'yes');
export const both = (a: Truth, b: Truth): Truth =>
  a === 'no' || b === 'no' ? 'no' : a === 'yes' && b === 'yes' ? 'yes' : 'maybe';

/** Whether one of the entries holds what the packet has. */
export function holds(lookup: Lookup, packet: Packet): Truth {
  let truth: Truth = lookup.complete ? 'no' : 'maybe';
  for (const entry of lookup.entries) {
    const one = entryHolds(entry, lookup.operands, packet);
    if (one === 'yes') return 'yes';
    if (one === 'maybe') truth = 'maybe';
  }
  return truth;
}

export function entryHolds(entry: readonly Range[], operands: readonly Operand[], packet: Packet): Truth {
  let truth: Truth = 'yes';
  for (const [index, operand] of operands.entries()) {
    truth = both(truth, inRange(valueFor(operand, packet), entry[index] ?? null));
    if (truth === 'no') break;
  }
  return truth;
}

function valueFor({ field, mask }: Operand, packet: Packet): bigint | string | undefined {
  const value = field === null ? undefined : packet[field];
  return mask === undefined || typeof value !== 'bigint' ? value : value & mask;
}

function inRange(value: bigint | string | undefined, range: Range): Truth {
  if (range === null) return 'yes';
  if (value === undefined) return 'maybe';
  if (typeof range === 'string') {
    if (typeof value !== 'string') return 'maybe';
    const within = range.endsWith('*') ? value.startsWith(range.slice(0, -1)) : value === range;
    return within ? 'yes' : 'no';
  }
  if (typeof value !== 'bigint') return 'maybe';
  return value >= range[0] && value <= range[1] ? 'yes' : 'no';
}
