import { execa } from 'execa';
import type { Clock } from './clock.ts';
import { deferred } from './deferred.ts';

export interface ProgramOptions {
  /** Name or path of the program. */
  command: string;
  /** Never a secret: every user of the machine can read them. */
  args: readonly string[];
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
  const { command, args, timeoutMs, maxBytes, clock, signal } = options;
  if (signal.aborted) return { kind: 'stopped' };
  const child = execa(command, args, {
    stdin: 'ignore',
    detached: true,
    env: { LC_ALL: 'C' }, // the words are parsed, so they must not be translated
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

/** Ends a program that was started as the leader of its own group, and all that it started in turn. */
export function killGroup(leader: number | undefined, signal: NodeJS.Signals = 'SIGKILL'): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, signal);
  } catch {
    // the whole group has ended already
  }
}
