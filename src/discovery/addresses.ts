import { BlockList, isIP, isIPv4 } from 'node:net';
import type { Link } from './links.ts';

/** Addresses that no device of a home has: nothing, this machine, groups, broadcast, documentation. */
const IMPLAUSIBLE = blockList(
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  ['192.0.2.0', 24],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3], // groups, reserved, and 255.255.255.255
  ['::', 96], // unspecified, loopback, and the long forgotten IPv4-compatible ones
  ['2001:db8::', 32],
  ['ff00::', 8],
);

/** Addresses that only exist inside somebody's network, so that nobody can be sent out of it with them. */
const PRIVATE = blockList(
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['fc00::', 7],
  ['fe80::', 10],
);

/** Whether an address, with or without zone, belongs to one of the networks of this link. */
export function isOnLink({ ipv4, ipv6 }: Link, address: string): boolean {
  const bare = withoutZone(address);
  const networks = isIPv4(bare) ? ipv4 : ipv6;
  return networks.some((network) => blockList([network.address, network.prefix]).check(bare, familyOf(bare)));
}

/**
 * Whether a device that was heard of on this link may have this address: none of those above, not the ends of the
 * link's own networks, and a public one only where the link itself has such addresses.
 */
export function isPlausible(link: Link, address: string): boolean {
  // IPv4 written as IPv6 is refused by its text: in a BlockList ::ffff:0:0/96 would mean every IPv4 address.
  if (isIP(address) === 0 || /%|^::ffff:/i.test(address)) return false;
  if (IMPLAUSIBLE.check(address, familyOf(address))) return false;
  if (link.ipv4.some((network) => isEndOf(network, address))) return false;
  return PRIVATE.check(address, familyOf(address)) || isOnLink(link, address);
}

export const withoutZone = (address: string) => address.replace(/%.*$/, '');

export const isLinkLocal = (address: string) => /^fe[89ab]/i.test(address);

/** The network's own address and its broadcast address; networks of one or two addresses have none. */
function isEndOf(network: { address: string; prefix: number }, address: string): boolean {
  if (!isIPv4(address) || network.prefix > 30) return false;
  const hostBits = 2 ** (32 - network.prefix);
  const [base, value] = [toNumber(network.address), toNumber(address)];
  if (Math.floor(base / hostBits) !== Math.floor(value / hostBits)) return false;
  return value % hostBits === 0 || value % hostBits === hostBits - 1;
}

const toNumber = (ipv4: string) => ipv4.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv4(address) ? 'ipv4' : 'ipv6';
}

function blockList(...subnets: [network: string, prefix: number][]): BlockList {
  const list = new BlockList();
  for (const [network, prefix] of subnets) list.addSubnet(network, prefix, familyOf(network));
  return list;
}
