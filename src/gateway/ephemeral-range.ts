import { Failure } from '../support/failures.ts';
import { textOf } from '../support/readable.ts';
import type { PortRange } from './port-pool.ts';

/** Where Linux says which ports it gives to outgoing connections by itself (Documentation/networking/ip-sysctl.rst). */
const SYSCTL = '/proc/sys/net/ipv4';

/** Ranges and single ports with commas between, as in `ip_local_reserved_ports`: "1-5,7". Anything else is passed over. */
export function parsePortList(text: string): PortRange[] {
  return text.split(',').flatMap((part) => {
    const [, start, end = start] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? [];
    return start === undefined ? [] : [{ start: Number(start), end: Number(end) }];
  });
}

/** The first and last port, as in `ip_local_port_range`: two numbers with a tab between. */
export function parsePortRange(text: string): PortRange | null {
  const [, start, end] = /^(\d+)\s+(\d+)$/.exec(text.trim()) ?? [];
  return start === undefined ? null : { start: Number(start), end: Number(end) };
}

/** How many ports of `range` the system may give to outgoing connections. */
export function exposedPorts(range: PortRange, ephemeral: PortRange, reserved: readonly PortRange[]): number {
  const isIn = (port: number) => (other: PortRange) => port >= other.start && port <= other.end;
  let exposed = 0;
  for (let port = Math.max(range.start, ephemeral.start); port <= Math.min(range.end, ephemeral.end); port += 1) {
    if (!reserved.some(isIn(port))) exposed += 1;
  }
  return exposed;
}

/**
 * Whether an outgoing connection of any program of this machine can take a port of the range away from a device; null
 * where not, or where the system does not tell.
 */
export function ephemeralWarning(range: PortRange, folder: string = SYSCTL): Failure | null {
  const ephemeral = parsePortRange(textOf(`${folder}/ip_local_port_range`));
  if (ephemeral === null) return null;
  const exposed = exposedPorts(range, ephemeral, parsePortList(textOf(`${folder}/ip_local_reserved_ports`)));
  if (exposed === 0) return null;
  return new Failure(
    'gateway.range-ephemeral',
    `outgoing connections of this machine may take ${exposed} ports of ${range.start}-${range.end}: the system gives them ports of ${ephemeral.start}-${ephemeral.end}`,
  );
}
