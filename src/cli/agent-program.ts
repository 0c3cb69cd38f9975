import { Argument } from 'commander';
import pkg from '../../package.json' with { type: 'json' };
import type { CommonOptions } from './common.ts';
import { completion, SHELLS, type Shell } from './completion.ts';
import { configCheck, configInit, configShow } from './config-commands.ts';
import { addCommand, newProgram, withConfig } from './define.ts';
import { defineDiagnose } from './define-diagnose.ts';
import { defineMigrate } from './define-migrate.ts';
import { definePair } from './define-pair.ts';
import { definePairing } from './define-pairing.ts';
import { finish, serve } from './main.ts';
import { status } from './status-command.ts';
import { styleFor } from './style.ts';

/** The command line of the device: who runs it is `tunnel-agent.ts`, who describes it the man page. */
export const program = newProgram(
  'tunnel-agent',
  'Pairs this device once and keeps it reachable through a reverse tunnel.',
)
  .addHelpText(
    'after',
    `
Exit codes:
  0   done
  1   failed
  2   the command line was wrong
  78  the configuration was wrong

Examples:
  tunnel-agent config init         write a first configuration
  tunnel-agent config check        find every fault in it
  tunnel-agent run                 run the service in the foreground
  tunnel-agent status              ask the running service how it is
  tunnel-agent pairing open        let anybody pair for two minutes
  tunnel-agent pair                on the other side: find a device, pair, hold the tunnel

Settings: a file, overridden by the environment; tunnel-agent config show lists them all.`,
  )
  .exitOverride();

const command = (name: string, description: string, parent = program) => addCommand(parent, name, description);
const style = () => styleFor(process.stdout, process.env, program.opts<{ color: boolean }>().color);

withConfig(command('run', 'run the service in the foreground until SIGTERM or SIGINT'))
  .addHelpText(
    'after',
    `
Examples:
  tunnel-agent run
  ZEROFORCE_HTTP_PORT=5001 tunnel-agent run --config ./config.json`,
  )
  .action(async (options: CommonOptions) => serve(async () => (await service()).run(options, pkg.version)));

withConfig(command('monitor', 'run the tunnel monitor alone, for a device whose pairing is another program'))
  .addHelpText('after', '\nExample:\n  ZEROFORCE_MONITOR_INTERVAL=2 tunnel-agent monitor')
  .action(async (options: CommonOptions) => serve(async () => (await service()).monitor(options)));

withConfig(command('status', 'ask the running service how it is'))
  .option('--json', 'print the whole status as JSON')
  .addHelpText('after', '\nExamples:\n  tunnel-agent status\n  tunnel-agent status --json')
  .action(async (options: CommonOptions & { json?: true }) => finish(await status(options, style())));

defineDiagnose(program, { style });

definePairing(command('pairing', 'look at pairing, open it, reset it'), { style, finish });

const config = command('config', 'check, show or make the configuration').addHelpText(
  'after',
  '\nExamples:\n  tunnel-agent config init --config ./config.json\n  tunnel-agent config check --config ./config.json',
);

withConfig(command('check', 'find every fault in the file and the environment', config))
  .option('--json', 'print it as JSON')
  .addHelpText('after', '\nExample:\n  tunnel-agent config check --config ./config.json')
  .action(async (options: CommonOptions & { json?: true }) => finish(await configCheck(options)));

withConfig(command('show', 'print every setting, its value and where it comes from; secrets are masked', config))
  .option('--json', 'print it as JSON')
  .addHelpText('after', '\nExamples:\n  tunnel-agent config show\n  tunnel-agent config show --json')
  .action(async (options: CommonOptions & { json?: true }) => finish(await configShow(options)));

withConfig(command('init', 'write a first configuration file, mode 0600', config))
  .option('--force', 'replace an existing file')
  .addHelpText('after', '\nExample:\n  tunnel-agent config init --config ./config.json')
  .action(async (options: CommonOptions & { force?: true }) => finish(await configInit(options)));

defineMigrate(program, { style, finish });

command('completion', 'print a script that completes commands and options in a shell')
  .addArgument(new Argument('<shell>', 'the shell that reads the script').choices(SHELLS))
  .addHelpText(
    'after',
    `
Examples:
  tunnel-agent completion bash > /etc/bash_completion.d/tunnel-agent
  tunnel-agent completion zsh > /usr/local/share/zsh/site-functions/_tunnel-agent
  tunnel-agent completion fish > /etc/fish/completions/tunnel-agent.fish`,
  )
  .action((shell: Shell) => void process.stdout.write(completion(program, shell)));

definePair(program, { style, finish });

/** Loaded only to run it: a question is answered in a third of the time without. */
const service = () => import('./service-commands.ts');
