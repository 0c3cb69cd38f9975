import { Argument } from 'commander';
import pkg from '../../package.json' with { type: 'json' };
import { completion, SHELLS, type Shell } from './completion.ts';
import { addCommand, newProgram } from './define.ts';
import { REST_COMMANDS } from './gateway-commands.ts';
import { gatewayConfigCheck, gatewayConfigShow } from './gateway-config.ts';
import { defineRestCommands } from './gateway-define.ts';
import { finish, serve } from './main.ts';
import { styleFor } from './style.ts';

/** The command line of the gateway: who runs it is `tunnel-gateway.ts`, who describes it the man page. */
export const program = newProgram(
  'tunnel-gateway',
  'The other end of the tunnel: devices connect to it, and are reached at its ports.',
)
  .addHelpText(
    'after',
    `
Exit codes:
  0   done
  1   failed
  2   the command line was wrong
  78  the configuration was wrong, or a file that the gateway cannot do without

Examples:
  tunnel-gateway serve                      run the gateway in the foreground
  tunnel-gateway device add                 add a device, print its key and token
  tunnel-gateway setup DEVICE               how a device without agent is set up
  tunnel-gateway device list                which devices are there, and connected
  tunnel-gateway open DEVICE ssh            open its ssh port, print what to type

Settings: the environment; tunnel-gateway config show lists them all. Every command but serve asks the gateway that
runs on this machine with the same environment.`,
  )
  .exitOverride();

const command = (name: string, description: string, parent = program) => addCommand(parent, name, description);
const style = () => styleFor(process.stdout, process.env, program.opts<{ color: boolean }>().color);
const examples = (...lines: string[]) =>
  `\nExample${lines.length === 1 ? '' : 's'}:${lines.map((line) => `\n  tunnel-gateway ${line}`).join('')}`;

command('serve', 'run the gateway in the foreground until SIGTERM or SIGINT')
  .option(
    '--empty-store',
    'begin with an empty database where it is missing; a damaged one was set aside by the start before',
  )
  .addHelpText('after', examples('serve', 'serve --empty-store'))
  .action((options: { emptyStore?: true }) => serve(async () => (await gateway()).serveGateway(options, pkg.version)));

command('device', 'add, list, show, let in and remove devices').addHelpText(
  'after',
  examples('device add', 'device list'),
);
command('token', 'show or change the tokens of a device').addHelpText('after', examples('token show beamer-7'));
command('forwards', 'change the services of a device').addHelpText(
  'after',
  examples('forwards set beamer-7 ssh=22 http=80'),
);
command('ports', 'look at blocked ports, and release them').addHelpText('after', examples('ports blocked'));
defineRestCommands(program, REST_COMMANDS, style);

const config = command('config', 'check or show the configuration').addHelpText('after', examples('config check'));
command('check', 'find every fault in the environment', config)
  .option('--json', 'print it as JSON')
  .addHelpText('after', examples('config check'))
  .action((options: { json?: true }) => finish(gatewayConfigCheck(options)));
command('show', 'print every setting, its value and where it comes from; secrets are masked', config)
  .option('--json', 'print it as JSON')
  .addHelpText('after', examples('config show', 'config show --json'))
  .action((options: { json?: true }) => finish(gatewayConfigShow(options)));

command('completion', 'print a script that completes commands and options in a shell')
  .addArgument(new Argument('<shell>', 'the shell that reads the script').choices(SHELLS))
  .addHelpText(
    'after',
    examples(
      'completion bash > /etc/bash_completion.d/tunnel-gateway',
      'completion zsh > /usr/local/share/zsh/site-functions/_tunnel-gateway',
      'completion fish > /etc/fish/completions/tunnel-gateway.fish',
    ),
  )
  .action((shell: Shell) => void process.stdout.write(completion(program, shell)));

/** Loaded only to run it: a question is answered sooner without. */
const gateway = () => import('./gateway-serve.ts');
