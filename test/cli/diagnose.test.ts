import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import type { Report } from '../../src/diagnose/report.ts';
import { descendants, run, withoutTap } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { until } from '../support/until.ts';

/** Two checks that any machine can make. */
const ONLY = ['--only', 'config.valid,clock.sane'];

/** A folder with a configuration, and the command about it. */
function subject(t: Test, config = '{}'): { file: string; args: string[]; configure: (text: string) => void } {
  const file = join(t.testdir(), 'config.json');
  const configure = (text: string) => writeFileSync(file, text, { mode: 0o600 });
  configure(config);
  return { file, configure, args: ['diagnose', '--config', file, ...ONLY] };
}

const BROKEN = '{"tunnel": {"port": 70000}}';
const env = { PATH: process.env.PATH };
const agent = (args: string[]) => run(PROGRAM, args, { env });

t.test('--json prints the report, with its fields in their order, and nothing else', async (t) => {
  const { args } = subject(t, BROKEN);
  const { code, stdout, stderr } = await agent([...args, '--json', '--dial']);
  t.equal(code, 1);
  const report = JSON.parse(stdout) as Report;
  t.strictSame(Object.keys(report), ['ok', 'version', 'device', 'startedAt', 'durationMs', 'cause', 'checks']);
  for (const check of report.checks) {
    t.strictSame(Object.keys(check), [
      ...['id', 'title', 'status', 'summary', 'evidence', 'remedy', 'dependsOn', 'durationMs'],
    ]);
  }
  t.match(report, { ok: false, cause: 'config.valid', startedAt: /^\d{4}-\d\d-\d\dT[\d:.]+Z$/ });
  t.match(stderr, /--dial replaces a session/, 'who dials is warned, beside the report');
});

t.test(
  'nothing failed: exit 0; a broken configuration, or one that is not there, is a failed check: exit 1',
  async (t) => {
    const { file, args, configure } = subject(t);
    t.equal((await agent([...args, '--json'])).code, 0);
    configure(BROKEN);
    const broken = await agent(args);
    t.equal(broken.code, 1);
    t.match(
      broken.stdout,
      /\nThe cause: config.valid\n.*tunnel.port = 70000.*\nDo next:\n.*\nThen look again: tunnel-agent diagnose\n$/,
    );
    t.equal(broken.stderr, '');
    const missing = await agent([...args, '--config', `${file}.not`, '--json']);
    t.equal(missing.code, 1);
    t.match(JSON.parse(missing.stdout), { cause: 'config.valid' });
  },
);

t.test('in a pipe: a line a check as it ends, then the report, without colours', async (t) => {
  const { args } = subject(t);
  const { stdout } = await agent(args);
  t.match(stdout, /^(?:(?:ok|WARNING|UNKNOWN) +[a-z.]+ +\S.*\n){2}\ntunnel-agent \S+ on .*: 2 checks in [\d.]+ s\n/);
  t.notMatch(stdout, /[\u001b\r]/);
});

t.test('a reader that goes away early changes no exit code', async (t) => {
  const { args } = subject(t, BROKEN);
  const { code, stderr } = await run('bash', ['--norc', '-c', 'set -o pipefail; "$0" "$@" | true', PROGRAM, ...args], {
    env,
  });
  t.equal(code, 1);
  t.equal(stderr, '');
});

t.test('on a terminal what is under way is drawn, and wiped away before the report', requires('script'), async (t) => {
  const { args } = subject(t, BROKEN);
  const command = `stty cols 60; ${[PROGRAM, ...args].join(' ')}`;
  const { stdout } = await run('script', ['-qec', command, '/dev/null'], { env: { ...env, TERM: 'xterm' } });
  t.match(stdout, /\r0 of 2, 0 s: config.valid\u001b\[K/);
  const report = stdout.slice(stdout.lastIndexOf('\r\u001b[K') + 4);
  t.match(report, /^tunnel-agent /);
  t.match(report, /\u001b\[31mFAILED\u001b\[39m/);
  for (const line of report.replaceAll(/\u001b\[\d+m/g, '').split('\r\n'))
    t.ok(line.length <= 60 || /^ *(\| )?\S+$/.test(line), line);
});

t.test(
  'the JSON is alone on standard output, while a terminal shows what is under way',
  requires('script'),
  async (t) => {
    const { file, args } = subject(t);
    const command = `${[PROGRAM, ...args].join(' ')} --json >${file}.report`;
    const { stdout } = await run('script', ['-qec', command, '/dev/null'], { env: { ...env, TERM: 'xterm' } });
    t.match(stdout, /\r0 of 2/);
    const { stdout: written } = await run('cat', [`${file}.report`]);
    t.match(JSON.parse(written), { ok: true });
  },
);

t.test('--watch tells what changes, until it is ended; its exit code is that of the last round', async (t) => {
  const { args, configure } = subject(t);
  const watching = spawn(...withoutTap(PROGRAM, [...args, '--watch']), { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  watching.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const exited = once(watching, 'exit');
  await until('the first report', () => /Nothing failed[\s\S]*Ctrl-C ends it.\n/.test(said));
  const first = said;
  configure(BROKEN);
  await until('what broke', () => said.slice(first.length).includes('The cause: config.valid\n'));
  t.match(
    said.slice(first.length),
    /^\S+Z\nconfig.valid was \S+, now FAILED: .*70000.*\n {2}do: .*\nThe cause: config.valid\n$/,
  );
  const [guarded = 0] = descendants(watching.pid ?? 0);
  t.not(guarded, 0);
  watching.kill('SIGTERM');
  t.strictSame(await exited, [1, null]);
  t.notOk(existsSync(`/proc/${guarded}`), 'nothing of it is left');
});

t.test('--watch --json prints a report a line; it ends when the process is killed that was started', async (t) => {
  const { args } = subject(t);
  const watching = spawn(...withoutTap(PROGRAM, [...args, '--watch', '--json']), {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  watching.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  await until('two reports', () => said.split('\n').length > 2);
  const lines = said.trim().split('\n');
  t.equal(lines.length, 2);
  for (const line of lines) t.match(JSON.parse(line), { ok: true, cause: null });
  const [guarded = 0] = descendants(watching.pid ?? 0);
  watching.kill('SIGKILL');
  await until('the end of the guarded process', () => !existsSync(`/proc/${guarded}`));
});

t.test('an interrupted run ends at once with the exit code of its signal, without a report', async (t) => {
  const { file, configure } = subject(t);
  const slow = join(dirname(file), 'netstat');
  writeFileSync(slow, '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
  configure(JSON.stringify({ monitor: { netstat: slow } }));
  const args = ['diagnose', '--config', file, '--only', 'monitor.netstat', '--json'];
  for (const [signal, expected] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const child = spawn(...withoutTap(PROGRAM, args), { env, stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    const exited = once(child, 'exit');
    const running = await until('netstat', () => {
      const all = descendants(child.pid ?? 0);
      return all.length > 1 && all;
    });
    child.kill(signal);
    t.strictSame(await exited, [expected, null]);
    t.equal(said, '');
    for (const pid of running) t.notOk(existsSync(`/proc/${pid}`), 'nothing of it is left');
  }
});
