import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { endChild, freePort } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { until } from '../support/until.ts';
import {
  CLOSED,
  device,
  flagOf,
  hasFlag,
  isReady,
  nextOpening,
  openTunnel,
  setKey,
  statusOf,
  temporaryFolder,
  untilStatus,
} from './support.ts';

const needs = requires('netstat');
const TIMEOUT_MS = 1_000;
const OFF = { ZEROFORCE_MONITOR: 'off', ZEROFORCE_PAIRING_TIMEOUT: String(TIMEOUT_MS / 1000) };

/** The loop of older firmware, in shell; it turns faster here. */
const SHELL_MONITOR = `
  while :; do
    if netstat -tn | grep ESTABLISHED | grep -q ":$PORT "; then touch "$FLAG"; else rm -f "$FLAG"; fi
    sleep 0.2
  done`;

t.test('with the monitor off, the flag of an outside monitor decides', needs, async (t) => {
  const service = await device(t, OFF);
  const env = { ...process.env, PORT: service.settings.ZEROFORCE_TUNNEL_PORT, FLAG: flagOf(service) };
  start(t, 'sh', ['-c', SHELL_MONITOR], env);
  t.equal(await isReady(service), true, 'never paired');
  t.match(await statusOf(service), { monitor: null });

  const tunnel = await openTunnel(t, service);
  await until('pairing to close', async () => !(await isReady(service)));
  t.ok(hasFlag(service));
  t.strictSame(await setKey(service, 'whatever'), CLOSED);

  await tunnel.close();
  const { flagLastSeenMs, openedMs } = await nextOpening(service);
  t.ok(openedMs - flagLastSeenMs >= TIMEOUT_MS, `opened ${Math.round(openedMs - flagLastSeenMs)} ms after the loss`);
});

t.test('with the monitor off, a flag that is there at the start keeps pairing closed, whatever it is', async (t) => {
  const folder = temporaryFolder(t);
  await mkdir(join(folder, 'run', 'tunnel_active'), { recursive: true });
  const service = await device(t, OFF, { folder });
  t.equal(await isReady(service), false);
  t.equal(await service.get('/healthz'), '{"ok":true}');
  await rm(flagOf(service), { recursive: true });
  await until('pairing to open', () => isReady(service));
});

t.test('with the monitor off, netstat is not needed', async (t) => {
  const service = await device(t, { ...OFF, ZEROFORCE_NETSTAT: '/nowhere/netstat' });
  t.match(await statusOf(service), { faults: [], pairing: { open: true } });
});

t.test('the monitor alone writes flag and since-connected, and stops cleanly', needs, async (t) => {
  const folder = temporaryFolder(t);
  const run = join(folder, 'run');
  const port = await freePort();
  await writeFile(join(folder, 'config.json'), '{}');
  const monitor = start(t, PROGRAM, ['monitor', '--config', join(folder, 'config.json')], {
    PATH: process.env.PATH,
    ZEROFORCE_RUN_DIR: run,
    ZEROFORCE_STATE_DIR: join(folder, 'state'),
    ZEROFORCE_TUNNEL_PORT: String(port),
    ZEROFORCE_MONITOR_INTERVAL: '0.2',
  });
  const sinceConnected = () => Number(readFileSync(join(run, 'since-connected'), 'utf8'));
  await until('since-connected', () => existsSync(join(run, 'since-connected')));
  t.notOk(existsSync(join(run, 'tunnel_active')));

  // Beside it a service that takes the flag from it, as older firmware did.
  const service = await device(t, { ...OFF, ZEROFORCE_RUN_DIR: run, ZEROFORCE_TUNNEL_PORT: String(port) }, { folder });
  const tunnel = await openTunnel(t, service);
  await untilStatus(service, ({ pairing }) => pairing.tunnel === 'active');
  t.ok(hasFlag(service));
  await until('since-connected to be 0', () => sinceConnected() === 0);
  await tunnel.close();
  await untilStatus(service, ({ pairing }) => pairing.tunnel === 'none');
  await until('since-connected to count', () => sinceConnected() > 0);

  const exited = once(monitor, 'exit');
  monitor.kill('SIGTERM');
  t.strictSame(await exited, [0, null]);
});

t.test('the monitor alone runs with the last good configuration too, and says so', async (t) => {
  const folder = temporaryFolder(t);
  const config = join(folder, 'config.json');
  await writeFile(config, '{"runDir":');
  await mkdir(join(folder, 'state'));
  await writeFile(join(folder, 'state', 'config.last-good.json'), JSON.stringify({ runDir: join(folder, 'run') }));
  const env = { PATH: process.env.PATH, ZEROFORCE_STATE_DIR: join(folder, 'state') };
  const monitor = start(t, PROGRAM, ['monitor', '--config', config], env);
  let log = '';
  monitor.stdout?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  await until('since-connected', () => existsSync(join(folder, 'run', 'since-connected')));
  await until('the log', () => log.includes('"code":"config.last-good"'));
});

function start(t: Test, program: string, args: string[], env: NodeJS.ProcessEnv): ChildProcess {
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  child.stdout.resume();
  t.teardown(() => endChild(child, 'SIGKILL'));
  return child;
}
