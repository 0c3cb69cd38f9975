import type { Command } from 'commander';
import { addCommand, withConfig } from './define.ts';
import type { MigrateOptions } from './migrate-command.ts';
import type { Style } from './style.ts';

/** `migrate`, with its options. */
export function defineMigrate(
  program: Command,
  { style, finish }: { style: () => Style; finish: (exitCode: number) => void },
): void {
  const command = addCommand(
    program,
    'migrate',
    'take this device over from the software deployed before, or give it back',
  );
  withConfig(command)
    .option('--dry-run', 'look only, and tell what would be done')
    .option('--quiet', 'print nothing but errors; the exit code tells')
    .option('--json', 'print it as JSON')
    .option('--status', 'tell how far the migration is, or how it ended')
    .option('--undo', 'put back what was there before')
    .option('--within <seconds>', 'how long zeroforce has to prove itself, else theirs is put back', '90')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      `
Exit codes:
  0   nothing to take over, or all is taken over
  1   failed; what was there before is there again
  2   the command line was wrong
  3   with --dry-run: a migration is due; with --status: one is under way

Examples:
  tunnel-agent migrate --dry-run
  tunnel-agent migrate
  tunnel-agent migrate --status
  tunnel-agent migrate --undo --yes`,
    )
    .action(async (options: MigrateOptions) => {
      const { migrateCommand } = await import('./migrate-command.ts'); // no other command needs what it loads
      finish(await migrateCommand(options, style(), (sentence) => command.error(sentence)));
    });
}
