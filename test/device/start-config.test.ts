import { existsSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { freePort } from '../support/processes.ts';
import { tunnelAgent } from '../support/service.ts';
import { until } from '../support/until.ts';
import { device, end, isReady, logLine, statusOf, TOKEN, temporaryFolder } from './support.ts';

t.test('a file that broke after it once worked: the last good one runs, and says every fault loudly', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'config.json');
  const port = await freePort();
  await writeFile(file, JSON.stringify({ services: { echo: port }, meeting: { token: '' } }), { mode: 0o600 });
  const first = await device(t, {}, { folder });
  const kept = join(folder, 'state', 'config.last-good.json');
  await until('the good configuration to be kept', () => existsSync(kept));
  t.equal(readFileSync(kept, 'utf8'), readFileSync(file, 'utf8'));
  await end(first, 'SIGTERM');

  await writeFile(file, JSON.stringify({ services: { echo: 0 }, http: { prot: 5001 }, logLevel: 'loud' }));
  const second = await device(t, first.settings, { folder });
  const line = logLine(second, 'config.last-good');
  t.equal(line?.level, 'error');
  t.match(line?.msg, `${file} is broken; the configuration that last worked runs instead`);
  for (const key of ['services', 'http.prot', 'logLevel']) t.match(line?.msg, key);
  t.match(line?.remedy, 'tunnel-agent config check');
  t.equal(await isReady(second), true);
  const shown = await tunnelAgent(['config', 'show', '--config', file], second.settings);
  t.match(shown.stdout, new RegExp(`^services +\\{"echo":${port}\\}`, 'm'));
  const status = await tunnelAgent(['status', '--config', file], second.settings);
  t.match(status, { code: 0, stdout: /^ {2}note .* is broken; [\s\S]*config\.last-good: /m }, 'and it can be asked');
  t.match(
    await tunnelAgent(['config', 'check', '--config', file], second.settings),
    { code: 78 },
    'but is not called valid',
  );
  await end(second, 'SIGTERM');

  const wrong = await tunnelAgent(['run', '--config', file], { ...first.settings, ZEROFORCE_HTTP_PORT: 'http' });
  t.equal(wrong.code, 78, 'a wrong variable is never passed over');
});

t.test('a broken file that never worked: exit 78, every fault with its place, no stack trace', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'config.json');
  await writeFile(file, '{"http": {"port": 70000}, "tunnel": {"port": "x"}, "monitors": {}}');
  const { code, stdout, stderr } = await tunnelAgent(['run', '--config', file], { ZEROFORCE_STATE_DIR: folder });
  t.equal(code, 78);
  t.equal(stdout, '');
  t.match(stderr, /^The configuration has 3 faults:$/m);
  t.match(stderr, `  http.port = 70000; allowed: a whole number from 1 to 65535; from: ${file}`);
  t.match(stderr, /^ {2}tunnel\.port = "x"; allowed: /m);
  t.match(stderr, /^ {2}monitors/m);
  t.notMatch(stderr, /^\s+at /m);
});

t.test('wrong variables: exit 78, all of them, the token masked, nothing started', async (t) => {
  const folder = temporaryFolder(t);
  const { code, stdout, stderr } = await tunnelAgent(['run'], {
    ZEROFORCE_RUN_DIR: join(folder, 'run'),
    ZEROFORCE_HTTP_PORT: '0',
    ZEROFORCE_MONITOR: 'maybe',
    ZEROFORCE_PAIRING_TIMEOUT: '-1',
    ZEROFORCE_MONITOR_INTERVAL: '0',
    ZEROFORCE_TRANSPORT: 'pigeon',
    ZEROFORCE_SERVICES: 'ssh',
    LOG_LEVEL: 'loud',
    MEETING_DEVICE_KEY: 'key',
    MEETING_TOKEN: `${TOKEN}\u0007`,
    MEETING_PROXY_PIN: 'ab',
  });
  t.equal(code, 78);
  t.equal(stdout, '');
  for (const name of [
    'ZEROFORCE_HTTP_PORT = "0"',
    'ZEROFORCE_MONITOR = "maybe"',
    'ZEROFORCE_PAIRING_TIMEOUT = "-1"',
    'ZEROFORCE_MONITOR_INTERVAL = "0"',
    'ZEROFORCE_TRANSPORT = "pigeon"',
    'ZEROFORCE_SERVICES = "ssh"',
    'LOG_LEVEL = "loud"',
    'MEETING_TOKEN = [secret]',
    'MEETING_PROXY_PIN = "ab"',
    'MEETING_PROXY_HOST',
  ]) {
    t.match(stderr, `\n  ${name}`);
  }
  t.match(stderr, /; allowed: .*; from: environment$/m);
  t.notMatch(stderr, TOKEN);
  t.notMatch(stderr, /^\s+at /m);
  t.notOk(existsSync(join(folder, 'run')));
});

t.test('a file named with --config must be there', async (t) => {
  const file = join(temporaryFolder(t), 'none.json');
  const { code, stderr } = await tunnelAgent(['run', '--config', file]);
  t.equal(code, 78);
  t.match(stderr, file);
});

t.test('without a Meeting identity pairing runs alone, and log and status say so', async (t) => {
  const service = await device(t);
  t.match(logLine(service, 'identity.missing'), {
    level: 'warn',
    msg: 'pairing runs alone',
    remedy: 'MEETING_DEVICE_KEY',
  });
  t.equal((await statusOf(service)).tunnel, null);
  t.match(
    (await tunnelAgent(['status'], service.settings)).stdout,
    /^ {2}tunnel {3}none: without a complete identity/m,
  );
  t.equal(await isReady(service), true);
});

t.test('empty variables count as not set', async (t) => {
  const service = await device(t, {
    MEETING_TOKEN: '',
    MEETING_PROXY_PORT: '',
    ZEROFORCE_PAIRING_TIMEOUT: '',
    LOG_LEVEL: '',
  });
  t.equal(await isReady(service), true);
});

t.test('the state folder gone is no reason to fail at the next start', async (t) => {
  const folder = temporaryFolder(t);
  const first = await device(t, {}, { folder });
  await end(first, 'SIGTERM');
  await rm(join(folder, 'state'), { recursive: true });
  t.equal(await isReady(await device(t, first.settings, { folder })), true);
});
