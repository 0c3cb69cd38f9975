import type { Command } from 'commander';
import pkg from '../../package.json' with { type: 'json' };
import { addCommand, withConfig } from './define.ts';
import type { DiagnoseCommandOptions } from './diagnose-command.ts';

/** `diagnose`, with its options. */
export function defineDiagnose(program: Command, { finish }: { finish: (exitCode: number) => void }): void {
  withConfig(addCommand(program, 'diagnose', 'find out what is the matter with this device'))
    .option('--json', 'print the report as JSON')
    .option('--only <ids>', 'make these checks alone: ids, separated by commas')
    .option('--sshd-config <file>', 'the configuration of the sshd that a technician reaches')
    .option('--ssh-port <port>', 'its port')
    .option('--user <name>', 'who logs in there')
    .option('--public-port <host:port>', 'where the operator reaches this device')
    .option('--dial', 'dial the other end also while a session is held, which replaces that session')
    .option('--no-network', 'speak with no other machine')
    .option('--bundle <file>', 'write everything that support needs into one .tar.gz, without secrets')
    .option('--watch', 'go on, and tell what changes')
    .addHelpText(
      'after',
      '\nExamples:\n  tunnel-agent diagnose\n  tunnel-agent diagnose --only sshd.banner,tunnel.target',
    )
    .action(async (options: DiagnoseCommandOptions) => {
      const { diagnose } = await import('./diagnose-command.ts');
      finish(await diagnose(options, pkg.version));
    });
}
