/** A TCP socket that waits for connections. */
export interface ListeningSocket {
  /** `0.0.0.0`, `192.168.1.4`, `::`, `::1`. */
  readonly address: string;
  readonly port: number;
  readonly uid: number;
  /** The number by which the descriptors of programs name it. */
  readonly inode: number;
}

/** As the tables number the states of a socket (Linux, include/net/tcp_states.h). */
const LISTEN = '0A';
const ESTABLISHED = '01';

/** The connections that stand, in the text of the same table: the port at their other end, and their inode. Pure. */
export function connectedSockets(table: string): { remotePort: number; inode: number }[] {
  const lines = table.split('\n').slice(1);
  const rows = lines.map((line) => line.trim().split(/\s+/)).filter(([, , , state]) => state === ESTABLISHED);
  return rows.map(([, , remote = '', , , , , , , inode]) => ({
    remotePort: Number.parseInt(remote.split(':')[1] ?? '', 16),
    inode: Number(inode),
  }));
}

/**
 * The listening sockets in the text of /proc/net/tcp or tcp6 (Linux, Documentation/networking/proc_net_tcp.rst), which
 * prints addresses as words of 32 bits in the order of the machine. Pure.
 */
export function listeningSockets(table: string, littleEndian: boolean): ListeningSocket[] {
  const found: ListeningSocket[] = [];
  for (const line of table.split('\n').slice(1)) {
    const [, local = '', , state, , , , uid, , inode] = line.trim().split(/\s+/);
    const [address = '', port = ''] = local.split(':');
    if (state !== LISTEN || !/^(?:[0-9A-F]{8}|[0-9A-F]{32})$/i.test(address)) continue;
    const bytes = Buffer.from(address, 'hex');
    if (littleEndian) bytes.swap32();
    found.push({ address: shown(bytes), port: Number.parseInt(port, 16), uid: Number(uid), inode: Number(inode) });
  }
  return found;
}

function shown(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  const hex = bytes.toString('hex');
  if (hex.startsWith('00000000000000000000ffff')) return `::ffff:${bytes.subarray(12).join('.')}`;
  const words = (hex.match(/.{4}/g) ?? []).map((word) => word.replace(/^0{1,3}/, ''));
  const runs = [...words.join(':').matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)].toSorted((a, b) => b[0].length - a[0].length);
  const longest = runs[0];
  if (longest === undefined) return words.join(':');
  const text = words.join(':');
  const before = text.slice(0, longest.index);
  const after = text.slice(longest.index + longest[0].length).replace(/^:/, '');
  return `${before}::${after}`;
}

/** What stands between a connection to `address` and the listener, as far as addresses go. */
export interface Reach {
  readonly address: string;
  readonly port: number;
  /** Whether a wildcard of IPv6 takes IPv4 as well; null where nobody can tell. */
  readonly takesIpv4: boolean | null;
}

/** Whether a connection to `host`, an address of this machine, and `toPort` comes to this listener; null where nobody can tell. */
export function reaches({ address, port, takesIpv4 }: Reach, host: string, toPort: number): boolean | null {
  if (port !== toPort) return false;
  if (host.includes(':')) return address === '::' || address === host;
  if (address === '0.0.0.0' || address === host || address === `::ffff:${host}`) return true;
  return address === '::' ? takesIpv4 : false;
}
