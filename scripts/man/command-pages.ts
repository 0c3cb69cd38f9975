import type { EventEmitter } from 'node:events';
import type { Command, Option } from 'commander';
import { bold, italic, item, paragraph, plain, section, subsection, verbatim } from './roff.ts';

/** What a program cannot say of itself in its own definition. */
export interface AboutProgram {
  program: Command;
  /** Behind its name in the synopsis, where no command is named. */
  description: readonly string[];
  /** Further sections: environment, files, see also. */
  rest: readonly string[];
}

/** The body of the page of a program, from its commander definition: what `--help` says of every command, once. */
export function commandPage({ program, description, rest }: AboutProgram): string[] {
  const name = program.name();
  const said = afterHelp(program);
  return [
    ...section('NAME', `${plain(name)} \\- ${plain(asTitle(program.description()))}`),
    ...section(
      'SYNOPSIS',
      `${bold(name)} ${usageOf('command')}`,
      '.br',
      `${bold(name)} ${bold('help')} [${bold('command')}]`,
    ),
    ...section('DESCRIPTION', ...description.map(plain)),
    ...section('OPTIONS', ...optionItems(program)),
    ...section('COMMANDS', ...leaves(program).flatMap((command) => commandSection(command, name))),
    ...said.flatMap(({ title, lines }) => endSection(title, lines)),
    ...rest,
  ];
}

const usageOf = (word: string) => `\\fI${word}\\fR [\\fIoptions\\fR]`;

/** `Pairs this device once.` → `pairs this device once`, as whatis(1) lists it. */
function asTitle(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1).replace(/\.$/, '');
}

/** The commands that do something; a group stands in their names. */
function leaves(command: Command): Command[] {
  return command.commands.flatMap((child) => (child.commands.length > 0 ? leaves(child) : [child]));
}

function commandSection(command: Command, program: string): string[] {
  const words: string[] = [];
  for (let at: Command | null = command; at !== null && at.name() !== program; at = at.parent) words.unshift(at.name());
  const args = command.registeredArguments.map((argument) => {
    const shown = `${argument.name()}${argument.variadic ? '...' : ''}`;
    return italic(argument.required ? shown : `[${shown}]`);
  });
  const about = command.description();
  return [
    ...subsection([bold(`${program} ${words.join(' ')}`), ...args, '[\\fIoptions\\fR]'].join(' ')),
    `${plain(about.charAt(0).toUpperCase() + about.slice(1))}.`,
    ...command.registeredArguments
      .filter(({ description }) => description !== '')
      .flatMap((argument) => {
        const choices = argument.argChoices === undefined ? '' : ` (${argument.argChoices.join(', ')})`;
        return item(italic(argument.name()), plain(`${argument.description}${choices}`));
      }),
    ...optionItems(command),
    ...afterHelp(command).flatMap(({ title, lines }) => [...paragraph(`${plain(title)}:`), ...verbatim(lines)]),
  ];
}

function optionItems(command: Command): string[] {
  const options = command.createHelp().visibleOptions(command);
  return options.filter(({ long }) => long !== '--help' || command.parent === null).flatMap(optionItem);
}

function optionItem({ flags, description, defaultValue, argChoices }: Option): string[] {
  const fallback = typeof defaultValue === 'string' ? ` (default: ${defaultValue})` : '';
  const choices = argChoices === undefined ? [] : ['.br', `Choices: ${plain(argChoices.join(', '))}.`];
  return item(bold(flags), plain(`${description}${fallback}`), ...choices);
}

interface Said {
  title: string;
  lines: string[];
}

/** What stands below the help of a command: `Examples:` with indented lines, and paragraphs. */
function afterHelp(command: Command): Said[] {
  let text = '';
  const write = (piece: string) => {
    text += piece;
  };
  // Its types hide that a command is an emitter; this is how the help itself asks for it.
  (command as unknown as EventEmitter).emit('afterHelp', { error: false, command, write });
  const said: Said[] = [];
  for (const block of text.trim().split(/\n\n+/).filter(Boolean)) {
    const [first = '', ...rest] = block.split('\n');
    const indented = rest.length > 0 && rest.every((line) => line.startsWith('  '));
    if (indented && first.endsWith(':')) said.push({ title: first.slice(0, -1), lines: rest });
    else said.push({ title: '', lines: [first, ...rest] });
  }
  return said.map(({ title, lines }) => ({ title: title === '' ? 'Notes' : title, lines }));
}

const TITLES: Readonly<Record<string, string>> = { 'Exit codes': 'EXIT STATUS', Examples: 'EXAMPLES', Notes: 'NOTES' };

function endSection(title: string, lines: readonly string[]): string[] {
  const heading = TITLES[title] ?? title.toUpperCase();
  if (title === 'Notes') return section(heading, ...lines.map(plain));
  if (title !== 'Exit codes') return section(heading, ...verbatim(lines));
  const items = lines.flatMap((line) => {
    const [, code = '', about = ''] = /^ +(\S+) +(.*)$/.exec(line) ?? [];
    return item(bold(code), plain(about));
  });
  return section(heading, ...items);
}
