import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { temporaryFolder } from '../device/support.ts';
import { tunnelGateway } from '../support/gateway.ts';
import { type Output, run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { tunnelAgent } from '../support/service.ts';

interface Command {
  words: string[];
  commands: string[];
  /** With their dashes. */
  options: string[];
}

/** Every command of the program, as its own help tells it. */
async function everyCommand(words: string[] = []): Promise<Command[]> {
  const { stdout } = await tunnelAgent([...words, '--help']);
  const section = /^Commands:\n((?: .*\n)+)/m.exec(stdout)?.[1] ?? '';
  const commands = [...section.matchAll(/^ {2}(\w\S*)/gm)]
    .map((match) => match[1] ?? '')
    .filter((name) => name !== 'help');
  const options = [...stdout.matchAll(/^ {2}(?:(-\w), )?(--[a-z-]+)/gm)].flatMap(([, short, long]) => [short, long]);
  const below = await Promise.all(commands.map((name) => everyCommand([...words, name])));
  return [{ words, commands, options: options.filter((name) => name !== undefined) }, ...below.flat()];
}

const all = everyCommand();

/** Completes each line in a real shell: `tunnel-agent ` and the line, the cursor at its end. */
type Complete = (t: Test, lines: string[]) => Promise<Map<string, string[]>>;

const scripts = new Map<string, Promise<Output>>();

async function scriptFor(t: Test, shell: string): Promise<{ folder: string; script: string }> {
  const folder = temporaryFolder(t);
  const made = scripts.get(shell) ?? tunnelAgent(['completion', shell]);
  scripts.set(shell, made);
  const { code, stdout, stderr } = await made;
  t.equal(code, 0, stderr);
  const script = join(folder, 'script');
  writeFileSync(script, stdout);
  for (const name of ['settings.json', 'with space.json']) writeFileSync(join(folder, name), '');
  mkdirSync(join(folder, 'sub'));
  return { folder, script };
}

/** What a shell printed: each line in front of its completions, marked. */
function parseAnswers(output: string): Map<string, string[]> {
  const answers = new Map<string, string[]>();
  let current: string[] = [];
  for (const line of output.split('\n')) {
    if (line.startsWith('=== ')) {
      current = [];
      answers.set(line.slice(4), current);
    } else if (line !== '') current.push(line);
  }
  return answers;
}

const inBash: Complete = async (t, lines) => {
  const { folder, script } = await scriptFor(t, 'bash');
  // Readline splits at = too; and a name that holds blanks is one word.
  const body = lines.map((line) => {
    const words = line.split(' ').flatMap((word) => word.split(/(=)/).filter((part, at) => part !== '' || at === 0));
    return `COMP_WORDS=(tunnel-agent ${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length}
COMPREPLY=(); _tunnel_agent; printf '=== %s\\n' '${line}'; printf '%s\\n' "\${COMPREPLY[@]}"`;
  });
  const all = ['set -u', `source '${script}'`, 'complete -p tunnel-agent >/dev/null || echo unknown', ...body];
  const { stdout, stderr } = await run('bash', ['--norc', '--noprofile'], { input: all.join('\n'), cwd: folder });
  t.equal(stderr, '');
  return parseAnswers(stdout);
};

const inFish: Complete = async (t, asked) => {
  const { folder, script } = await scriptFor(t, 'fish');
  const body = asked.map((line) => `echo '=== ${line}'; complete -C 'tunnel-agent ${line}'`);
  const lines = join(folder, 'lines'); // fish reads no script from the socket that is a child's input here
  writeFileSync(lines, [`source '${script}'`, ...body].join('\n'));
  const { stdout, stderr } = await run('fish', ['--no-config', lines], {
    cwd: folder,
    env: { PATH: process.env.PATH, HOME: folder },
  });
  t.equal(stderr, '');
  return parseAnswers(stdout.replace(/\t.*$/gm, ''));
};

/** zsh completes on a terminal only, so one is made; what would be shown is written to a file instead. */
const inZsh: Complete = async (t, lines) => {
  const { folder, script } = await scriptFor(t, 'zsh');
  const found = join(folder, 'found');
  const inside = join(folder, 'inside');
  writeFileSync(
    inside,
    `cd '${folder}'
autoload -Uz compinit && compinit -u -D
source '${script}'
compadd() {
  local -a hits
  if (( \${@[(I)-[OAD]*]} == 0 )); then
    builtin compadd -O hits "$@"
    print -rl -- $hits >>'${found}'
  fi
  builtin compadd "$@"
}
ended() { print -r -- '--- end' >>'${found}' }
complete-here() { comppostfuncs=(ended); zle list-choices; BUFFER= }
zle -N complete-here
bindkey '^X' complete-here
print -r -- READY`,
  );
  const drive = `zmodload zsh/zpty zsh/zselect
zpty -b inner "HOME='${folder}' zsh -f -i"
zpty -w inner 'source ${inside}'
integer waited=0
until zpty -r -t inner out '*READY*' || (( ++waited > 500 )); do zselect -t 2; done
ends() { ended=\${#\${(M)\${(f)"$(<'${found}')"}:#--- end}} }
${lines
  .map(
    (line, index) => `print -r -- '=== ${line}' >>'${found}'
zpty -w -n inner $'tunnel-agent ${line}\\x18'
waited=0
until ends; (( ended > ${index} || ++waited > 500 )); do zpty -r -t inner out; zselect -t 2; done`,
  )
  .join('\n')}
zpty -d inner
cat '${found}'`;
  const { stdout, stderr } = await run('zsh', ['-f', '-c', drive], {
    env: { PATH: process.env.PATH, TERM: 'xterm' },
    timeoutMs: 60_000,
  });
  t.equal(stderr, '');
  return parseAnswers(stdout.replaceAll('--- end\n', ''));
};

for (const [shell, complete] of [
  ['bash', inBash],
  ['zsh', inZsh],
  ['fish', inFish],
] as const) {
  const needs = requires(shell);
  const sorted = (names: string[] = []) => [...new Set(names)].sort();

  t.test(`${shell}: every command and every option is offered, where it belongs and nowhere else`, needs, async (t) => {
    const commands = await all;
    t.ok(commands.length > 10, 'there is something to complete');
    const line = ({ words }: Command, rest: string) => [...words, rest].join(' ');
    const lines = commands.flatMap((command) => [line(command, ''), line(command, '--')]);
    const answers = await complete(t, lines);
    for (const command of commands) {
      const name = command.words.join(' ') || 'the program';
      if (command.commands.length > 0) {
        t.strictSame(sorted(answers.get(line(command, ''))), sorted(command.commands), name);
      }
      const long = command.options.filter((option) => option.startsWith('--'));
      t.strictSame(sorted(answers.get(line(command, '--'))), sorted(long), `${name} --`);
    }
  });

  t.test(`${shell}: words in progress, choices, files and values`, needs, async (t) => {
    const answers = await complete(t, [
      'co',
      'pairing st',
      'completion ',
      'completion f',
      '--no-color pairing op',
      'status --config se',
      'status -c se',
      'status --config=se',
      'status --config run --j',
      'pairing pin --st',
      'config check --config settings.json --js',
      'diagnose --only api.a',
      'diagnose --only sshd.banner,api.a',
      'diagnose --only api.device --js',
      'nonsense ',
    ]);
    const is = (line: string, expected: string[]) => t.strictSame(sorted(answers.get(line)), expected, line);
    is('co', ['completion', 'config']);
    is('pairing st', ['status']);
    is('completion ', ['bash', 'fish', 'zsh']);
    is('completion f', ['fish']);
    is('--no-color pairing op', ['open']);
    is('status -c se', ['settings.json']);
    is('status --config se', ['settings.json']);
    t.match(answers.get('status --config=se')?.join(), /settings\.json$/); // with or without what stands before it
    is('status --config run --j', ['--json']);
    is('pairing pin --st', ['--stdin']);
    is('config check --config settings.json --js', ['--json']);
    is('diagnose --only api.a', ['api.authorized', 'api.availability']);
    const listed = sorted(answers.get('diagnose --only sshd.banner,api.a'));
    t.match(listed.join(' '), /^(\S+,)?api.authorized (\S+,)?api.availability$/);
    is('diagnose --only api.device --js', ['--json']);
    t.notOk(answers.get('nonsense ')?.includes('open'));
  });
}

t.test('bash: file names with blanks stay whole', requires('bash'), async (t) => {
  const answers = await inBash(t, ['status --config w']);
  t.strictSame(answers.get('status --config w'), ['with space.json']);
});

t.test('another shell is refused, with the choices', async (t) => {
  const { code, stdout, stderr } = await tunnelAgent(['completion', 'csh']);
  t.equal(code, 2);
  t.equal(stdout, '');
  t.match(stderr, /Allowed choices are bash, zsh, fish/);
});

t.test('bash: the commands of tunnel-gateway are completed, too', requires('bash'), async (t) => {
  const { code, stdout: script, stderr } = await tunnelGateway(['completion', 'bash']);
  t.equal(code, 0, stderr);
  const lines = [
    ['tunnel-gateway device s', ['show']],
    ['tunnel-gateway token rotate beamer-7 --me', ['--meeting']],
    ['tunnel-gateway serve --', ['--empty-store', '--help', '--no-color', '--version']],
  ] as const;
  for (const [line, expected] of lines) {
    const words = line.split(' ');
    const ask = `COMP_WORDS=(${words.join(' ')}); COMP_CWORD=${words.length - 1}; _tunnel_gateway; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = await run('bash', ['--norc', '--noprofile'], { input: `${script}\n${ask}\n` });
    t.strictSame(stdout.trim().split('\n').sort(), [...expected], line);
  }
});
