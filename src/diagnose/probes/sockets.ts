import { endianness } from 'node:os';
import { namesIn, textOf } from '../../support/readable.ts';
import { type RunningProgram, runningPrograms, socketHoldersAmong } from '../../support/running-programs.ts';
import { type ListeningSocket, listeningSockets } from '../../support/socket-table.ts';
import { hostAndPort } from '../../support/text.ts';
import type { Probe } from '../facts.ts';

export type { RunningProgram };

/** A TCP socket of this machine that waits for connections. */
export interface Listener extends ListeningSocket {
  /** Who holds it: more than one where a parent has handed it on. Empty where this user may not know, see `ownersKnown`. */
  readonly owners: readonly RunningProgram[];
  /** Whether a wildcard of IPv6 takes IPv4 as well. OpenSSH and dropbear never let it. */
  readonly takesIpv4: boolean | null;
}

export interface Listeners {
  readonly all: readonly Listener[];
  /** Whether the owners could be looked for in all programs: only root may, and not everywhere. */
  readonly ownersKnown: boolean;
}

/** The listening TCP sockets of this machine, and as root who holds them. Zombies hold nothing. */
export const listeners: Probe<Listeners> = async (facts) => {
  const littleEndian = endianness() === 'LE';
  const sockets = ['tcp', 'tcp6'].flatMap((name) => listeningSockets(textOf(`/proc/net/${name}`), littleEndian));
  const all = await facts.get(programs);
  const holders = await socketHoldersAmong(new Set(sockets.map(({ inode }) => inode)), all);
  // Root of a container may lack the right to look into other programs.
  const ownersKnown = facts.isRoot && namesIn('/proc/1/fd').length > 0;
  const dualStack = textOf('/proc/sys/net/ipv6/bindv6only').trim() !== '1';
  return {
    all: sockets.map((socket) => {
      const owners = holders.get(socket.inode) ?? [];
      return { ...socket, owners, takesIpv4: takesIpv4(owners, dualStack) };
    }),
    ownersKnown,
  };
};

/** sshd and dropbear listen for each family on a socket of its own, whatever the default of the system is. */
const ONE_FAMILY = new Set(['sshd', 'dropbear']);

function takesIpv4(owners: readonly RunningProgram[], dualStack: boolean): boolean | null {
  if (owners.length === 0) return null;
  return owners.every(({ name }) => !ONE_FAMILY.has(name)) && dualStack;
}

/** Every program that runs, zombies among them. */
export const programs: Probe<RunningProgram[]> = async () => runningPrograms();

/** `0.0.0.0:22 (sshd, pid 812)`, for an evidence. */
export function describeListener({ address, port, owners }: Listener): string {
  const [owner] = owners;
  return `${hostAndPort(address, port)}${owner === undefined ? '' : ` (${owner.name}, pid ${owner.pid})`}`;
}
