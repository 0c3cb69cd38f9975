import { type Command, CommanderError } from 'commander';
import { ConfigError } from '../config/faults.ts';
import { Failure } from '../support/failures.ts';
import { EXIT, exitCodeOf } from './common.ts';

/** For the reader of the log to take what was written last. */
const LAST_LINES_MS = 1_000;

/** Whether a command has failed when its output could not be written. */
let outputCounts = true;

export function finish(exitCode: number): void {
  process.exitCode = exitCode;
}

/** What a service prints is its log, and one that cannot be written is lost: it ends no service. */
export async function serve(service: () => Promise<number>): Promise<void> {
  outputCounts = false;
  // A reload that is asked for while the service still loads must not end it; it has not read its configuration yet.
  process.on('SIGHUP', () => undefined);
  finish(await service());
  // Lines that nobody reads must not keep the process; they alone can still be under way.
  setTimeout(() => process.exit(), LAST_LINES_MS).unref();
}

/** Reads the command line and runs what it says. */
export function main(program: Command): void {
  // `tunnel-agent status | head` closes the pipe early: that is no failure of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && outputCounts) process.exitCode = EXIT.failed;
  });
  // Not awaited: the program is bundled into a file that is no module.
  program.parseAsync().catch((error: unknown) => {
    process.exitCode = complain(program.name(), error);
  });
}

/** One line for a failure, the full list for a configuration; never a stack trace. @returns the exit code */
export function complain(name: string, error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage; // commander has printed it
  if (error instanceof ConfigError) {
    process.stderr.write(`${error.report()}\n`);
    return EXIT.configuration;
  }
  if (error instanceof Failure) {
    process.stderr.write(`${name}: ${error.message}\n  ${error.code}: ${error.remedy}\n`);
    return exitCodeOf(error);
  }
  process.stderr.write(`${name}: ${error instanceof Error ? error.message : String(error)}\n`);
  return EXIT.failed;
}
