import { replaceUnsafe } from '../../support/text.ts';

/** The address that /etc/hosts has for a name, with the line it stands in (hosts(5)). */
export interface HostsEntry {
  address: string;
  line: string;
}

/** @param text of /etc/hosts */
export function hostsEntries(text: string, name: string): HostsEntry[] {
  const wanted = name.toLowerCase().replace(/\.$/, '');
  return text.split('\n').flatMap((raw) => {
    const line = replaceUnsafe(raw, ' ').trim();
    const [address = '', ...names] = (line.split('#', 1)[0] ?? '').trim().split(/\s+/);
    return names.some((each) => each.toLowerCase() === wanted) ? [{ address, line }] : [];
  });
}

/** The DNS servers of /etc/resolv.conf, of which three count (resolv.conf(5)). */
export function nameServers(text: string): string[] {
  return [...text.matchAll(/^[ \t]*nameserver[ \t]+([0-9A-Fa-f.:%\w-]+)/gm)]
    .map(([, address = '']) => address)
    .slice(0, 3);
}

/** What is odd about an address that a name of another machine was given; null for nothing. */
export function oddAddress(address: string, own: readonly string[]): string | null {
  const plain = address.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '');
  if (/^127\./.test(plain) || plain === '::1') return 'is this device itself';
  if (/^0\./.test(plain) || plain === '::') return 'is no address of any machine';
  if (own.includes(plain)) return 'is an address of this device';
  if (/^169\.254\./.test(plain) || /^fe[89ab]/.test(plain)) return 'is one that machines give themselves';
  return null;
}

/** Names that are meant to lead to this machine. */
export function isLocalName(name: string): boolean {
  return /^(?:.*\.)?localhost\.?$/i.test(name);
}
