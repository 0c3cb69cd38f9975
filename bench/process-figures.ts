import { readdirSync, readFileSync } from 'node:fs';

const KIB_PER_MIB = 1024;
/** Of the times in /proc/PID/stat; USER_HZ, which is 100 on every Linux that Node runs on. */
const TICK_MS = 10;

export interface Memory {
  rssMib: number;
  /** What is the process's own: its heap and stacks, not the program file. */
  anonymousMib: number;
  /** As `rssMib`, but of pages that several processes map only the share. */
  pssMib: number;
}

export function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const mib = (text: string, key: string) => number(text, new RegExp(`^${key}:\\s+(\\d+) kB`, 'm')) / KIB_PER_MIB;
  return { rssMib: mib(status, 'VmRSS'), anonymousMib: mib(status, 'RssAnon'), pssMib: mib(rollup, 'Pss') };
}

/** What a process has done since it began. */
export interface Activity {
  /** How often one of its threads went to sleep, and so how often one was woken. */
  wakeUps: number;
  cpuMs: number;
  /** Of the programs that it ran and that have ended. */
  childrenCpuMs: number;
  /** Sent to a file system that lies on storage; a file system in memory does not count. */
  storageBytes: number;
}

export function activityOf(pid: number): Activity {
  const threads = readdirSync(`/proc/${pid}/task`);
  const wakeUps = threads.map((id) =>
    number(readFileSync(`/proc/${pid}/task/${id}/status`, 'utf8'), /^voluntary_ctxt_switches:\s+(\d+)/m),
  );
  // Behind the name in brackets, which may hold blanks, the state is field 3; utime to cstime are 14 to 17 (proc(5)).
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').pop()?.split(' ').map(Number) ?? [];
  const [user = 0, system = 0, childrenUser = 0, childrenSystem = 0] = fields.slice(14 - 3, 18 - 3);
  return {
    wakeUps: wakeUps.reduce((sum, count) => sum + count, 0),
    cpuMs: (user + system) * TICK_MS,
    childrenCpuMs: (childrenUser + childrenSystem) * TICK_MS,
    storageBytes: number(readFileSync(`/proc/${pid}/io`, 'utf8'), /^write_bytes: (\d+)/m),
  };
}

function number(text: string, pattern: RegExp): number {
  const [, digits] = pattern.exec(text) ?? [];
  if (digits === undefined) throw new Error(`the kernel does not tell ${pattern}`);
  return Number(digits);
}
