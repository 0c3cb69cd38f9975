import { Command, Option } from 'commander';
import pkg from '../../package.json' with { type: 'json' };
import { CONFIG_FILE } from '../config/load.ts';

/** A program, with what both of ours have. */
export function newProgram(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .version(pkg.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .option('--no-color', 'print no colours, also on a terminal')
    .configureHelp({ showGlobalOptions: true });
}

/** Adds a command to the program or to a group of it. */
export function addCommand(parent: Command, name: string, description: string): Command {
  return parent
    .command(name)
    .description(description)
    .helpOption('-h, --help', 'print this help')
    .allowExcessArguments(false)
    .exitOverride();
}

/** Adds the option that names the configuration file. */
export function withConfig(target: Command): Command {
  return target.addOption(new Option('-c, --config <file>', `the configuration file (default: ${CONFIG_FILE})`));
}
