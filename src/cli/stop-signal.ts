import type { Log } from '../support/log.ts';
import { EXIT } from './common.ts';

/**
 * Resolves at the first SIGTERM or SIGINT. What nobody caught ends the process with a log line, since a supervisor
 * restarts it; so does a stop that takes longer than `deadlineMs`.
 *
 * @param again called at a further signal; without it that is left to the system, which ends the process
 */
export function stopSignal(log: Log, deadlineMs: number, again?: () => void): Promise<void> {
  const die = (error: unknown) => {
    try {
      log.fatal({ err: error, code: 'internal.unexpected' }, 'the program met a fault of its own and ends');
    } finally {
      process.exit(EXIT.failed);
    }
  };
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
  return new Promise((resolve) => {
    let stopping = false;
    const stop = (name: NodeJS.Signals) => {
      if (stopping) return again?.();
      stopping = true;
      log.info({ signal: name }, 'stopping');
      setTimeout(() => die(new Error(`not stopped after ${deadlineMs} ms`)), deadlineMs).unref();
      resolve();
    };
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process[again === undefined ? 'once' : 'on'](signal, stop);
  });
}
