import { readdir, readFile, readlink } from 'node:fs/promises';
import { type Clock, pause } from '../support/clock.ts';

/** Programs that serve SSH, as /proc/PID/comm has them; sshd-session and sshd-auth are OpenSSH 9.8 and later. */
const SSH_SERVERS: ReadonlySet<string> = new Set(['sshd', 'sshd-session', 'sshd-auth', 'dropbear']);
/** A session that has not ended by itself after this time is killed. */
const TERM_MS = 2_000;
const KILL_MS = 1_000;
const LOOK_EVERY_MS = 50;

/** States of a connection (Linux, include/net/tcp_states.h). */
const ESTABLISHED = '01';
const LISTEN = '0A';

/** The sockets of a port, by inode. */
interface PortSockets {
  established: Set<string>;
  listening: Set<string>;
}

/** What became of the sessions, counted in processes that held one. */
export interface SessionsEnd {
  ended: number;
  /** Process ids that still hold one: of another user, or in the kernel for good. */
  left: number[];
  /** Connections whose process this one may not see: another user's, from within a sandbox. */
  hidden: number;
}

/**
 * Ends what is connected to the tunnel's sshd: SIGTERM, and SIGKILL after 2 s. Bounded by about 3 s. Only programs that
 * serve SSH, never the one that listens: the next client must find it.
 *
 * @param port the local port of the connections
 */
export async function endTunnelSessions(port: number, clock: Clock): Promise<SessionsEnd> {
  const seen = new Set<number>();
  let hidden = 0;
  const look = async () => {
    const found = await sessionProcesses(port);
    hidden = found.hidden;
    for (const pid of found.pids) seen.add(pid);
    return found.pids;
  };
  let left = await look();
  for (const [signal, waitMs] of [
    ['SIGTERM', TERM_MS],
    ['SIGKILL', KILL_MS],
  ] as const) {
    const told = new Set<number>();
    const endMs = clock.nowMs() + waitMs;
    while (left.length > 0 && clock.nowMs() < endMs) {
      // Also those that came meanwhile.
      for (const pid of left.filter((one) => !told.has(one))) kill(pid, signal);
      for (const pid of left) told.add(pid);
      await pause(clock, LOOK_EVERY_MS, new AbortController().signal);
      left = await look();
    }
  }
  return { ended: seen.size - left.length, left, hidden };
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // it has ended, or is another user's: then it is among those left
  }
}

/** Processes that serve a session on this port now. */
async function sessionProcesses(port: number): Promise<{ pids: number[]; hidden: number }> {
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'latin1').catch(() => '')),
  );
  const sockets = portSockets(tables.join('\n'), port);
  const pids: number[] = [];
  if (sockets.established.size === 0) return { pids, hidden: 0 };
  const unseen = new Set(sockets.established);
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    const name = await readFile(`/proc/${entry}/comm`, 'latin1').catch(() => '');
    const held = await openSockets(entry);
    for (const inode of held) unseen.delete(inode);
    if (!SSH_SERVERS.has(name.trim())) continue;
    if (held.some((inode) => sockets.listening.has(inode))) continue;
    if (held.some((inode) => sockets.established.has(inode))) pids.push(Number(entry));
  }
  return { pids, hidden: unseen.size };
}

/** The inodes of the sockets that a process has open; none where it has ended or may not be looked at. */
async function openSockets(pid: string): Promise<string[]> {
  const folder = `/proc/${pid}/fd`;
  const names = await readdir(folder).catch(() => []);
  const targets = await Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => '')));
  return targets.flatMap((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []);
}

/** Reads the text of /proc/net/tcp and /proc/net/tcp6 (Linux, Documentation/networking/proc_net_tcp.rst). */
export function portSockets(tables: string, port: number): PortSockets {
  const sockets: PortSockets = { established: new Set(), listening: new Set() };
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  for (const line of tables.split('\n')) {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    if (inode === undefined || inode === '0' || !local?.endsWith(suffix)) continue;
    if (state === ESTABLISHED) sockets.established.add(inode);
    if (state === LISTEN) sockets.listening.add(inode);
  }
  return sockets;
}
