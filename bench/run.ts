/**
 * `make bench`, first part: the gateway and the device service as they ship, between a public port and a backend, against
 * two plain Node relays and OpenSSH -R, all in one run and each measured in turn, several rounds. Prints the tables of
 * docs/performance.md. Everything is on loopback, bounded in time, and ends by itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Lifecycle } from '../src/support/lifecycle.ts';
import { makeCertificate } from '../test/support/certificates.ts';
import { startTunnelGateway, type TunnelGateway } from '../test/support/gateway.ts';
import { endChild, freePort } from '../test/support/processes.ts';
import { holdSsh, makeKey, sshOptions, startSshd } from '../test/support/sshd.ts';
import { until } from '../test/support/until.ts';
import { bulkDown, bulkUp, newConnections, percentile, roundTrips, roundTripsUnderBulk } from './load.ts';

const ROUNDS = 3;
const BULK_MS = 2_000;
/** V8 gives back what the start needed only after a while; that is at rest. */
const REST_MS = 30_000;
/** All of it takes about eight minutes; whatever hangs ends then. */
const WATCHDOG_MS = 15 * 60_000;
const MIB = 1024 * 1024;

const root = resolve(import.meta.dirname, '../..');
const parts = new Lifecycle();

/** One way through: its public port, and the process on the device's side whose memory counts. */
interface Peer {
  name: string;
  port: number;
}

interface Figures {
  down: number;
  up: number;
  rtt50: number;
  rtt99: number;
  bulk50: number;
  bulk99: number;
  single: number;
  atOnce: number;
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-bench-'));
  parts.own('the folder', () => rm(folder, { recursive: true, force: true }));
  const backend = await freePort();
  await startNode('bench/backend.js', [backend]);

  const relays = await startRelays(backend);
  const tunnels = await startTunnels(folder, backend);
  const ssh = await startOpenSsh(folder, backend);

  const peers = [relays, ...tunnels.peers, ssh];
  const rounds: Figures[][] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const figures: Figures[] = [];
    for (const peer of peers) figures.push(await measure(peer));
    rounds.push(figures);
  }
  const results = peers.map((peer, index) => ({ peer, figures: median(rounds.map((round) => round[index]!)) }));
  process.stdout.write(throughputTable(results));
  process.stdout.write(`\n${await recoveryTable(tunnels)}`);
  process.stdout.write(`\n${await memoryTable(tunnels.service, folder)}`);
}

async function measure({ name, port }: Peer): Promise<Figures> {
  process.stderr.write(`measuring ${name} …\n`);
  await roundTrips(port, 200); // warm
  const rtt = await roundTrips(port, 3_000);
  const underBulk = await roundTripsUnderBulk(port, 500);
  return {
    down: await bulkDown(port, BULK_MS),
    up: await bulkUp(port, BULK_MS),
    rtt50: percentile(rtt, 0.5),
    rtt99: percentile(rtt, 0.99),
    bulk50: percentile(underBulk, 0.5) / 1000,
    bulk99: percentile(underBulk, 0.99) / 1000,
    single: await newConnections(port, name.includes('ssh') || name.startsWith('OpenSSH') ? 60 : 1_000, 1),
    atOnce: await newConnections(port, 2_000, 32),
  };
}

async function startRelays(backend: number): Promise<Peer> {
  const [near, far] = [await freePort(), await freePort()];
  await startNode('bench/relay.js', [far, backend]);
  await startNode('bench/relay.js', [near, far]);
  return { name: 'two Node relays with pipe', port: near };
}

interface Tunnels {
  gateway: TunnelGateway;
  peers: Peer[];
  /** The service that is a Meeting agent without TLS. */
  service: ChildProcess;
}

/** One gateway, and three devices that come to it: plain, by TLS, and by the ssh of the system. */
async function startTunnels(folder: string, backend: number): Promise<Tunnels> {
  const certificate = makeCertificate(folder, 'localhost');
  const gateway = await startTunnelGateway(join(folder, 'gateway'), {
    GATEWAY_TLS_CERT: certificate.path,
    GATEWAY_TLS_KEY: join(folder, 'localhost.key'),
    GATEWAY_AGENT_TLS: 'optional',
    LOG_LEVEL: 'info',
  });
  parts.own('the gateway', () => gateway.stop());
  const hostKey = (
    await readFile(join(gateway.settings.GATEWAY_DATA_DIR ?? '', 'ssh_host_ed25519_key.pub'), 'utf8')
  ).trim();
  const meeting = (key: string, token: string) => ({
    ZEROFORCE_SERVICES: `ssh=${backend}`,
    MEETING_DEVICE_KEY: key,
    MEETING_TOKEN: token,
    MEETING_PROXY_HOST: 'localhost',
    MEETING_PROXY_PORT: String(gateway.ports.agent),
  });
  const devices: [string, (key: string, token: string) => Promise<Record<string, string>>][] = [
    ['gateway, agent (v1)', async (key, token) => meeting(key, token)],
    [
      'gateway, agent with TLS',
      async (key, token) => ({ ...meeting(key, token), MEETING_PROXY_TLS: '1', MEETING_PROXY_CA: certificate.path }),
    ],
    [
      'gateway, ssh of the device',
      async (key) => ({
        ZEROFORCE_TRANSPORT: 'ssh',
        ZEROFORCE_SSH_HOST: '127.0.0.1',
        ZEROFORCE_SSH_PORT: String(gateway.ports.ssh),
        ZEROFORCE_SSH_TOKEN: ((await gateway.json(['token', 'show', key])) as { token: string }).token,
        ZEROFORCE_SSH_HOST_KEY: hostKey,
        ZEROFORCE_SSH_FORWARDS: `ssh=${backend}`,
      }),
    ],
  ];
  const peers: Peer[] = [];
  const services: ChildProcess[] = [];
  for (const [name, settings] of devices) {
    const { devicekey: key, token_code: token } = (await gateway.json(['device', 'add'])) as Record<string, string>;
    if (key === undefined || token === undefined) throw new Error('no device was made');
    await gateway.json(['forwards', 'set', key, `ssh=${backend}`]);
    services.push(startService(folder, await freePort(), await settings(key, token)));
    const port = await until('the port to be opened', () =>
      gateway.json(['open', key, 'ssh']).then(
        (opened) => (opened as { port: number }).port,
        () => false as const, // the device is not there yet
      ),
    );
    peers.push({ name, port });
  }
  return { gateway, peers, service: services[0]! };
}

/** The seconds from the gateway's end by SIGKILL, and from its next start `downMs` later, until each port echoes again. */
async function measureRecovery(
  { gateway, peers }: Tunnels,
  downMs: number,
): Promise<{ again: TunnelGateway; row: string }> {
  process.stderr.write(`measuring recovery after ${downMs / 1000} s …\n`);
  await gateway.stop('SIGKILL');
  await new Promise((resolve) => setTimeout(resolve, downMs));
  const startMs = performance.now();
  const restarted = startTunnelGateway('', gateway.settings);
  const seconds = await Promise.all(peers.map(({ port }) => echoAfter(port, startMs)));
  const again = await restarted;
  parts.own('the gateway', () => again.stop());
  return { again, row: `| ${downMs / 1000} s | ${seconds.map((value) => value.toFixed(2)).join(' | ')} |\n` };
}

async function recoveryTable(tunnels: Tunnels): Promise<string> {
  const short = await measureRecovery(tunnels, 1_000);
  const long = await measureRecovery({ ...tunnels, gateway: short.again }, 30_000);
  const head = ['gateway down', ...tunnels.peers.map(({ name }) => name)];
  return [`| ${head.join(' | ')} |\n| ${head.map(() => '---').join(' | ')} |\n`, short.row, long.row].join('');
}

async function echoAfter(port: number, startMs: number): Promise<number> {
  await until(
    `port ${port} to echo`,
    () =>
      roundTrips(port, 1)
        .then(() => true)
        .catch(() => false),
    60_000,
  );
  return (performance.now() - startMs) / 1000;
}

async function startOpenSsh(folder: string, backend: number): Promise<Peer> {
  const key = await makeKey(join(folder, 'key'), 'bench');
  await writeFile(join(folder, 'keys'), `${key.publicKey}\n`);
  const sshd = await startSshd(join(folder, 'sshd'), `AuthorizedKeysFile ${join(folder, 'keys')}\nUsePAM no`);
  parts.own('sshd', () => sshd.stop());
  await writeFile(join(folder, 'known_hosts'), sshd.knownHosts);
  const port = await freePort();
  const ssh = await holdSsh([
    ...sshOptions(key.path, join(folder, 'known_hosts')),
    ...['-R', `127.0.0.1:${port}:127.0.0.1:${backend}`, '-p', String(sshd.port), `${sshd.user}@127.0.0.1`],
  ]);
  parts.own('ssh', () => ssh.stop());
  return { name: 'OpenSSH -R', port };
}

function startService(folder: string, httpPort: number, settings: Record<string, string> = {}): ChildProcess {
  const child = spawn(join(root, 'bin/tunnel-agent'), ['run'], {
    env: {
      PATH: process.env.PATH,
      ZEROFORCE_RUN_DIR: join(folder, `run-${httpPort}`),
      ZEROFORCE_STATE_DIR: join(folder, 'state'),
      ZEROFORCE_AUTHORIZED_KEYS_FILE: join(folder, 'authorized_keys'),
      ZEROFORCE_HTTP_HOST: '127.0.0.1',
      ZEROFORCE_HTTP_PORT: String(httpPort),
      LOG_LEVEL: 'warn',
      ...settings,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  parts.own('a service', () => endChild(child));
  return child;
}

async function startNode(script: string, ports: number[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(root, 'build', script), ...ports.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  parts.own(script, () => endChild(child));
  await once(child.stdout!, 'data');
  return child;
}

/** Memory of the service that carried the load and of a fresh idle one, and the time until a fresh one answers. */
async function memoryTable(loaded: ChildProcess, folder: string): Promise<string> {
  const after = await memory(loaded.pid!);
  const readyMs: number[] = [];
  let idle = after;
  for (let round = 0; round < ROUNDS; round += 1) {
    const httpPort = await freePort();
    const startMs = performance.now();
    const service = startService(folder, httpPort);
    await until('readytopair', async () => {
      const answer = await fetch(`http://127.0.0.1:${httpPort}/zeroforce/readytopair`).catch(() => null);
      return answer !== null && (await answer.text()) === 'true';
    });
    readyMs.push(performance.now() - startMs);
    if (round === ROUNDS - 1) {
      await new Promise((resolve) => setTimeout(resolve, REST_MS));
      idle = await memory(service.pid!);
    }
    await endChild(service);
  }
  const bare = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], { stdio: 'ignore' });
  parts.own('bare node', () => endChild(bare));
  await new Promise((resolve) => setTimeout(resolve, 500));
  const node = await memory(bare.pid!);
  const row = (name: string, { rss, anonymous }: Memory) =>
    `| ${name} | ${rss.toFixed(0)} | ${anonymous.toFixed(0)} |\n`;
  return [
    `| Node ${process.version} | RSS MiB | anonymous MiB |\n|---|---|---|\n`,
    row('bare Node', node),
    row('service, idle for 30 s', idle),
    row('service, after the load above', after),
    `\nStart to \`readytopair: true\`: ${readyMs.map((ms) => `${ms.toFixed(0)} ms`).join(', ')}\n`,
  ].join('');
}

interface Memory {
  rss: number;
  anonymous: number;
}

async function memory(pid: number): Promise<Memory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const mib = (key: string) => (Number(status.match(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm'))?.[1]) * 1024) / MIB;
  return { rss: mib('VmRSS'), anonymous: mib('RssAnon') };
}

function median(rounds: Figures[]): Figures {
  const keys = Object.keys(rounds[0]!) as (keyof Figures)[];
  const middle = (key: keyof Figures) =>
    percentile(
      rounds.map((round) => round[key]).sort((a, b) => a - b),
      0.5,
    );
  return Object.fromEntries(keys.map((key) => [key, middle(key)])) as unknown as Figures;
}

function throughputTable(results: { peer: Peer; figures: Figures }[]): string {
  const header =
    '| way | down / up MiB/s | RTT p50 / p99 µs | RTT under bulk p50 / p99 ms | new conn/s one by one / 32 at once |\n|---|---|---|---|---|\n';
  const n = (value: number, digits = 0) => value.toFixed(digits);
  const row = (name: string, f: Figures) =>
    `| ${name} | ${n(f.down)} / ${n(f.up)} | ${n(f.rtt50)} / ${n(f.rtt99)} | ${n(f.bulk50, 2)} / ${n(f.bulk99, 1)} | ${n(f.single)} / ${n(f.atOnce)} |\n`;
  const of = (index: number) => results.at(index)!.figures;
  const ratio = (name: string, a: Figures, b: Figures) => {
    const of = (key: keyof Figures) => `${(a[key] / b[key]).toFixed(2)} ×`;
    return `| ${name} | ${of('down')} / ${of('up')} | ${of('rtt50')} / ${of('rtt99')} | ${of('bulk50')} / ${of('bulk99')} | ${of('single')} / ${of('atOnce')} |\n`;
  };
  return (
    header +
    results.map(({ peer, figures }) => row(peer.name, figures)).join('') +
    ratio('agent ÷ relays', of(1), of(0)) +
    ratio('agent ÷ OpenSSH', of(1), of(-1)) +
    ratio('agent with TLS ÷ OpenSSH', of(2), of(-1)) +
    ratio('ssh of the device ÷ OpenSSH', of(3), of(-1))
  );
}

const giveUp = () => void parts.stop(10_000).then(() => process.exit(1));
const watchdog = setTimeout(giveUp, WATCHDOG_MS);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, giveUp);
try {
  await main();
} finally {
  clearTimeout(watchdog);
  await parts.stop(10_000);
}
