/** An interface with the addresses that it has now. */
export interface Link {
  name: string;
  /** The kernel's number, which changes when an interface is deleted and made again; null where it is not known. */
  index: number | null;
  ipv4: readonly Network[];
  /** Without zone. */
  ipv6: readonly Network[];
}

export interface Network {
  address: string;
  /** Bits. */
  prefix: number;
}

/** What `os.networkInterfaces()` tells of an address. */
export interface AddressInfo {
  address: string;
  family: string;
  mac: string;
  internal: boolean;
  /** `192.168.1.7/24`; null where the netmask is none. */
  cidr: string | null;
}

/** More than a machine with a container for everything has. */
const MAX_LINKS = 32;
const NO_MAC = '00:00:00:00:00:00';

/**
 * The links that a device can be found on, from `os.networkInterfaces()`, which leaves out what is down or unplugged.
 * Loopback is none, and neither is what has no hardware address: VPNs lead elsewhere than to the neighbours.
 *
 * @param indexOf the kernel's number of an interface, or null
 */
export function linksOf(
  interfaces: { readonly [name: string]: readonly AddressInfo[] | undefined },
  indexOf: (name: string) => number | null,
): Link[] {
  const links: Link[] = [];
  for (const [name, infos = []] of Object.entries(interfaces)) {
    const usable = infos.filter(({ internal, mac }) => !internal && mac !== NO_MAC);
    if (usable.length === 0) continue;
    const networks = (family: string) =>
      usable
        .filter((info) => info.family === family)
        .map(({ address, cidr }) => ({
          address,
          prefix: Number(cidr?.split('/')[1] ?? (family === 'IPv4' ? 32 : 128)),
        }))
        .sort((a, b) => (a.address < b.address ? -1 : 1));
    links.push({ name, index: indexOf(name), ipv4: networks('IPv4'), ipv6: networks('IPv6') });
  }
  // Those with IPv4 first: what is cut off is one of a hundred cables to containers.
  return links.sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1)).slice(0, MAX_LINKS);
}

const rank = ({ ipv4 }: Link) => (ipv4.length > 0 ? 0 : 1);
