import { isIPv6 } from 'node:net';

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
const GROUPS = 8;
const NETWORK_GROUPS = 4;

/** An address as people write it: an IPv4-mapped IPv6 address is the IPv4 one, a zone is left out. */
export function plainAddress(address: string): string {
  return MAPPED.exec(address)?.[1] ?? address.split('%', 1)[0] ?? address;
}

/**
 * Who a peer is to the limits: its IPv4 address, or the /64 network of its IPv6 address, as `2001:db8:0:1::/64`. All of
 * such a network is given to one subscriber; each address for itself would be 2^64 strangers, and a device that
 * changes its address for privacy would be a new one every day.
 */
export function sourceOf(address: string): string {
  const plain = plainAddress(address);
  if (!isIPv6(plain)) return plain;
  const [head = '', tail = ''] = plain.toLowerCase().split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === '' ? [] : tail.split(':');
  const embedded = plain.includes('.') ? 1 : 0; // an IPv4 tail stands for two groups
  const zeros = plain.includes('::') ? GROUPS - before.length - after.length - embedded : 0;
  const groups = [...before, ...Array<string>(Math.max(0, zeros)).fill('0'), ...after].slice(0, NETWORK_GROUPS);
  return `${groups.map((group) => group.replace(/^0+(?=.)/, '')).join(':')}::/64`;
}
