import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { EXIT } from '../../src/cli/common.ts';
import { type Output, run as runProgram } from '../support/processes.ts';

const root = resolve(import.meta.dirname, '../../..');
const document = readFileSync(resolve(root, 'docs/cli.md'), 'utf8');
const { version } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8')) as { version: string };

type Run = (args: string[]) => Promise<Output>;

/** A program, as docs/cli.md tells of it. */
export interface Program {
  name: string;
  run: Run;
  path: string;
  /** Where its commands stand in the document. */
  section: RegExp;
}

const helps = new Map<string, Promise<Output>>();

/** What `--help` of a command prints, asked for once. */
function help(run: Run, command: string): Promise<Output> {
  const name = `${run.name} ${command}`;
  const output = helps.get(name) ?? run([...command.split(' ').filter(Boolean), '--help']);
  helps.set(name, output);
  return output;
}

/** The commands that a help lists, without the `help` of every program. */
async function listed(run: Run, command = ''): Promise<string[]> {
  const { stdout } = await help(run, command);
  const section = /^Commands:\n((?: .*\n)+)/m.exec(stdout)?.[1] ?? '';
  return [...section.matchAll(/^ {2}(\S+)/gm)].map((match) => match[1] ?? '').filter((name) => name !== 'help');
}

/** Every command that does something, with the words that lead to it, and the groups that they stand in. */
async function everyCommand(run: Run): Promise<{ commands: string[]; groups: string[] }> {
  const [commands, groups]: [string[], string[]] = [[], []];
  for (const name of await listed(run)) {
    const below = await listed(run, name);
    if (below.length === 0) commands.push(name);
    else groups.push(name);
    commands.push(...below.map((child) => `${name} ${child}`));
  }
  return { commands, groups };
}

/** What holds for every program: its help, its documentation, its version. */
export function testCommandLine({ name, run, path, section }: Program): void {
  t.test(`docs/cli.md has every command of ${name}, with its arguments and options, and no other`, async (t) => {
    const { commands } = await everyCommand(run);
    t.ok(commands.length > 5, 'there is something to compare');
    const actual: string[] = [];
    for (const command of commands) {
      const { stdout } = await help(run, command);
      const options = [...stdout.matchAll(/^ +(?:-\w, )?--([a-z-]+)/gm)].map((match) => match[1]);
      const own = [...new Set(options)].filter(
        (name) => !['help', 'config', 'version', 'no-color'].includes(name ?? ''),
      );
      const argument = /^ +\w+ +.*\(choices: ([^)]*)\)/m.exec(stdout.replaceAll(/\n {5,}/g, ' '))?.[1];
      const needed = (/^Usage: .*$/m.exec(stdout)?.[0] ?? '').match(/<[^>]*>/g) ?? [];
      const choices = argument === undefined ? needed : [argument.replaceAll(/"|\s/g, '').replaceAll(',', '\\|')];
      actual.push([command, ...choices, ...own.map((name) => `[--${name}]`)].join(' '));
    }
    const table = section.exec(document)?.[0] ?? '';
    const documented = [...table.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1]);
    t.strictSame(documented.sort(), [...actual, '--version'].sort());
  });

  t.test(`the help of every command of ${name} has an example that names it`, async (t) => {
    const { commands, groups } = await everyCommand(run);
    const without = new Set(['', ...groups, 'completion', 'pair']);
    for (const command of ['', ...groups, ...commands]) {
      const { code, stdout, stderr } = await help(run, command);
      t.equal(code, 0);
      t.equal(stderr, '');
      t.match(stdout, new RegExp(`^Usage: ${name}`));
      t.match(stdout, new RegExp(`^Examples?:\\n(?:.*\\n)*  .*${name} ${command}`, 'm'), command);
      if (name === 'tunnel-agent' && !without.has(command)) t.match(stdout, '--config <file>', command);
    }
  });

  t.test(`the exit codes of ${name} stand in docs/cli.md and in the help`, async (t) => {
    const documented = [...document.matchAll(/^\| (\d+) \|/gm)].map((match) => Number(match[1]));
    t.strictSame(documented, Object.values(EXIT));
    const { stdout } = await help(run, '');
    for (const code of documented) t.match(stdout, new RegExp(`^ {2}${code} `, 'm'));
  });

  t.test(`${name} --version prints the version of the package, and nothing else`, async (t) => {
    for (const option of ['--version', '-V']) {
      t.strictSame(await run([option]), { code: 0, stdout: `${version}\n`, stderr: '' });
    }
  });

  t.test(`${name} runs from anywhere, through links too`, async (t) => {
    const folder = t.testdir({ link: t.fixture('symlink', path) });
    const { stdout } = await runProgram(resolve(folder, 'link'), ['--version'], {
      cwd: '/',
      env: { PATH: process.env.PATH },
    });
    t.equal(stdout, `${version}\n`);
  });
}

/** Command lines that are wrong, each with what is complained of. */
export function testWrong(
  { name, run }: Program,
  wrong: readonly (readonly [string, readonly string[], RegExp])[],
): void {
  for (const [what, args, complaint] of wrong) {
    t.test(`${name}: ${what} is a wrong command line: exit 2`, async (t) => {
      const { code, stdout, stderr } = await run([...args]);
      t.equal(code, 2, stderr);
      t.match(stderr, complaint);
      t.equal(stdout, '');
      t.notMatch(stderr, /^\s+at .*:\d+/m);
    });
  }
}
