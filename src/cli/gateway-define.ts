import type { Command } from 'commander';
import { loadGatewayConfig } from '../config/gateway.ts';
import type { GatewayConfig } from '../config/gateway-types.ts';
import { EXIT } from './common.ts';
import { addCommand } from './define.ts';
import { openRest, type Rest } from './gateway-rest.ts';
import { finish } from './main.ts';
import { ask, canAsk } from './prompts.ts';
import type { Style } from './style.ts';

export type Options = Readonly<Record<string, string | true | undefined>>;

/** A command that asks the running gateway: what it sends, and how the answer reads. */
export interface RestCommand {
  /** With its groups and arguments: `device show <key>`. */
  readonly usage: string;
  readonly about: string;
  /** The words behind the name of the program. */
  readonly examples: readonly string[];
  /** Flags with what they mean. */
  readonly options?: Readonly<Record<string, string>>;
  /** A sentence on what is lost; then it asks first, unless `--yes` is given. */
  readonly loss?: string;
  /** Sends what has to be sent; the answer is what `--json` prints. */
  ask(rest: Rest, args: readonly string[], options: Options): Promise<unknown>;
  /** For people. */
  text(answer: unknown, context: TextContext): string;
  /** Whether what was answered is the exit code 1. */
  failed?(answer: unknown): boolean;
}

/** The command line is wrong in a way that its definition does not say. */
export class UsageError extends Error {}

export interface TextContext {
  readonly style: Style;
  readonly args: readonly string[];
  readonly config: GatewayConfig;
}

const ARGUMENTS: Readonly<Record<string, string>> = {
  '<key>': 'device key',
  '<minutes>': 'how long, fractions included',
  '<service>': 'ssh, scp, http, vnc, relay, or another of the device',
  '<services...>': 'each name=port, or name',
  '<port>': 'the port that is blocked',
};

/** Adds the commands to the program; their groups must be there. */
export function defineRestCommands(program: Command, commands: readonly RestCommand[], style: () => Style): void {
  for (const command of commands) {
    const words = command.usage.split(' ');
    const isArgument = (word: string) => word.startsWith('<');
    const path = words.filter((word) => !isArgument(word));
    const name = path.pop() ?? '';
    const parent = path.reduce((group, word) => group.commands.find((one) => one.name() === word) ?? group, program);
    const defined = addCommand(parent, name, command.about);
    for (const word of words.filter(isArgument)) {
      defined.argument(word, ARGUMENTS[word]);
    }
    for (const [flags, about] of Object.entries(command.options ?? {})) defined.option(flags, about);
    if (command.loss !== undefined) defined.option('--yes', 'do not ask');
    defined.option('--json', 'print the answer of the gateway as JSON');
    const examples = command.examples.map((words) => `\n  tunnel-gateway ${words}`).join('');
    defined.addHelpText('after', `\nExample${command.examples.length === 1 ? '' : 's'}:${examples}`);
    defined.action(async (...all: unknown[]) => {
      const [options] = all.slice(-2) as [Options, Command];
      const args = all.slice(0, -2).flat() as string[];
      const refuse = (sentence: string) => defined.error(`error: ${sentence}`);
      try {
        finish(await run(command, args, options, { style: style(), refuse }));
      } catch (error) {
        throw error instanceof UsageError ? refuse(error.message) : error;
      }
    });
  }
}

async function run(
  command: RestCommand,
  args: string[],
  options: Options,
  { style, refuse }: { style: Style; refuse: (sentence: string) => never },
): Promise<number> {
  const { config } = loadGatewayConfig(process.env);
  if (command.loss !== undefined && options.yes !== true) {
    if (!canAsk()) refuse("option '--yes' is needed where nobody can be asked");
    process.stderr.write(`${command.loss}\n`);
    const answer = await ask('Type yes to go on: ', { hidden: false, signal: new AbortController().signal });
    if (answer?.trim().toLowerCase() !== 'yes') {
      process.stderr.write('Nothing was changed.\n');
      return EXIT.failed;
    }
  }
  let opened: Promise<Rest> | null = null;
  const rest: Rest = async (route, body) => {
    opened ??= openRest(config); // not before the command line is known to be right
    return (await opened)(route, body);
  };
  const answer = await command.ask(rest, args, options);
  const text = options.json ? `${JSON.stringify(answer, null, 2)}\n` : command.text(answer, { style, args, config });
  process.stdout.write(text);
  return command.failed?.(answer) ? EXIT.failed : EXIT.ok;
}
