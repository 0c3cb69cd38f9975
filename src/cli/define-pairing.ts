import type { Command } from 'commander';
import type { CommonOptions } from './common.ts';
import { addCommand, withConfig } from './define.ts';
import type { Style } from './style.ts';

type Readable = CommonOptions & { json?: true };

/** The commands of the group `pairing`. */
export function definePairing(
  group: Command,
  { style, finish }: { style: () => Style; finish: (exitCode: number) => void },
): void {
  const command = (name: string, description: string) => withConfig(addCommand(group, name, description));
  group.addHelpText(
    'after',
    '\nExamples:\n  tunnel-agent pairing status\n  tunnel-agent pairing open\n  tunnel-agent pairing reset',
  );

  command('status', 'ask the running service whether pairing is open, and why')
    .option('--json', 'print it as JSON')
    .addHelpText('after', '\nExamples:\n  tunnel-agent pairing status\n  tunnel-agent pairing status --json')
    .action(async (options: Readable) => finish(await (await commands()).pairingStatus(options, style())));

  command('open', 'let anybody set one key within 120 s, whatever the policy')
    .addHelpText('after', '\nExample:\n  tunnel-agent pairing open')
    .action(async (options: CommonOptions) => finish(await (await commands()).pairingOpen(options)));

  const reset = command('reset', 'remove the key and what was remembered, end its tunnel, open pairing')
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nExamples:\n  tunnel-agent pairing reset\n  tunnel-agent pairing reset --yes')
    .action(async (options: CommonOptions & { yes?: true }) =>
      finish(await (await commands()).pairingReset(options, (sentence) => reset.error(sentence))),
    );

  command('pin', 'make a new PIN and print it once')
    .option('--stdin', 'take the PIN, 6 to 16 digits, from the first line of standard input')
    .option('--remove', 'remove the PIN')
    .addHelpText(
      'after',
      '\nExamples:\n  tunnel-agent pairing pin\n  tunnel-agent pairing pin --stdin < pin.txt\n  tunnel-agent pairing pin --remove',
    )
    .action(async (options: CommonOptions & { stdin?: true; remove?: true }) => {
      if (options.stdin && options.remove) group.error("error: option '--stdin' cannot be used with '--remove'");
      finish(await (await commands()).pairingPin(options));
    });

  command('audit', 'list every change of pairing on record, the newest last')
    .option('--json', 'print it as JSON')
    .addHelpText('after', '\nExamples:\n  tunnel-agent pairing audit\n  tunnel-agent pairing audit --json')
    .action(async (options: Readable) => finish(await (await commands()).pairingAudit(options, style())));
}

/** Loaded only to run one of them: whatever else is asked is answered sooner without. */
const commands = () => import('./pairing-commands.ts');
