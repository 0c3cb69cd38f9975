import { existsSync, lstatSync, readdirSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { requestControl } from '../../src/control/client.ts';
import { tunnelAgent } from '../support/service.ts';
import { until } from '../support/until.ts';
import { device, end, isReady, socketOf, statusOf, temporaryFolder } from './support.ts';

t.test('a second instance refuses, names the first, and leaves it alone', async (t) => {
  const first = await device(t);
  const { code, stdout, stderr } = await tunnelAgent(['run'], first.settings);
  t.equal(code, 1);
  t.match(stderr, new RegExp(`^tunnel-agent: another tunnel-agent \\(process ${first.pid}\\) runs with `));
  t.match(stderr, /\n {2}instance\.running: .*tunnel-agent status\n$/);
  t.notMatch(stdout, /HTTP listens/, 'nothing else was started');
  t.equal((await statusOf(first)).pid, first.pid);
  t.equal(await isReady(first), true);
});

t.test('of several started at once over a socket left by a crash, one runs and the others name it', async (t) => {
  const folder = temporaryFolder(t);
  const { settings } = await crashed(t, folder);
  const starts = Array.from({ length: 4 }, () => tunnelAgent(['run'], settings));
  const running = await until('one to run', async () => {
    const answer = await requestControl(settings.ZEROFORCE_RUN_DIR ?? '', 'GET /status').catch(() => null);
    return (answer as { pid: number } | null)?.pid;
  });
  t.teardown(() => {
    if (existsSync(`/proc/${running}`)) process.kill(running, 'SIGKILL');
  });
  let ended = 0;
  for (const start of starts) void start.then(() => (ended += 1));
  await until('the others to end', () => ended === starts.length - 1);
  process.kill(running, 'SIGTERM');
  const outputs = await Promise.all(starts);
  t.strictSame(outputs.map(({ code }) => code).sort(), [0, 1, 1, 1]);
  for (const { code, stderr } of outputs) if (code === 1) t.match(stderr, `(process ${running}) runs with`);
  t.strictSame(
    readdirSync(settings.ZEROFORCE_RUN_DIR ?? '').filter((name) => name.startsWith('.')),
    [],
  );
});

t.test('a socket left by a crash is replaced', async (t) => {
  const folder = temporaryFolder(t);
  const killed = await crashed(t, folder);
  t.ok(lstatSync(socketOf(killed)).isSocket(), 'the crash left it');
  const next = await device(t, killed.settings, { folder });
  t.equal((await statusOf(next)).pid, next.pid);
  t.equal(lstatSync(socketOf(next)).mode & 0o777, 0o600);
});

t.test('a regular file in its place is not deleted: the service runs, and says so', async (t) => {
  const folder = temporaryFolder(t);
  await mkdir(join(folder, 'run'), { mode: 0o755 });
  const path = join(folder, 'run', 'control.sock');
  await writeFile(path, 'precious');
  const service = await device(t, {}, { folder });
  t.equal(await readFile(path, 'utf8'), 'precious');
  t.match(service.log(), `"msg":"${path} is in the way: it is not a socket; remove it"`);
  t.equal(await isReady(service), true);
  const { code, stderr } = await tunnelAgent(['status'], service.settings);
  t.equal(code, 1);
  t.match(stderr, /service\.not-running/);
});

async function crashed(t: Test, folder: string) {
  const service = await device(t, {}, { folder });
  await end(service, 'SIGKILL');
  return service;
}
