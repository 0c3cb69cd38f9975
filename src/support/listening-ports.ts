import { textOf } from './readable.ts';

/** As the tables number the states of a socket (Linux, include/net/tcp_states.h). */
const LISTEN = '0A';

/** Whether some program of this machine listens on a TCP port. Nothing is connected to; false where /proc is missing. */
export function isListening(port: number): boolean {
  return ['/proc/net/tcp', '/proc/net/tcp6'].some((path) => listeningPorts(textOf(path)).has(port));
}

/** The ports in the text of /proc/net/tcp{,6} that are listened on (Linux, Documentation/networking/proc_net_tcp.rst). */
export function listeningPorts(table: string): Set<number> {
  const ports = new Set<number>();
  for (const line of table.split('\n').slice(1)) {
    const [, local, , state] = line.trim().split(/\s+/);
    if (state === LISTEN && local !== undefined) ports.add(Number.parseInt(local.split(':')[1] ?? '', 16));
  }
  return ports;
}
