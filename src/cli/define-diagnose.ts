import { type Command, Option } from 'commander';
import pkg from '../../package.json' with { type: 'json' };
import { CHECK_IDS } from '../diagnose/ids.ts';
import { addCommand, withConfig } from './define.ts';
import type { DiagnoseCommandOptions } from './diagnose-options.ts';
import { inOwnProcess, isGuarded, leave } from './guard.ts';
import { complain, finish } from './main.ts';
import type { Style } from './style.ts';

/** `diagnose`, with its options. */
export function defineDiagnose(program: Command, { style }: { style: () => Style }): void {
  const command = addCommand(program, 'diagnose', 'find out what is the matter with this device');
  withConfig(command)
    .option('--json', 'print the report as JSON')
    .addOption(onlyOption())
    .option('--sshd-config <file>', 'the configuration of the sshd that a technician reaches')
    .option('--ssh-port <port>', 'its port')
    .option('--user <name>', 'who logs in there')
    .option('--public-port <host:port>', 'where the operator reaches this device')
    .option('--dial', 'dial the other end also while a session is held, which replaces that session')
    .option('--no-network', 'speak with no other machine')
    .option('--bundle <file>', 'write everything that support needs into one .tar.gz, without secrets')
    .option('--watch', 'go on until it is interrupted, and tell what changes')
    .addHelpText(
      'after',
      `
Examples:
  tunnel-agent diagnose
  tunnel-agent diagnose --only sshd.banner,tunnel.target
  tunnel-agent diagnose --only 'proxy.*' --watch
  tunnel-agent diagnose --bundle /tmp/device.tar.gz`,
    )
    .action(async (options: DiagnoseCommandOptions) => {
      if (!isGuarded()) return finish(await inOwnProcess());
      const [{ diagnose }, { parseRequest }] = await Promise.all([
        import('./diagnose-command.ts'),
        import('./diagnose-options.ts'),
      ]);
      const request = parseRequest(options, (sentence) => command.error(sentence));
      leave(
        await diagnose(options, request, { version: pkg.version, style: style() }).catch((error: unknown) =>
          complain(program.name(), error),
        ),
      );
    });
}

/** Its choices are for the help and for the completion in a shell: several can be given, and groups of them. */
function onlyOption(): Option {
  return new Option('--only <ids>', 'make these checks alone: ids with commas between them, or all of a kind: sshd.*')
    .choices(CHECK_IDS)
    .argParser((value) => value);
}
