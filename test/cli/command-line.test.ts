import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { EXIT } from '../../src/cli/common.ts';
import { GATEWAY_PROGRAM, tunnelGateway } from '../support/gateway.ts';
import { type Output, run } from '../support/processes.ts';
import { PROGRAM, tunnelAgent } from '../support/service.ts';

const root = resolve(import.meta.dirname, '../../..');
const document = readFileSync(resolve(root, 'docs/cli.md'), 'utf8');
const { version } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8')) as { version: string };

type Run = (args: string[]) => Promise<Output>;

/** The program's name, how it is run, and where its commands begin and end in docs/cli.md. */
const PROGRAMS: { name: string; run: Run; path: string; section: RegExp }[] = [
  { name: 'tunnel-agent', run: tunnelAgent, path: PROGRAM, section: /^# [\s\S]*?\n## / },
  { name: 'tunnel-gateway', run: tunnelGateway, path: GATEWAY_PROGRAM, section: /\n## The gateway\n[\s\S]*?\n## / },
];

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

for (const { name, run, section } of PROGRAMS) {
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
}

t.test('--no-color is taken before and behind a command', async (t) => {
  for (const args of [
    ['--no-color', 'config', 'show'],
    ['config', 'show', '--no-color'],
  ]) {
    const { code, stderr } = await tunnelAgent(args);
    t.equal(code, 0, stderr);
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
    t.notMatch(stderr, /^\s+at .*:\d+/m);
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

for (const { name, path } of PROGRAMS) {
  t.test(`${name} runs from anywhere, through links too`, async (t) => {
    const folder = t.testdir({ link: t.fixture('symlink', path) });
    const { stdout } = await run(resolve(folder, 'link'), ['--version'], { cwd: '/', env: { PATH: process.env.PATH } });
    t.equal(stdout, `${version}\n`);
  });
}

for (const [what, args, complaint] of [
  ['no command', [], /^Usage: tunnel-gateway/],
  ['no command of a group', ['device'], /^Usage: tunnel-gateway device/],
  ['an unknown command', ['stop'], /unknown command 'stop'/],
  ['an unknown option', ['sessions', '--yaml'], /unknown option '--yaml'/],
  ['an argument too many', ['serve', 'now'], /too many arguments/],
  ['no device', ['device', 'show'], /missing required argument 'key'/],
  ['a device key that is none', ['device', 'show', '../etc'], /"..\/etc" is no device key: 1 to 64 letters/],
  ['a device key that is too long', ['logs', 'x'.repeat(65)], /is no device key/],
  ['a new device with a key that is none', ['device', 'add', '--key', 'a b'], /"a b" is no device key/],
  ['a removal where nobody can be asked', ['device', 'remove', 'a'], /option '--yes' is needed/],
  ['a token as an argument', ['token', 'rotate', 'a', 'b'], /too many arguments/],
  ['a token file without its device', ['device', 'add', '--token-code-file', '/x'], /--token-code-file needs --key/],
  ['a distribution without its device', ['device', 'add', '--distribution', 'x'], /--distribution needs --key/],
  ['a token file for the tunnel token', ['token', 'rotate', 'a', '--token-code-file', '-'], /needs --meeting/],
  ['no services', ['forwards', 'set', 'a'], /missing required argument 'services'/],
  ['a service that is none', ['forwards', 'set', 'a', 'SSH=22'], /"SSH=22" is no service/],
  ['a service with a port that is none', ['forwards', 'set', 'a', 'ssh=0'], /a port is a whole number/],
  ['minutes that are none', ['pause', 'a', 'ten'], /minutes are a number above 0/],
  ['no minutes', ['pause', 'a', '0'], /minutes are a number above 0/],
  ['a port of a relay that is none', ['open', 'a', 'relay', '--port', '99999'], /a port is a whole number/],
  ['a blocked port that is none', ['ports', 'release', 'all'], /a port is a whole number/],
] as const) {
  t.test(`tunnel-gateway: ${what} is a wrong command line: exit 2`, async (t) => {
    const { code, stdout, stderr } = await tunnelGateway([...args]);
    t.equal(code, 2, stderr);
    t.match(stderr, complaint);
    t.equal(stdout, '');
    t.notMatch(stderr, /^\s+at .*:\d+/m);
  });
}
