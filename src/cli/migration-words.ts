/** The first word of a command line that is no command: a process of `migrate` that is apart from the terminal. */
export const MIGRATION_WORKER = 'migration-worker';

/** The command line of the process that watches the worker (`guard`), or of the worker itself (`work`). */
export function workerWords(part: 'guard' | 'work', stateDir: string): string[] {
  return [process.execPath, ...process.execArgv, process.argv[1] ?? '', MIGRATION_WORKER, part, stateDir];
}
