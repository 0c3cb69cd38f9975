import { readdir, readFile, readlink } from 'node:fs/promises';
import { cleanText } from '../../support/text.ts';
import type { Probe } from '../facts.ts';
import { parseArguments, parseStat } from '../proc-text.ts';

export interface ProcessInfo {
  readonly pid: number;
  /** See `parseStat`. */
  readonly state: string;
  readonly startedTicks: number;
  /** Empty for the kernel's own and for what has ended. */
  readonly args: readonly string[];
}

/** Every process of this machine that this user may see. */
export const processes: Probe<readonly ProcessInfo[]> = async () => {
  const found = await Promise.all((await pids()).map(readProcess));
  return found.filter((process) => process !== null);
};

/** Which process holds which socket, by inode; for another user than root only its own. The first one of several. */
export const socketHolders: Probe<ReadonlyMap<number, number>> = async () => {
  const holders = new Map<number, number>();
  for (const pid of await pids()) {
    for (const target of await openFiles(pid)) {
      const inode = Number(/^socket:\[(\d+)\]$/.exec(target)?.[1]);
      if (Number.isInteger(inode) && !holders.has(inode)) holders.set(inode, pid);
    }
  }
  return holders;
};

/** `python3 -m http.server (process 123)`, fit to be shown. */
export function describeProcess({ pid, args }: Pick<ProcessInfo, 'pid' | 'args'>): string {
  return `${cleanText(args.join(' '), 80) || 'a program'} (process ${pid})`;
}

async function pids(): Promise<number[]> {
  const names = await readdir('/proc').catch(() => []);
  return names.filter((name) => /^\d+$/.test(name)).map(Number);
}

/** Null for one that has ended meanwhile. */
async function readProcess(pid: number): Promise<ProcessInfo | null> {
  try {
    const [stat, cmdline] = await Promise.all(
      ['stat', 'cmdline'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8')),
    );
    const state = parseStat(stat ?? '');
    return state === null ? null : { pid, ...state, args: parseArguments(cmdline ?? '') };
  } catch {
    return null;
  }
}

async function openFiles(pid: number): Promise<string[]> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => []);
  return Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')));
}
