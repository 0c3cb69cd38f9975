import type { Clock } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import { runProgram } from '../support/program.ts';

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
 * @throws Failure monitor.netstat-missing, -failed, -timeout, or -unreadable for more than MAX_OUTPUT_BYTES
 */
export async function runNetstat(options: RunNetstatOptions): Promise<string> {
  const { command, timeoutMs } = options;
  const end = await runProgram({ ...options, args: ['-tn'], maxBytes: MAX_OUTPUT_BYTES });
  switch (end.kind) {
    case 'stopped':
      throw new Failure('monitor.netstat-failed', 'the monitor has been stopped');
    case 'timeout':
      throw new Failure('monitor.netstat-timeout', `${command} -tn gave no answer within ${timeoutMs} ms`);
    case 'too-much':
      throw new Failure('monitor.netstat-unreadable', `${command} -tn printed more than ${MAX_OUTPUT_BYTES} bytes`);
    case 'missing':
      throw new Failure(
        'monitor.netstat-missing',
        `there is no program ${command} in the folders of the system's programs`,
      );
    case 'failed': {
      const why = firstLine(end.stderr) || end.why;
      throw new Failure('monitor.netstat-failed', `${command} -tn failed: ${why}`, { cause: end.cause });
    }
    case 'ended': {
      const { exitCode, stdout, stderr } = end;
      if (exitCode !== 0) {
        const why = firstLine(stderr) || `it ended with code ${exitCode}`;
        throw new Failure('monitor.netstat-failed', `${command} -tn failed: ${why}`);
      }
      const hidden = unreadTable(stderr);
      if (hidden !== null) throw new Failure('monitor.netstat-failed', `${command} -tn saw only a part: ${hidden}`);
      return stdout;
    }
  }
}

/**
 * BusyBox prints an empty table and ends with 0 when it cannot open the kernel's tables; only its complaint tells it
 * from "no connections". A kernel without IPv6 has no tcp6 table, and that is no fault.
 */
function unreadTable(stderr: string): string | null {
  const complaints = stderr.split('\n').filter((line) => line.includes('/proc/net/tcp'));
  return complaints.find((line) => !/\/proc\/net\/tcp6: No such file/.test(line)) ?? null;
}

function firstLine(text: string): string {
  return (text.trim().split('\n')[0] ?? '').slice(0, 200);
}
