import type { Command, Option } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A command of the program, as far as a shell has to know it. */
interface Shape {
  /** The words that lead to it, without the name of the program: `config check`; '' for the program itself. */
  path: string;
  commands: { name: string; description: string }[];
  options: Flag[];
  /** What its argument can be; empty where it takes none, or any text. */
  choices: string[];
}

interface Flag {
  /** As they are written: `-c`, `--config`. */
  names: string[];
  description: string;
  /** What has to stand behind it: a file, any other text, or nothing. */
  value: 'file' | 'text' | null;
  /** What that can be, several with commas between them; empty for any text. */
  choices: readonly string[];
}

/** A script that completes the commands and options of this program, made from its definition. */
export function completion(program: Command, shell: Shell): string {
  const shapes = shapesOf(program, '', []);
  const name = program.name();
  return { bash, zsh, fish }[shell](name, shapes);
}

function shapesOf(command: Command, path: string, inherited: readonly Option[]): Shape[] {
  const help = command.createHelp();
  const own = help.visibleOptions(command);
  const children = command.commands;
  const names = (option: Option) => [option.short, option.long].filter((name) => name !== undefined);
  const shape = {
    path,
    commands: children.map((child) => ({ name: child.name(), description: child.description() })),
    options: [...own, ...inherited].map((option) => ({
      names: names(option),
      description: option.description,
      value: option.required ? (/<file>/.test(option.flags) ? 'file' : 'text') : null,
      choices: option.argChoices ?? [],
    })) satisfies Flag[] as Flag[],
    choices: command.registeredArguments.flatMap((argument) => argument.argChoices ?? []),
  };
  const passedOn = path === '' ? own.filter(({ long }) => long !== '--help') : inherited;
  return [shape, ...children.flatMap((child) => shapesOf(child, `${path} ${child.name()}`.trim(), passedOn))];
}

const HEADER = (name: string, shell: string) =>
  `# Completion of ${name} for ${shell}, made by: ${name} completion ${shell}`;
const functionName = (name: string) => `_${name.replaceAll('-', '_')}`;
const flagNames = (options: readonly Flag[], value?: Flag['value']) =>
  options.filter((option) => value === undefined || option.value === value).flatMap(({ names }) => names);

function bash(name: string, shapes: Shape[]): string {
  const takingText = shapes.flatMap(({ path, options }) =>
    options.filter(({ value }) => value !== null).flatMap(({ names }) => names.map((flag) => `'${path} ${flag}'`)),
  );
  const takingFile = shapes.flatMap(({ path, options }) =>
    flagNames(options, 'file').map((flag) => `'${path} ${flag}'`),
  );
  const lists = shapes.flatMap(({ path, options }) =>
    options
      .filter(({ choices }) => choices.length > 0)
      .map(({ names, choices }) => {
        const flags = names.map((flag) => `'${path} ${flag}'`).join('|');
        return `      ${flags}) mapfile -t COMPREPLY < <(compgen -P "$listed" -W '${choices.join(' ')}' -- "\${current#"$listed"}") ;;\n`;
      }),
  );
  const steps = shapes.flatMap(({ path, commands }) =>
    commands.map((child) => `      '${path} ${child.name}') path='${`${path} ${child.name}`.trim()}' ;;`),
  );
  const offers = shapes.map(
    ({ path, commands, options, choices }) =>
      `    '${path}') words='${[...commands.map((child) => child.name), ...choices].join(' ')}' flags='${flagNames(options).join(' ')}' ;;`,
  );
  return `${HEADER(name, 'bash')}
${functionName(name)}() {
  local current=\${COMP_WORDS[COMP_CWORD]} before='' path='' words='' flags='' listed='' word index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    [[ $word == '=' ]] && continue # bash splits --config=FILE in three
    if [[ -n $before ]]; then before='' && continue; fi
    case "$path $word" in
      ${takingText.join('|')}) before=$word ;;
${steps.join('\n')}
    esac
  done
  [[ $current == '=' ]] && current=''
  if [[ -n $before ]]; then
    [[ $current == *,* ]] && listed=\${current%,*},
    case "$path $before" in
      ${takingFile.join('|')})
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
${lists.join('')}      *) COMPREPLY=() ;;
    esac
    return
  fi
  case "$path" in
${offers.join('\n')}
  esac
  [[ -z $words || $current == -* ]] && words=$flags
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F ${functionName(name)} ${name}
`;
}

/** For words in single quotes of a shell. */
const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

function zsh(name: string, shapes: Shape[]): string {
  const functionOf = (path: string) => `${functionName(name)}${path === '' ? '' : `_${path.replaceAll(/[ -]/g, '_')}`}`;
  const spec = ({ names, description, value, choices }: Flag) => {
    const text = description.replaceAll(/[[\]\\:]/g, '\\$&');
    const one = choices.length > 0 ? `_values -s , value ${choices.join(' ')}` : ' ';
    const behind = { file: ':file:_files', text: `:value:${one}`, none: '' }[value ?? 'none'];
    const form = (flag: string) => (value !== null && flag.startsWith('--') ? `${flag}=` : flag);
    return names.map((flag) => quoted(`(${names.join(' ')})${form(flag)}[${text}]${behind}`)).join(' ');
  };
  const functions = shapes.map(({ path, commands, options, choices }) => {
    const specs = options.map(spec);
    if (choices.length > 0) specs.push(quoted(`1:argument:(${choices.join(' ')})`));
    if (commands.length === 0) return `${functionOf(path)}() {\n  _arguments -s \\\n    ${specs.join(' \\\n    ')}\n}`;
    specs.push(quoted('1: :->command'), quoted('*:: :->rest'));
    const list = commands.map((child) => quoted(`${child.name}:${child.description.replaceAll(':', '\\:')}`));
    const cases = commands.map((child) => `        ${child.name}) ${functionOf(`${path} ${child.name}`.trim())} ;;`);
    return `${functionOf(path)}() {
  local context state line
  typeset -A opt_args
  _arguments -s -C \\
    ${specs.join(' \\\n    ')}
  case $state in
    command)
      local -a subcommands=(
        ${list.join('\n        ')}
      )
      _describe command subcommands ;;
    rest)
      case $line[1] in
${cases.join('\n')}
      esac ;;
  esac
}`;
  });
  return `#compdef ${name}
${HEADER(name, 'zsh')}
${functions.join('\n')}
if [[ $funcstack[1] == _${name} ]]; then
  ${functionName(name)} "$@"
else
  compdef ${functionName(name)} ${name}
fi
`;
}

function fish(name: string, shapes: Shape[]): string {
  const pathFunction = `__${name.replaceAll('-', '_')}_path`;
  const taking = shapes.flatMap(({ path, options }) =>
    options
      .filter(({ value }) => value !== null)
      .flatMap(({ names }) => names.map((flag) => quoted(`${path} ${flag}`))),
  );
  const steps = shapes.flatMap(({ path, commands }) => commands.map((child) => quoted(`${path} ${child.name}`)));
  const lines = shapes.flatMap(({ path, commands, options, choices }) => {
    const start = `complete -c ${name} -n "test (${pathFunction}) = '${path}'"`;
    return [
      ...commands.map((child) => `${start} -a ${child.name} -d ${quoted(child.description)}`),
      ...choices.map((choice) => `${start} -a ${choice}`),
      ...options.map(({ names, description, value, choices }) => {
        const flags = names.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
        const list = `(__fish_complete_list , 'string split " " "${choices.join(' ')}"')`;
        const one = choices.length > 0 ? ` -a ${quoted(list)}` : '';
        const behind = { file: ' -r -F', text: ` -x${one}`, none: '' }[value ?? 'none'];
        return `${start} ${flags.join(' ')}${behind} -d ${quoted(description)}`;
      }),
    ];
  });
  return `${HEADER(name, 'fish')}
function ${pathFunction}
    set -l path ''
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$path $word"
            case ${taking.join(' ')}
                set skip 1
            case ${steps.join(' ')}
                set path (string trim "$path $word")
        end
    end
    echo $path
end
complete -c ${name} -f
${lines.join('\n')}
`;
}
