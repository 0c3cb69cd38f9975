/** Bits of a route: it is up, and it refuses (Linux, include/uapi/linux/route.h). */
const RTF_UP = 0x1;
const RTF_REJECT = 0x200;

/** The default routes of /proc/net/route, as `via 192.168.1.1 dev eth0`. */
export function defaultRoutes(table: string): string[] {
  return table
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, destination, , flags = '0', , , , mask]) => {
      const bits = Number.parseInt(flags, 16);
      return destination === '00000000' && mask === '00000000' && (bits & RTF_UP) !== 0 && (bits & RTF_REJECT) === 0;
    })
    .map(([device = '', , gateway = '']) =>
      gateway === '00000000' ? `dev ${device}` : `via ${addressOf(gateway)} dev ${device}`,
    );
}

/** In the byte order of the machine; devices are little-endian. */
function addressOf(hex: string): string {
  return (hex.match(/../g) ?? [])
    .map((byte) => Number.parseInt(byte, 16))
    .reverse()
    .join('.');
}

/** Those of /proc/net/ipv6_route, as `dev eth0`; the one of `lo` is the kernel's way to say that there is none. */
export function defaultRoutes6(table: string): string[] {
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([destination = '', length, , , , , , , flags = '0', device]) => {
      const bits = Number.parseInt(flags, 16);
      const everything = /^0{32}$/.test(destination) && length === '00';
      return everything && device !== 'lo' && (bits & RTF_UP) !== 0 && (bits & RTF_REJECT) === 0;
    })
    .map((fields) => `IPv6 dev ${fields[9]}`);
}
