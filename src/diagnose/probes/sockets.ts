import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { endianness } from 'node:os';
import { basename } from 'node:path';
import { setImmediate as letOthersRun } from 'node:timers/promises';
import { hostAndPort } from '../../support/text.ts';
import type { Probe } from '../facts.ts';
import { type ListeningSocket, listeningSockets } from '../proc/socket-table.ts';

/** A program that runs. */
export interface RunningProgram {
  readonly pid: number;
  /** Of its file where that can be read, else as the kernel calls it (cut after 15 characters). */
  readonly name: string;
  /** Null where this user may not know it, for a file that is gone as it was called. */
  readonly path: string | null;
  /** Its words; a program may have written another text over them, which then is one word. */
  readonly words: readonly string[];
  /** `R`, `S`, `T` for stopped, `Z` for ended and not yet buried. */
  readonly state: string;
  readonly parentPid: number;
  /** In clock ticks since the machine started. */
  readonly startTicks: number;
}

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
  const sockets = ['tcp', 'tcp6'].flatMap((name) => listeningSockets(text(`/proc/net/${name}`), littleEndian));
  const all = await facts.get(programs);
  const holders = await holdersOf(new Set(sockets.map(({ inode }) => inode)), all);
  // Root of a container may lack the right to look into other programs.
  const ownersKnown = facts.isRoot && list('/proc/1/fd').length > 0;
  const dualStack = text('/proc/sys/net/ipv6/bindv6only').trim() !== '1';
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
export const programs: Probe<RunningProgram[]> = async () => {
  const found: RunningProgram[] = [];
  for (const entry of list('/proc').filter((name) => /^\d+$/.test(name))) {
    const program = programOf(Number(entry));
    if (program !== null) found.push(program);
  }
  return found;
};

/** Programs that are what they are called as. */
const MANY_IN_ONE = new Set(['busybox', 'toybox', 'dropbearmulti']);

function programOf(pid: number): RunningProgram | null {
  // `pid (name) state ppid … starttime …`: the name may hold anything, also blanks and brackets.
  const [, comm, rest] = /^\d+ \((.*)\) (\S.*)$/s.exec(text(`/proc/${pid}/stat`).trim()) ?? [];
  if (comm === undefined || rest === undefined) return null;
  const fields = rest.split(' ');
  const path = link(`/proc/${pid}/exe`)?.replace(/ \(deleted\)$/, '') ?? null;
  return {
    pid,
    name: path === null || MANY_IN_ONE.has(basename(path)) ? comm : basename(path),
    path,
    words: text(`/proc/${pid}/cmdline`).replace(/\0+$/, '').split('\0'),
    state: fields[0] ?? '',
    parentPid: Number(fields[1]),
    startTicks: Number(fields[19]), // field 22 of proc(5), counted from the state as the third
  };
}

/** A program with more open files than this is not searched to the end. */
const MAX_FILES = 20_000;

async function holdersOf(inodes: Set<number>, all: readonly RunningProgram[]): Promise<Map<number, RunningProgram[]>> {
  const holders = new Map<number, RunningProgram[]>();
  for (const program of all) {
    const held = new Set<number>();
    for (const descriptor of list(`/proc/${program.pid}/fd`).slice(0, MAX_FILES)) {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(link(`/proc/${program.pid}/fd/${descriptor}`) ?? '') ?? [];
      if (inode !== undefined && inodes.has(Number(inode))) held.add(Number(inode));
    }
    for (const inode of held) holders.set(inode, [...(holders.get(inode) ?? []), program]);
    await letOthersRun(); // a busy program has thousands
  }
  return holders;
}

/** `0.0.0.0:22 (sshd, pid 812)`, for an evidence. */
export function describeListener({ address, port, owners }: Listener): string {
  const [owner] = owners;
  return `${hostAndPort(address, port)}${owner === undefined ? '' : ` (${owner.name}, pid ${owner.pid})`}`;
}

function text(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return ''; // not there, or not for this user
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function link(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
