/**
 * `make demo`: the whole chain on real parts, in a temporary folder and on free ports. A fresh key is paired by HTTP,
 * the paired tunnel is opened with it, and a real ssh command runs through the reverse tunnel. Nothing is left behind.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lifecycle } from '../src/support/lifecycle.ts';
import { freePort, run } from '../test/support/processes.ts';
import { startRawProxy } from '../test/support/raw-proxy.ts';
import { findProgram } from '../test/support/requires.ts';
import { startService } from '../test/support/service.ts';
import { hardenedConfig, holdSsh, makeKey, sshOptions, startSshd } from '../test/support/sshd.ts';
import { until } from '../test/support/until.ts';

const parts = new Lifecycle();
const startedAtMs = performance.now();

async function demo(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-demo-'));
  parts.own('the temporary folder', () => rm(folder, { recursive: true, force: true }));
  const authorizedKeys = join(folder, 'ssh', 'authorized_keys');
  const httpPort = await freePort();

  const tunnelSshd = await startSshd(join(folder, 'tunnel-sshd'), await hardenedConfig(authorizedKeys, httpPort));
  parts.own('the tunnel sshd', () => tunnelSshd.stop());
  tick(`tunnel sshd, hardened as on port 8007, listens on ${tunnelSshd.port}`);

  const technician = await makeKey(join(folder, 'technician'), 'technician');
  await writeFile(join(folder, 'maintenance_keys'), `${technician.publicKey}\n`, { mode: 0o600 });
  const sshd = await startSshd(
    join(folder, 'sshd'),
    `AuthorizedKeysFile ${join(folder, 'maintenance_keys')}\nPasswordAuthentication no\nUsePAM no`,
  );
  parts.own('the maintenance sshd', () => sshd.stop());
  tick(`maintenance sshd listens on ${sshd.port}`);

  const proxy = await startRawProxy({ mode: 'v1' });
  parts.own('the proxy', () => proxy.close());
  tick(`Meeting proxy (scripted) waits for agents on ${proxy.port}`);

  const service = await startService(folder, {
    ZEROFORCE_AUTHORIZED_KEYS_FILE: authorizedKeys,
    ZEROFORCE_HTTP_PORT: String(httpPort),
    ZEROFORCE_TUNNEL_PORT: String(tunnelSshd.port),
    ZEROFORCE_MONITOR_INTERVAL: '0.5',
    ZEROFORCE_SERVICES: `ssh=${sshd.port}`,
    MEETING_DEVICE_KEY: '00112233445566778899AABBCCDDEEFF',
    MEETING_TOKEN: 'de40de',
    MEETING_PROXY_HOST: '127.0.0.1',
    MEETING_PROXY_PORT: String(proxy.port),
  });
  parts.own('the service', () => service.stop());
  const url = `http://127.0.0.1:${httpPort}/zeroforce`;
  tick(`device service answers on ${httpPort}`);

  await until('pairing to open', async () => (await get(`${url}/readytopair`)) === 'true');
  tick('GET /zeroforce/readytopair → true');

  const homeAssistant = await makeKey(join(folder, 'home_assistant'), 'home-assistant');
  const paired = await fetch(`${url}/setkey`, {
    method: 'POST',
    body: new URLSearchParams({ key: homeAssistant.publicKey }),
  });
  const answer = await paired.text();
  if (paired.status !== 200) throw new Error(`setkey answered ${paired.status}: ${answer}`);
  tick(`POST /zeroforce/setkey → ${answer}`);

  const knownHosts = join(folder, 'known_hosts');
  const publicPort = await openPublicPort();
  await writeFile(
    knownHosts,
    [tunnelSshd.knownHosts, sshd.knownHosts.replace(`:${sshd.port} `, `:${publicPort} `)].join('\n'),
  );
  const localPort = await freePort();
  const pairedTunnel = await holdSsh([
    ...sshOptions(homeAssistant.path, knownHosts),
    ...['-L', `127.0.0.1:${localPort}:127.0.0.1:${httpPort}`, '-p', String(tunnelSshd.port)],
    `${tunnelSshd.user}@127.0.0.1`,
  ]);
  parts.own('the paired tunnel', () => pairedTunnel.stop());
  const version = (JSON.parse(await get(`http://127.0.0.1:${localPort}/zeroforce/info`)) as { version: string })
    .version;
  tick(`paired tunnel stands with the new key; through it the device says: version ${version}`);

  await until('netstat to see it', () => existsSync(join(folder, 'run', 'tunnel_active')));
  await until('pairing to close', async () => (await get(`${url}/readytopair`)) === 'false');
  tick('netstat saw it: tunnel_active is there, GET /zeroforce/readytopair → false');

  const command = 'echo "$(hostname): up, kernel $(uname -r), reached from $SSH_CONNECTION"';
  const reached = await run('ssh', [
    ...sshOptions(technician.path, knownHosts),
    ...['-p', String(publicPort), `${sshd.user}@127.0.0.1`, command],
  ]);
  if (reached.code !== 0) throw new Error(`ssh through the reverse tunnel failed:\n${reached.stderr}`);
  tick(`ssh through the reverse tunnel (public port ${publicPort}) says:`);
  process.stdout.write(`      ${reached.stdout}`);

  async function openPublicPort(): Promise<number> {
    await proxy.nextAgent();
    return (await proxy.openPublicPort(sshd.port)).port;
  }
}

async function get(url: string): Promise<string> {
  const response = await fetch(url).catch(() => null);
  return response?.ok ? await response.text() : '';
}

function tick(sentence: string): void {
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1).padStart(5);
  process.stdout.write(`✓ ${seconds} s  ${sentence}\n`);
}

let failed = false;
if (findProgram('sshd') === null || findProgram('ssh') === null || findProgram('netstat') === null) {
  process.stderr.write('make demo needs sshd, ssh and netstat: install openssh-server, openssh-client and net-tools\n');
  process.exitCode = 1;
} else {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void parts.stop(10_000).then(() => process.exit(1)));
  }
  try {
    await demo();
  } catch (error) {
    failed = true;
    process.stderr.write(`✗ ${error instanceof Error ? error.message : String(error)}\n`);
  }
  const leftBehind = await parts.stop(10_000);
  for (const { name, problem } of leftBehind) process.stderr.write(`✗ ${name}: ${String(problem)}\n`);
  if (!failed && leftBehind.length === 0) tick('everything stopped, nothing left behind');
  process.exitCode = failed || leftBehind.length > 0 ? 1 : 0;
}
