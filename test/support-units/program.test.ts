import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { systemClock } from '../../src/support/clock.ts';
import { startProgram } from '../../src/support/program.ts';
import { until } from '../support/until.ts';

const start = (script: string, onLine: (line: string) => void = () => undefined) =>
  startProgram({ command: 'sh', args: ['-c', script], onLine, clock: systemClock });

t.test('every line is given, the last one included, cut where it is too long', async (t) => {
  const lines: string[] = [];
  const run = start(
    "printf 'a\\r\\nb\\n\\n' >&2; head -c 100000 /dev/zero | tr '\\0' x >&2; printf '\\nlast' >&2",
    (line) => lines.push(line),
  );
  t.strictSame(await run.ended, { kind: 'ended', exitCode: 0, signal: null });
  t.strictSame([lines[0], lines[1], lines[2], lines[3]?.length, lines[4]], ['a', 'b', '', 4096, 'last']);
});

t.test('its environment is not ours', async (t) => {
  process.env.ZEROFORCE_HUSH = 'hush';
  t.teardown(() => {
    delete process.env.ZEROFORCE_HUSH;
  });
  const lines: string[] = [];
  await start('env >&2', (line) => lines.push(line)).ended;
  t.ok(lines.includes('LC_ALL=C'));
  t.notMatch(lines.join('\n'), 'hush');
});

t.test('it is stopped with all that it has started, and what has left the group does not hold the end', async (t) => {
  const lines: string[] = [];
  const run = start('sleep 100 & setsid sleep 2 & echo ready >&2; wait', (line) => lines.push(line));
  await until('it to be ready', () => lines.length > 0);
  const startMs = performance.now();
  run.stop(5_000);
  t.strictSame(await run.ended, { kind: 'ended', exitCode: null, signal: 'SIGTERM' });
  t.ok(performance.now() - startMs < 1_500);
  run.stop(0);
  t.pass('a second stop does nothing');
});

t.test('it ends with this process, also when that throws', async (t) => {
  const module = (name: string) => pathToFileURL(resolve(import.meta.dirname, '../../src/support', name)).href;
  const script = `
    const { startProgram } = await import('${module('program.js')}');
    const { systemClock: clock } = await import('${module('clock.js')}');
    const onLine = (pid) => { console.log(pid); setImmediate(() => { throw new Error('on purpose'); }); };
    startProgram({ command: 'sh', args: ['-c', 'echo $$ >&2; sleep 100'], onLine, clock });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
  const [pid] = (await once(child.stdout, 'data')) as [Buffer];
  await once(child, 'exit');
  await until('the program to be gone', () => {
    try {
      process.kill(Number(pid), 0);
      return false;
    } catch {
      return true;
    }
  });
  t.pass('it is gone');
});
