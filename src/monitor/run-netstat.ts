import { execa } from 'execa';
import type { Clock } from '../support/clock.ts';
import { deferred } from '../support/deferred.ts';
import { Failure } from '../support/failures.ts';

/** About 40,000 connections: far more than a device has, far less than its memory. */
export const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

export interface RunNetstatOptions {
  /** Name or path of the program; it is run with `-tn`. */
  command: string;
  timeoutMs: number;
  clock: Clock;
  /** Ends the run early, as when the service stops. */
  signal: AbortSignal;
}

/**
 * Runs `netstat -tn` once and returns what it printed, within `timeoutMs` whatever it does.
 *
 * Its own process group, because killing the program alone leaves a child of it holding the pipe, and execa waits for
 * the pipe; and its streams are let go at the deadline, for a child that has left the group.
 *
 * @throws Failure monitor.netstat-missing, -failed, -timeout, or -unreadable for more than MAX_OUTPUT_BYTES
 */
export async function runNetstat({ command, timeoutMs, clock, signal }: RunNetstatOptions): Promise<string> {
  if (signal.aborted) throw stopped();
  const child = execa(command, ['-tn'], {
    stdin: 'ignore',
    detached: true,
    env: { LC_ALL: 'C' }, // the words are parsed, so they must not be translated
    maxBuffer: MAX_OUTPUT_BYTES,
    reject: false,
  });

  const { promise: endedEarly, resolve: endEarly } = deferred<Failure>();
  const onAbort = () => endEarly(stopped());
  signal.addEventListener('abort', onAbort);
  const cancelDeadline = clock.after(timeoutMs, () =>
    endEarly(new Failure('monitor.netstat-timeout', `${command} -tn gave no answer within ${timeoutMs} ms`)),
  );
  const result = await Promise.race([child, endedEarly]);
  cancelDeadline();
  signal.removeEventListener('abort', onAbort);

  if (result instanceof Failure) {
    killGroup(child.pid);
    child.stdout.destroy();
    child.stderr.destroy();
    throw result;
  }
  if (result.isMaxBuffer) {
    killGroup(child.pid);
    throw new Failure('monitor.netstat-unreadable', `${command} -tn printed more than ${MAX_OUTPUT_BYTES} bytes`);
  }
  if (result.code === 'ENOENT') {
    throw new Failure('monitor.netstat-missing', `there is no program ${command} in the PATH of the service`);
  }
  if (result.failed) {
    const why = firstLine(result.stderr) || result.shortMessage;
    throw new Failure('monitor.netstat-failed', `${command} -tn failed: ${why}`, { cause: result.cause });
  }
  const hidden = unreadTable(result.stderr);
  if (hidden !== null) throw new Failure('monitor.netstat-failed', `${command} -tn saw only a part: ${hidden}`);
  return result.stdout;
}

/**
 * BusyBox prints an empty table and ends with 0 when it cannot open the kernel's tables; only its complaint tells it
 * from "no connections". A kernel without IPv6 has no tcp6 table, and that is no fault.
 */
function unreadTable(stderr: string): string | null {
  const complaints = stderr.split('\n').filter((line) => line.includes('/proc/net/tcp'));
  return complaints.find((line) => !/\/proc\/net\/tcp6: No such file/.test(line)) ?? null;
}

function stopped(): Failure {
  return new Failure('monitor.netstat-failed', 'the monitor has been stopped');
}

function firstLine(text: string): string {
  return (text.trim().split('\n')[0] ?? '').slice(0, 200);
}

function killGroup(leader: number | undefined): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // the whole group has ended already
  }
}
