import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import t, { type Test } from 'tap';
import { endChild, freePort } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { until } from '../support/until.ts';
import { temporaryFolder } from './support.ts';

t.test('a log on a full disk is lost, the service is not', requires('netstat'), async (t) => {
  const full = openSync('/dev/full', 'w');
  t.teardown(() => closeSync(full));
  await serves(t, full);
});

t.test('a log that nobody reads is lost, the service is not', requires('netstat'), async (t) => {
  await serves(t, 'pipe');
});

/** Starts the service with that standard output, lets it log more than a pipe holds, and stops it. */
async function serves(t: Test, stdout: number | 'pipe'): Promise<void> {
  const folder = temporaryFolder(t);
  const port = await freePort();
  const child = spawn(PROGRAM, ['run'], {
    env: {
      PATH: process.env.PATH,
      ZEROFORCE_RUN_DIR: `${folder}/run`,
      ZEROFORCE_STATE_DIR: `${folder}/state`,
      ZEROFORCE_AUTHORIZED_KEYS_FILE: `${folder}/ssh/authorized_keys`,
      ZEROFORCE_HTTP_HOST: '127.0.0.1',
      ZEROFORCE_HTTP_PORT: String(port),
      ZEROFORCE_TUNNEL_PORT: String(await freePort()),
      LOG_LEVEL: 'debug',
    },
    stdio: ['ignore', stdout, 'ignore'],
  });
  t.teardown(() => endChild(child, 'SIGKILL'));
  const answer = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`).catch(() => null))?.status;
  await until('the service to answer', async () => (await answer('/healthz')) === 200);
  for (let count = 0; count < 1_000; count += 1) await answer(`/nowhere/${'x'.repeat(100)}`); // a line each
  t.equal(await answer('/healthz'), 200);
  await endChild(child);
  t.equal(child.exitCode, 0);
}
