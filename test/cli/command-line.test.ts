import t from 'tap';
import { run } from '../support/processes.ts';
import { PROGRAM, tunnelAgent } from '../support/service.ts';
import { type Program, testCommandLine, testWrong } from './support.ts';

const AGENT: Program = { name: 'tunnel-agent', run: tunnelAgent, path: PROGRAM, section: /^# [\s\S]*?\n## / };

testCommandLine(AGENT);

t.test('--no-color is taken before and behind a command', async (t) => {
  for (const args of [
    ['--no-color', 'config', 'show'],
    ['config', 'show', '--no-color'],
  ]) {
    const { code, stderr } = await tunnelAgent(args);
    t.equal(code, 0, stderr);
  }
});

testWrong(AGENT, [
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
  ['a check that is mistyped', ['diagnose', '--only', 'sshd.baner'], /"sshd.baner"; .*did you mean sshd.banner\?/],
  ['a port that is none', ['diagnose', '--ssh-port', '70000'], /"70000"; allowed: a whole number from 1 to 65535/],
  ['a bundle of what goes on', ['diagnose', '--watch', '--bundle', '/tmp/x'], /cannot be used with '--bundle'/],
  ['dialling without a network', ['diagnose', '--dial', '--no-network'], /cannot be used with '--no-network'/],
]);

t.test('a reader that goes away early is no failure', async (t) => {
  const script = 'set -o pipefail; "$0" config show --json | true; "$0" --help | head -n 1';
  const env = { PATH: process.env.PATH };
  const { code, stdout, stderr } = await run('bash', ['--norc', '-c', script, PROGRAM], { env });
  t.equal(stderr, '');
  t.equal(code, 0);
  t.match(stdout, /^Usage: .*\n$/);
});
