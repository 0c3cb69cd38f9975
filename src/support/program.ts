import { execa } from 'execa';
import type { Cancel, Clock } from './clock.ts';
import { deferred } from './deferred.ts';

/** All of the environment: ours may hold a secret. The words are parsed, so they must not be translated. */
const PLAIN_ENVIRONMENT = { LC_ALL: 'C', PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };

/** Where this process is; an update may have removed that. */
function folder(): string {
  try {
    return process.cwd();
  } catch {
    return '/';
  }
}

export interface ProgramOptions {
  /** Name or path of the program. */
  command: string;
  /** Never a secret: every user of the machine can read them. */
  args: readonly string[];
  /** What it finds in its environment besides. */
  env?: Readonly<Record<string, string>>;
  timeoutMs: number;
  /** What it may print in all, per stream. */
  maxBytes: number;
  clock: Clock;
  /** Ends the run early, as when the service stops. */
  signal: AbortSignal;
}

/** How a run ended; nothing of it runs any more, whichever it is. */
export type ProgramEnd =
  | { kind: 'ended'; exitCode: number; stdout: string; stderr: string }
  /** It could not be started, or was killed by somebody else. */
  | { kind: 'failed'; why: string; cause: unknown; stderr: string }
  | { kind: 'missing' }
  | { kind: 'too-much' }
  | { kind: 'timeout' }
  | { kind: 'stopped' };

/**
 * Runs a program once, without input, and gives what it printed, within `timeoutMs` whatever it does.
 *
 * Its own process group, because killing the program alone leaves a child of it holding the pipe, and execa waits for
 * the pipe; and its streams are let go at the deadline, for a child that has left the group.
 */
export async function runProgram(options: ProgramOptions): Promise<ProgramEnd> {
  const { command, args, env = {}, timeoutMs, maxBytes, clock, signal } = options;
  if (signal.aborted) return { kind: 'stopped' };
  const child = execa(command, args, {
    stdin: 'ignore',
    detached: true,
    extendEnv: false,
    env: { ...PLAIN_ENVIRONMENT, ...env },
    cwd: folder(),
    maxBuffer: maxBytes,
    reject: false,
  });

  const { promise: endedEarly, resolve: endEarly } = deferred<ProgramEnd & { kind: 'timeout' | 'stopped' }>();
  const onAbort = () => endEarly({ kind: 'stopped' });
  signal.addEventListener('abort', onAbort);
  const cancelDeadline = clock.after(timeoutMs, () => endEarly({ kind: 'timeout' }));
  const result = await Promise.race([child, endedEarly]);
  cancelDeadline();
  signal.removeEventListener('abort', onAbort);

  if ('kind' in result) {
    killGroup(child.pid);
    child.stdout.destroy();
    child.stderr.destroy();
    return result;
  }
  if (result.isMaxBuffer) {
    killGroup(child.pid);
    return { kind: 'too-much' };
  }
  if (result.code === 'ENOENT') return { kind: 'missing' };
  const { exitCode, stdout, stderr } = result;
  if (exitCode === undefined) return { kind: 'failed', why: result.shortMessage ?? '', cause: result.cause, stderr };
  return { kind: 'ended', exitCode, stdout, stderr };
}

export interface ProgramRunOptions {
  /** Name or absolute path of the program. */
  command: string;
  /** Never a secret: every user of the machine can read them. */
  args: readonly string[];
  /** Each line that it writes to its standard error, without its end. */
  onLine: (line: string) => void;
  clock: Clock;
}

/** A program that runs until it is stopped, or ends by itself. */
export interface ProgramRun {
  /** When it has ended, and every line was given; nothing of it runs any more then. */
  ended: Promise<ProgramRunEnd>;
  /** SIGTERM, and SIGKILL after `graceMs`; without a grace, SIGKILL at once. */
  stop(graceMs: number): void;
}

export type ProgramRunEnd =
  | { kind: 'ended'; exitCode: number | null; signal: string | null }
  | { kind: 'failed'; why: string; cause: unknown }
  | { kind: 'missing' };

/** A line that is longer is cut. */
const MAX_LINE_CHARACTERS = 4096;
/** How long a child that has left the group may keep the pipe after the end of the program. */
const PIPE_GRACE_MS = 500;

/**
 * Starts a program without input, whose standard error is read line by line, in a process group of its own. When this
 * process exits, the group is killed; when it is itself killed, the group goes on.
 */
export function startProgram({ command, args, onLine, clock }: ProgramRunOptions): ProgramRun {
  const child = execa(command, args, {
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
    buffer: false,
    detached: true,
    extendEnv: false,
    env: PLAIN_ENVIRONMENT,
    cwd: folder(),
    reject: false,
  });
  const kill = () => killGroup(child.pid);
  process.once('exit', kill);
  const lines = byLine(onLine);
  child.stderr.setEncoding('utf8').on('data', lines.push);

  let running = true;
  let cancelKill: Cancel = () => undefined;
  let cancelPipe: Cancel = () => undefined;
  child.once('exit', () => {
    running = false;
    cancelKill();
    kill(); // what it has left behind
    cancelPipe = clock.after(PIPE_GRACE_MS, () => child.stderr.destroy());
  });
  const ended = (async (): Promise<ProgramRunEnd> => {
    const result = await child;
    cancelKill();
    cancelPipe();
    process.removeListener('exit', kill);
    lines.end();
    if (result.code === 'ENOENT') return { kind: 'missing' };
    const { exitCode = null, signal = null, cause } = result;
    if (exitCode === null && signal === null) return { kind: 'failed', why: result.code ?? String(cause), cause };
    return { kind: 'ended', exitCode, signal };
  })();
  const stop = (graceMs: number) => {
    if (!running) return;
    cancelKill();
    if (graceMs === 0) return kill();
    killGroup(child.pid, 'SIGTERM');
    cancelKill = clock.after(graceMs, kill);
  };
  return { ended, stop };
}

function byLine(onLine: (line: string) => void): { push: (text: string) => void; end: () => void } {
  let rest = '';
  const give = (line: string) => onLine(line.slice(0, MAX_LINE_CHARACTERS).replace(/\r$/, ''));
  return {
    push(text) {
      const lines = (rest + text).split('\n');
      rest = (lines.pop() ?? '').slice(0, MAX_LINE_CHARACTERS);
      for (const line of lines) give(line);
    },
    end() {
      if (rest !== '') give(rest);
    },
  };
}

/** Ends a program that was started as the leader of its own group, and all that it started in turn. */
export function killGroup(leader: number | undefined, signal: NodeJS.Signals = 'SIGKILL'): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, signal);
  } catch {
    // the whole group has ended already
  }
}
