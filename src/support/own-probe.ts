// `diagnose` connects to the sshd of the paired tunnel to hear its greeting. For netstat that is a connection like the
// paired client's, and to the monitor it would be a tunnel: pairing would close, and a device that was never paired
// would count as paired. So these connections have a source port that tells them.

/**
 * Below the ports that systems give to clients (Linux from 32768, others from 49152), so that no tunnel has one by chance.
 * Nobody in the network can choose to look like one: both its ends are on this machine, and the kernel drops packets
 * from outside with such a source. Nor would it help a stranger; to be counted is what keeps pairing closed.
 */
export const PROBE_PORTS = { first: 20_480, count: 256 };

interface Ends {
  readonly local: { readonly address: string; readonly port: number | null };
  readonly remote: { readonly address: string; readonly port: number | null };
}

/** Whether a connection of netstat is one of the diagnosis with this machine itself. Pure. */
export function isOwnProbe({ local, remote }: Ends): boolean {
  const isLoopback = (address: string) => /^(?:::ffff:)?127\./.test(address);
  const isInside = local.address === remote.address || (isLoopback(local.address) && isLoopback(remote.address));
  return isInside && [local.port, remote.port].some(isProbePort);
}

function isProbePort(port: number | null): boolean {
  return port !== null && port >= PROBE_PORTS.first && port < PROBE_PORTS.first + PROBE_PORTS.count;
}
