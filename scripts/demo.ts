/**
 * `make demo`: the whole chain on real parts, in a temporary folder and on free ports. A gateway runs, with two devices:
 * one comes as a Meeting agent, the other with the ssh of the system. `tunnel-agent pair` finds the first by mDNS, pairs a
 * fresh key and holds the paired tunnel; then a real ssh reaches each of them through the gateway, which is restarted in
 * between. Nothing is left behind, and nothing is announced to the network of this machine: the demo makes one of its own.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Lifecycle } from '../src/support/lifecycle.ts';
import { startTunnelGateway, type TunnelGateway } from '../test/support/gateway.ts';
import { endChild, freePort, run } from '../test/support/processes.ts';
import { findProgram } from '../test/support/requires.ts';
import { PROGRAM, startService } from '../test/support/service.ts';
import { hardenedConfig, makeKey, sshOptions, startSshd } from '../test/support/sshd.ts';
import { until } from '../test/support/until.ts';

const parts = new Lifecycle();
const startedAtMs = performance.now();
/** Set in the copy of this program that runs in a network of its own. */
const NETWORK = 'ZEROFORCE_DEMO_NETWORK';
const hasNetwork = process.env[NETWORK] !== undefined;
/** A cable with both ends here; mDNS needs more than the loopback. */
const MAKE_NETWORK = `
  ip link set lo up
  ip link add demo0 type veth peer name demo1
  ip addr add 10.99.0.1/24 dev demo0
  ip link set demo0 up
  ip link set demo1 up
  exec "$@"`;

async function demo(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-demo-'));
  parts.own('the temporary folder', () => rm(folder, { recursive: true, force: true }));
  const authorizedKeys = join(folder, 'ssh', 'authorized_keys');
  const httpPort = await freePort();

  const config = await hardenedConfig(authorizedKeys, httpPort);
  const tunnelSshd = await startSshd(
    join(folder, 'tunnel-sshd'),
    `${config}\n${hasNetwork ? 'ListenAddress 10.99.0.1' : ''}`,
  );
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

  const gatewayFolder = join(folder, 'gateway');
  let gateway = await startTunnelGateway(gatewayFolder);
  parts.own('the gateway', () => gateway.stop());
  const { agent: agentPort, ssh: sshPort } = gateway.ports;
  tick(`gateway waits for agents on ${agentPort}, for SSH clients on ${sshPort}`);
  const first = await addDevice(gateway, sshd.port);
  const second = await addDevice(gateway, sshd.port);
  tick(`tunnel-gateway device add: ${first.key}, ${second.key}`);

  const service = await startService(folder, {
    ZEROFORCE_AUTHORIZED_KEYS_FILE: authorizedKeys,
    ZEROFORCE_HTTP_PORT: String(httpPort),
    ...(hasNetwork ? { ZEROFORCE_HTTP_HOST: '0.0.0.0', ZEROFORCE_MDNS: '1' } : {}),
    ZEROFORCE_TUNNEL_PORT: String(tunnelSshd.port),
    ZEROFORCE_MONITOR_INTERVAL: '0.5',
    ZEROFORCE_SERVICES: `ssh=${sshd.port}`,
    MEETING_DEVICE_KEY: first.key,
    MEETING_TOKEN: first.token,
    MEETING_PROXY_HOST: '127.0.0.1',
    MEETING_PROXY_PORT: String(agentPort),
  });
  parts.own('the first device', () => service.stop());
  const url = `http://127.0.0.1:${httpPort}/zeroforce`;
  await gateway.online(first.key);
  tick(`the first device is online, as a Meeting agent; its service answers on ${httpPort}`);

  const { token: tunnelToken } = (await gateway.json(['token', 'show', second.key])) as { token: string };
  const hostKey = await readFile(join(gatewayFolder, 'data', 'ssh_host_ed25519_key.pub'), 'utf8');
  const other = await startService(join(folder, 'second'), {
    ZEROFORCE_TRANSPORT: 'ssh',
    ZEROFORCE_SSH_HOST: '127.0.0.1',
    ZEROFORCE_SSH_PORT: String(sshPort),
    ZEROFORCE_SSH_TOKEN: tunnelToken,
    ZEROFORCE_SSH_HOST_KEY: hostKey.trim(),
    ZEROFORCE_SSH_FORWARDS: `ssh=${sshd.port}`,
  });
  parts.own('the second device', () => other.stop());
  await gateway.online(second.key);
  tick('the second device is online, by the ssh of the system');

  await until('pairing to open', async () => (await get(`${url}/readytopair`)) === 'true');
  tick('GET /zeroforce/readytopair → true');

  const localPort = await freePort();
  const target = hasNetwork ? [] : [`127.0.0.1:${tunnelSshd.port}`, '--http-port', String(httpPort)];
  const forward = `${localPort}:localhost:${httpPort}`;
  if (hasNetwork) tick('tunnel-agent pair, which knows nothing of the device, says:');
  else tick('no root or no network namespaces here, so no mDNS; tunnel-agent pair, which is told the address, says:');
  const client = startPair([
    '--user',
    tunnelSshd.user,
    '--identity',
    join(folder, 'ha'),
    '--forward',
    forward,
    ...target,
  ]);
  parts.own('tunnel-agent pair', () => endChild(client.child));
  await until('the paired tunnel', () => {
    if (client.child.exitCode !== null) throw new Error(`tunnel-agent pair ended with ${client.child.exitCode}`);
    return client.output().includes('forward: ');
  });
  const version = (JSON.parse(await get(`http://127.0.0.1:${localPort}/zeroforce/info`)) as { version: string })
    .version;
  tick(`through the paired tunnel the device says: version ${version}`);

  await until('netstat to see it', () => existsSync(join(folder, 'run', 'tunnel_active')));
  await until('pairing to close', async () => (await get(`${url}/readytopair`)) === 'false');
  tick('netstat saw it: tunnel_active is there, GET /zeroforce/readytopair → false');

  const reached = async (key: string, how: string) => {
    const { stdout } = await gateway.cli(['open', key, 'ssh']);
    const [words = '', port = ''] = /^ssh -p (\d+) .*$/m.exec(stdout) ?? [];
    tick(`tunnel-gateway open ${key.slice(0, 6)}… ssh says: ${words}; ${how} it says:`);
    const knownHosts = join(folder, `known_hosts.${port}`);
    await writeFile(knownHosts, sshd.knownHosts.replace(`:${sshd.port} `, `:${port} `));
    const command = 'echo "$(hostname): up, kernel $(uname -r), reached from $SSH_CONNECTION"';
    const login = [...sshOptions(technician.path, knownHosts), '-p', port, `${sshd.user}@127.0.0.1`, command];
    const { code, stdout: said, stderr } = await run('ssh', login);
    if (code !== 0) throw new Error(`ssh through the gateway failed:\n${stdout}${stderr}`);
    process.stdout.write(`      ${said}`);
  };
  await reached(first.key, 'through the Meeting agent');
  await reached(second.key, 'through the ssh of the device');

  await gateway.stop();
  gateway = await startTunnelGateway(gatewayFolder, gateway.settings);
  await Promise.all([gateway.online(first.key), gateway.online(second.key)]);
  tick('the gateway was restarted, and both devices came back by themselves, to the same ports');
  await reached(first.key, 'again');
  await reached(second.key, 'again');
}

/** A device with its sshd, by the command line of the gateway. */
async function addDevice(gateway: TunnelGateway, port: number): Promise<{ key: string; token: string }> {
  const { devicekey: key = '', token_code: token = '' } = (await gateway.json(['device', 'add'])) as {
    devicekey?: string;
    token_code?: string;
  };
  await gateway.json(['forwards', 'set', key, `ssh=${port}`]);
  return { key, token };
}

/** Its words are printed as they come, indented. */
function startPair(args: string[]): { child: ChildProcess; output(): string } {
  const child = spawn(PROGRAM, ['pair', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      process.stdout.write(text.replace(/^(?=.)/gm, '      '));
    });
  }
  return { child, output: () => output };
}

async function get(url: string): Promise<string> {
  const response = await fetch(url).catch(() => null);
  return response?.ok ? await response.text() : '';
}

function tick(sentence: string): void {
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1).padStart(5);
  process.stdout.write(`✓ ${seconds} s  ${sentence}\n`);
}

async function main(): Promise<number> {
  let failed = false;
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
  return failed || leftBehind.length > 0 ? 1 : 0;
}

/** The whole demo once more, in a network of its own; gives its exit code. */
async function inOwnNetwork(): Promise<number> {
  const again = [process.execPath, ...process.argv.slice(1)];
  const child = spawn('unshare', ['-n', 'sh', '-ec', MAKE_NETWORK, 'sh', ...again], {
    stdio: 'inherit',
    env: { ...process.env, [NETWORK]: '1' },
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 1;
}

function canHaveNetwork(): boolean {
  try {
    execFileSync('unshare', ['-n', 'sh', '-ec', MAKE_NETWORK, 'sh', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

if (findProgram('sshd') === null || findProgram('ssh') === null || findProgram('netstat') === null) {
  process.stderr.write('make demo needs sshd, ssh and netstat: install openssh-server, openssh-client and net-tools\n');
  process.exitCode = 1;
} else {
  process.exitCode = await (!hasNetwork && canHaveNetwork() ? inOwnNetwork() : main());
}
