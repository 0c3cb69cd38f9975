import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { EXIT } from '../../src/cli/common.ts';
import { type Output, run } from '../support/processes.ts';
import { PROGRAM, tunnelAgent } from '../support/service.ts';

const root = resolve(import.meta.dirname, '../../..');
const document = readFileSync(resolve(root, 'docs/cli.md'), 'utf8');
const [commandTable = ''] = document.split('\n## ');
const { version } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8')) as { version: string };

const helps = new Map<string, Promise<Output>>();

/** What `--help` of a command prints, asked for once. */
function help(command: string): Promise<Output> {
  const output = helps.get(command) ?? tunnelAgent([...command.split(' ').filter(Boolean), '--help']);
  helps.set(command, output);
  return output;
}

/** The commands that a help lists, without the `help` of every program. */
async function listed(command = ''): Promise<string[]> {
  const { stdout } = await help(command);
  const section = /^Commands:\n((?: .*\n)+)/m.exec(stdout)?.[1] ?? '';
  return [...section.matchAll(/^ {2}(\S+)/gm)].map((match) => match[1] ?? '').filter((name) => name !== 'help');
}

/** Every command that does something, with the words that lead to it, and the groups that they stand in. */
async function everyCommand(): Promise<{ commands: string[]; groups: string[] }> {
  const [commands, groups]: [string[], string[]] = [[], []];
  for (const name of await listed()) {
    const below = await listed(name);
    if (below.length === 0) commands.push(name);
    else groups.push(name);
    commands.push(...below.map((child) => `${name} ${child}`));
  }
  return { commands, groups };
}

t.test('docs/cli.md has every command, with its options, and no other', async (t) => {
  const { commands } = await everyCommand();
  t.ok(commands.length > 5, 'there is something to compare');
  const actual: string[] = [];
  for (const command of commands) {
    const { stdout } = await help(command);
    const options = [...stdout.matchAll(/^ +(?:-\w, )?--([a-z-]+)/gm)].map((match) => match[1]);
    const own = [...new Set(options)].filter((name) => !['help', 'config', 'version', 'no-color'].includes(name ?? ''));
    const argument = /^ +\w+ +.*\(choices: ([^)]*)\)/m.exec(stdout.replaceAll(/\n {5,}/g, ' '))?.[1];
    const choices = argument === undefined ? [] : [argument.replaceAll(/"|\s/g, '').replaceAll(',', '\\|')];
    actual.push([command, ...choices, ...own.map((name) => `[--${name}]`)].join(' '));
  }
  const documented = [...commandTable.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1]);
  t.strictSame(documented.sort(), [...actual, '--version'].sort());
});

t.test('the help of every command has an example that names it, and --config where it applies', async (t) => {
  const { commands, groups } = await everyCommand();
  const without = new Set(['', ...groups, 'completion', 'pair']);
  for (const command of ['', ...groups, ...commands]) {
    const { code, stdout, stderr } = await help(command);
    t.equal(code, 0);
    t.equal(stderr, '');
    t.match(stdout, /^Usage: tunnel-agent/);
    t.match(stdout, new RegExp(`^Examples?:\\n(?:.*\\n)*  .*tunnel-agent ${command}`, 'm'), command);
    if (!without.has(command)) t.match(stdout, '--config <file>', command);
  }
});

t.test('--no-color is taken before and behind a command', async (t) => {
  for (const args of [
    ['--no-color', 'config', 'show'],
    ['config', 'show', '--no-color'],
  ]) {
    const { code, stderr } = await tunnelAgent(args);
    t.equal(code, 0, stderr);
  }
});

t.test('the exit codes stand in docs/cli.md and in the help', async (t) => {
  const documented = [...document.matchAll(/^\| (\d+) \|/gm)].map((match) => Number(match[1]));
  t.strictSame(documented, Object.values(EXIT));
  const { stdout } = await help('');
  for (const code of documented) t.match(stdout, new RegExp(`^ {2}${code} `, 'm'));
});

t.test('--version prints the version of the package, and nothing else', async (t) => {
  for (const option of ['--version', '-V']) {
    t.strictSame(await tunnelAgent([option]), { code: 0, stdout: `${version}\n`, stderr: '' });
  }
});

for (const [what, args, complaint] of [
  ['no command', [], /^Usage: tunnel-agent/],
  ['no command of pairing', ['pairing'], /^Usage: tunnel-agent pairing/],
  ['no shell to complete for', ['completion'], /missing required argument 'shell'/],
  ['a reset where nobody can be asked', ['pairing', 'reset'], /option '--yes' is needed/],
  ['a PIN that is set and removed', ['pairing', 'pin', '--stdin', '--remove'], /cannot be used with/],
  ['a PIN as an argument', ['pairing', 'pin', '12345678'], /too many arguments/],
  ['no command of config', ['config'], /^Usage: tunnel-agent config/],
  ['an unknown command', ['stop'], /unknown command 'stop'/],
  ['an unknown command of config', ['config', 'edit'], /unknown command 'edit'/],
  ['an unknown option', ['status', '--yaml'], /unknown option '--yaml'/],
  ['an unknown option of the program', ['--quiet'], /unknown option '--quiet'/],
  ['an option of another command', ['run', '--json'], /unknown option '--json'/],
  ['an argument too many', ['status', 'now'], /too many arguments/],
  ['an argument too many for run', ['run', 'now'], /too many arguments/],
  ['an option without its value', ['status', '--config'], /argument missing/],
] as const) {
  t.test(`${what} is a wrong command line: exit 2`, async (t) => {
    const { code, stdout, stderr } = await tunnelAgent([...args]);
    t.equal(code, 2);
    t.match(stderr, complaint);
    t.equal(stdout, '');
    t.notMatch(stderr, /^\s+at /m);
  });
}

t.test('a reader that goes away early is no failure', async (t) => {
  const script = 'set -o pipefail; "$0" config show --json | true; "$0" --help | head -n 1';
  const env = { PATH: process.env.PATH };
  const { code, stdout, stderr } = await run('bash', ['--norc', '-c', script, PROGRAM], { env });
  t.equal(stderr, '');
  t.equal(code, 0);
  t.match(stdout, /^Usage: .*\n$/);
});

t.test('the program runs from anywhere, through links too', async (t) => {
  const folder = t.testdir({ link: t.fixture('symlink', PROGRAM) });
  const { stdout } = await run(resolve(folder, 'link'), ['--version'], { cwd: '/', env: { PATH: process.env.PATH } });
  t.equal(stdout, `${version}\n`);
});
