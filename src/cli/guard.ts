import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';

// Some calls of the system cannot be ended: a name that no server answers, a dead mount. They hold a thread, and
// process.exit() waits for it. So what may meet them runs in a process of its own, which says its exit code as soon as
// it is done, and is killed where it does not end by itself.

/** To end children and to remove what is temporary. */
const GRACE_MS = 500;
/** A dial that is under way is ended in order, within 3 s. */
const SIGNAL_GRACE_MS = 5_000;
/** As many calls may hang without keeping the others; libuv has 4 threads otherwise. */
export const THREADS = '16';
export const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Whether this is the process that `inOwnProcess` started. */
export function isGuarded(): boolean {
  return process.send !== undefined;
}

/**
 * Runs this very command line in a process of its own, which calls `leave` at its end.
 * @returns its exit code
 */
export async function inOwnProcess(): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { UV_THREADPOOL_SIZE: THREADS, ...process.env },
  });
  // From a terminal it gets them itself, too; it must not mind a second one. A check that calculates without end hears none.
  const end = (signal: NodeJS.Signals) => {
    child.kill(signal);
    setTimeout(() => child.kill('SIGKILL'), SIGNAL_GRACE_MS).unref();
  };
  for (const signal of SIGNALS) process.on(signal, end);
  let said: number | null = null;
  child.on('message', (code) => {
    said = Number(code);
    setTimeout(() => child.kill('SIGKILL'), 2 * GRACE_MS).unref();
  });
  const [code, signal] = (await once(child, 'exit')) as [number, null] | [null, NodeJS.Signals];
  return said ?? (signal === null ? code : interruptedCode(signal));
}

/** How shells tell that a signal ended a process. */
export function interruptedCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** Ends the guarded process: by itself where nothing is under way any more, else soon. */
export function leave(code: number): void {
  process.exitCode = code;
  if (process.connected) process.send?.(code); // else nobody waits for it any more
  setTimeout(() => process.exit(), GRACE_MS).unref();
}
