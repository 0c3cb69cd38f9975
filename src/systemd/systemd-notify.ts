import type { Clock } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import { runProgram } from '../support/program.ts';

const PROGRAM = 'systemd-notify';
/** It waits until systemd has read what it said, 5 s at most, and takes 16 ms. */
const TIMEOUT_MS = 6_000;
const MAX_BYTES = 4_096;

/** Says assignments of sd_notify(3) to systemd. @throws Failure `service.not-told` */
export type Say = (assignments: readonly string[]) => Promise<void>;

/** By systemd's own program, since Node cannot send a datagram to a Unix socket. */
export function systemdNotify(socket: string, clock: Clock): Say {
  return async (assignments) => {
    const end = await runProgram({
      command: PROGRAM,
      args: assignments,
      env: { NOTIFY_SOCKET: socket },
      timeoutMs: TIMEOUT_MS,
      maxBytes: MAX_BYTES,
      clock,
      signal: new AbortController().signal,
    });
    if (end.kind === 'ended' && end.exitCode === 0) return;
    throw new Failure('service.not-told', `systemd cannot be told how the service is: ${why(end)}`);
  };
}

function why(end: Awaited<ReturnType<typeof runProgram>>): string {
  if (end.kind === 'missing') return `there is no program ${PROGRAM}`;
  if (end.kind === 'timeout') return `${PROGRAM} did not end within ${TIMEOUT_MS} ms`;
  if (end.kind === 'failed') return `${PROGRAM} could not be run: ${end.why}`;
  if (end.kind === 'ended') return `${PROGRAM}: ${end.stderr.trim() || `it ended with code ${end.exitCode}`}`;
  return `${PROGRAM} was ended: ${end.kind}`;
}
