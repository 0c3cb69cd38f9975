import { type Command, Option } from 'commander';
import { CONFIG_FILE } from '../config/load.ts';

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
