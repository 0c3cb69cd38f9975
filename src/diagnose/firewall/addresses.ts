// Addresses as numbers, so that ranges of them are ranges of numbers.

/** @returns null for what is no IPv4 address in four parts */
export function ipv4(text: string): bigint | null {
  const parts = text.split('.');
  if (parts.length !== 4 || parts.some((part) => !/^\d{1,3}$/.test(part) || Number(part) > 255)) return null;
  return parts.reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

/** @returns null for what is no IPv6 address, without a zone */
export function ipv6(text: string): bigint | null {
  const last = text.slice(text.lastIndexOf(':') + 1);
  if (last.includes('.')) {
    const embedded = ipv4(last);
    if (embedded === null) return null;
    const words = `${(embedded >> 16n).toString(16)}:${(embedded & 0xffffn).toString(16)}`;
    return ipv6(text.slice(0, text.lastIndexOf(':') + 1) + words);
  }
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const [head = [], tail = []] = halves.map((half) => (half === '' ? [] : half.split(':')));
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const words = [...head, ...Array<string>(missing).fill('0'), ...tail];
  if (words.some((word) => !/^[\da-f]{1,4}$/i.test(word))) return null;
  return words.reduce((value, word) => (value << 16n) | BigInt(`0x${word}`), 0n);
}

export const isIpv6 = (text: string): boolean => text.includes(':');

export function address(text: string): bigint | null {
  return isIpv6(text) ? ipv6(text) : ipv4(text);
}

/** `192.168.77.0` and 24: from the first to the last of the network. */
export function network(base: bigint, prefix: number, bits: number): readonly [bigint, bigint] {
  const rest = (1n << BigInt(bits - prefix)) - 1n;
  return [base & ~rest, base | rest];
}

/** `10.0.0.0/8`, `10.0.0.0/255.0.0.0` or `10.0.0.1`; null for anything else, and for a mask with holes. */
export function networkOf(text: string): readonly [bigint, bigint] | null {
  const [head = '', mask] = text.split('/');
  const base = address(head);
  const bits = isIpv6(head) ? 128 : 32;
  if (base === null) return null;
  if (mask === undefined) return [base, base];
  const prefix = /^\d+$/.test(mask) ? Number(mask) : prefixOf(address(mask), bits);
  return prefix === null || prefix > bits ? null : network(base, prefix, bits);
}

function prefixOf(mask: bigint | null, bits: number): number | null {
  if (mask === null) return null;
  const holes = ~mask & ((1n << BigInt(bits)) - 1n);
  if ((holes & (holes + 1n)) !== 0n) return null;
  return bits - (holes === 0n ? 0 : holes.toString(2).length);
}

export function ipv4Text(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.');
}
