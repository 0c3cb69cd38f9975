import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { run, withoutTap } from '../support/processes.ts';
import { until } from '../support/until.ts';

const CHILD = resolve(import.meta.dirname, 'guard-child.js');

async function fifoIn(t: Test): Promise<string> {
  const path = join(t.testdir(), 'fifo');
  await run('mkfifo', [path]);
  return path;
}

async function start(t: Test, ...more: string[]): Promise<{ guard: ReturnType<typeof spawn>; guarded: number }> {
  const guard = spawn(...withoutTap(process.execPath, [CHILD, await fifoIn(t), ...more]), {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  guard.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [, pid] = await until('the guarded process', () => /guarded (\d+)\n[\s\S]*done/.exec(said));
  return { guard, guarded: Number(pid) };
}

t.test('a process with calls that never end has its own exit code, soon, and its whole output', async (t) => {
  const startMs = performance.now();
  for (const code of [0, 3]) {
    const output = await run(process.execPath, [CHILD, await fifoIn(t), String(code)]);
    t.equal(output.code, code, output.stderr);
    t.match(output.stdout, /^guarded \d+\ndone\n$/, 'four calls that hang do not keep a fifth');
  }
  t.ok(performance.now() - startMs < 10_000);
});

t.test('a signal reaches the guarded process', async (t) => {
  const { guard, guarded } = await start(t);
  guard.kill('SIGTERM');
  t.strictSame(await once(guard, 'exit'), [143, null]);
  await until('the end of the guarded process', () => !existsSync(`/proc/${guarded}`));
});

t.test('a signal ends one that is too busy to hear it', async (t) => {
  const { guard, guarded } = await start(t, 'busy');
  guard.kill('SIGINT');
  await once(guard, 'exit');
  t.notOk(existsSync(`/proc/${guarded}`));
});
