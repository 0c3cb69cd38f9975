import { basename } from 'node:path';
import { setImmediate as letOthersRun } from 'node:timers/promises';
import { linkTarget, namesIn, textOf } from './readable.ts';

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

/** Every program that runs, zombies among them (proc(5)). */
export function runningPrograms(): RunningProgram[] {
  return namesIn('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => runningProgram(Number(name)))
    .filter((program) => program !== null);
}

/** Programs that are what they are called as. */
const MANY_IN_ONE = new Set(['busybox', 'toybox', 'dropbearmulti']);

/** The program with this number; null where none runs. */
export function runningProgram(pid: number): RunningProgram | null {
  // `pid (name) state ppid … starttime …`: the name may hold anything, also blanks and brackets.
  const [, comm, rest] = /^\d+ \((.*)\) (\S.*)$/s.exec(textOf(`/proc/${pid}/stat`).trim()) ?? [];
  if (comm === undefined || rest === undefined) return null;
  const fields = rest.split(' ');
  const path = linkTarget(`/proc/${pid}/exe`)?.replace(/ \(deleted\)$/, '') ?? null;
  return {
    pid,
    name: path === null || MANY_IN_ONE.has(basename(path)) ? comm : basename(path),
    path,
    words: textOf(`/proc/${pid}/cmdline`).replace(/\0+$/, '').split('\0'),
    state: fields[0] ?? '',
    parentPid: Number(fields[1]),
    startTicks: Number(fields[19]), // field 22 of proc(5), counted from the state as the third
  };
}

/** A program with more open files than this is not searched to the end. */
const MAX_FILES = 20_000;

/** Which of these programs hold which of these sockets. */
export async function socketHoldersAmong(
  inodes: ReadonlySet<number>,
  all: readonly RunningProgram[],
): Promise<Map<number, RunningProgram[]>> {
  const holders = new Map<number, RunningProgram[]>();
  for (const program of all) {
    const held = new Set<number>();
    for (const descriptor of namesIn(`/proc/${program.pid}/fd`).slice(0, MAX_FILES)) {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(linkTarget(`/proc/${program.pid}/fd/${descriptor}`) ?? '') ?? [];
      if (inode !== undefined && inodes.has(Number(inode))) held.add(Number(inode));
    }
    for (const inode of held) holders.set(inode, [...(holders.get(inode) ?? []), program]);
    await letOthersRun(); // a busy program has thousands
  }
  return holders;
}
