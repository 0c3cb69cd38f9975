/**
 * `make bench-scale`: the gateway with thousands of devices, each with two public ports, of one kind and then of the
 * other: what it holds, and what happens when it is killed with all of them connected and started again at once, with
 * its default limits. Everything is on loopback, each device at an address of its own. Prints the table of
 * docs/performance.md. `node build/bench/scale.js [DEVICES]`
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Lifecycle } from '../src/support/lifecycle.ts';
import { startTunnelGateway, type TunnelGateway } from '../test/support/gateway.ts';
import { endChild } from '../test/support/processes.ts';
import { until } from '../test/support/until.ts';
import { memoryOf } from './process-figures.ts';

const DEVICES = Number(process.argv[2] ?? 5_000);
const CALLS_AT_ONCE = 16;
const REST_MS = 15_000;
const SAMPLES = 50;
const ALL_UP_MS = 5 * 60_000;
const WATCHDOG_MS = 30 * 60_000;

/** Every device is a stranger the first time, and strangers are let in slowly; the storm has the defaults. */
const FIRST_TIME = { GATEWAY_CONN_RATE: '100000', GATEWAY_MAX_PENDING: '200' };

type Kind = 'ssh' | 'agent';
const parts = new Lifecycle();
const keepAlive = new Agent({ keepAlive: true, maxSockets: CALLS_AT_ONCE });

interface Row {
  kind: Kind;
  firstS: number;
  idle: ReturnType<typeof memoryOf>;
  readyS: number;
  backS: number;
  lateP99Ms: number;
  lateMaxMs: number;
  after: ReturnType<typeof memoryOf>;
}

async function measure(kind: Kind): Promise<Row> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-scale-'));
  parts.own('the folder', () => rm(folder, { recursive: true, force: true }));
  const settings = { GATEWAY_PORT_RANGE: '20000-30999' };
  const first = await start(folder, { ...settings, ...FIRST_TIME });
  tell(`${kind}: making ${DEVICES} devices …`);
  const keys = Array.from({ length: DEVICES }, (_, index) => `bench-${index}`);
  const tokens = await Promise.all(keys.map((key) => create(first, key, kind)));
  await writeFile(join(folder, 'devices'), keys.map((key, index) => `${key} ${tokens[index]}\n`).join(''));

  const startMs = performance.now();
  const fleet = startFleet(kind, first.ports[kind], join(folder, 'devices'));
  await allUp(fleet, DEVICES);
  const firstS = seconds(startMs);
  if (kind === 'agent') await Promise.all(keys.flatMap((key) => ['ssh', 'http'].map((name) => open(first, key, name))));
  const ports = await portsOf(first);
  tell(`${kind}: all connected after ${firstS.toFixed(1)} s, ${ports.length} ports`);
  await sample(ports);
  const idle = await atRest(first);

  tell(`${kind}: killed with all of them connected …`);
  const killMs = performance.now();
  await first.stop('SIGKILL');
  const { GATEWAY_CONN_RATE: _rate, GATEWAY_MAX_PENDING: _pending, ...defaults } = first.settings;
  const again = await startTunnelGateway(folder, defaults);
  parts.own('the gateway', () => again.stop());
  const readyS = seconds(killMs);
  await fleet.fell();
  await allUp(fleet, DEVICES);
  const backS = seconds(killMs);
  const late = await loopDelay(again);
  const samePorts = await until('all ports', async () => {
    const now = await portsOf(again);
    return now.length === ports.length && now;
  });
  if (samePorts.some((port, index) => port !== ports[index])) throw new Error('a port has changed');
  await sample(samePorts);
  const after = await atRest(again);
  fleet.child.stdin?.end();
  await once(fleet.child, 'exit');
  await again.stop();
  return { kind, firstS, idle, readyS, backS, lateP99Ms: late.p99, lateMaxMs: late.max, after };
}

async function start(folder: string, settings: Record<string, string>): Promise<TunnelGateway> {
  const gateway = await startTunnelGateway(folder, settings);
  parts.own('the gateway', () => gateway.stop());
  return gateway;
}

/** Gives the token that the device will show. */
async function create(gateway: TunnelGateway, key: string, kind: Kind): Promise<string> {
  const tokenCode = `c0de-${key.padStart(27, '0')}`;
  const facts = { devicekey: key, token_code: tokenCode, device_type: 'Bench', distribution: 'none' };
  await call(gateway, 'POST', '/api/devices/manual-create', facts);
  if (kind === 'agent') return tokenCode;
  return ((await call(gateway, 'POST', `/api/tunnel/servers/${key}/token`)) as { token: string }).token;
}

const open = (gateway: TunnelGateway, key: string, service: string) =>
  call(gateway, 'POST', `/api/devices/${key}/service`, { service });

/** Every public port that listens, in the order of devices and services. */
async function portsOf(gateway: TunnelGateway): Promise<number[]> {
  const { items } = (await call(gateway, 'GET', '/api/tunnel/overview')) as {
    items: { status: string; services: { tunnel_port: number | null }[] }[];
  };
  const ports = items
    .filter(({ status }) => status === 'online')
    .flatMap(({ services }) => services.map(({ tunnel_port: port }) => port))
    .filter((port) => port !== null);
  return ports.sort((a, b) => a - b);
}

async function call(gateway: TunnelGateway, method: string, path: string, body?: object): Promise<unknown> {
  const text = await callText(gateway, method, path, body);
  return JSON.parse(text) as unknown;
}

function callText(gateway: TunnelGateway, method: string, path: string, body?: object): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${gateway.adminToken}`, 'content-type': 'application/json' };
    const options = { host: '127.0.0.1', port: gateway.ports.http, method, path, headers, agent: keepAlive };
    const asked = request(options, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      answer.on('end', () => {
        if ((answer.statusCode ?? 500) < 300) resolve(text);
        else reject(new Error(`${method} ${path}: ${answer.statusCode} ${text}`));
      });
    });
    asked.on('error', reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

interface Fleet {
  child: ChildProcess;
  up(): number;
  /** Resolves when it has noticed that the gateway is gone. */
  fell(): Promise<void>;
}

function startFleet(kind: Kind, port: number, file: string): Fleet {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'fleet.js'), kind, String(port), file], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  parts.own('the fleet', () => endChild(child));
  let up = 0;
  let lowest = 0;
  createInterface({ input: child.stdout }).on('line', (line) => {
    up = (JSON.parse(line) as { up: number }).up;
    lowest = Math.min(lowest, up);
  });
  return {
    child,
    up: () => up,
    async fell() {
      lowest = up;
      await until('the fleet to notice', () => lowest < DEVICES);
    },
  };
}

const allUp = (fleet: Fleet, count: number) => until('every device', () => fleet.up() === count, ALL_UP_MS);

/** Some ports, each with one echoed byte. */
async function sample(ports: readonly number[]): Promise<void> {
  const step = Math.max(1, Math.floor(ports.length / SAMPLES));
  for (let index = 0; index < ports.length; index += step) {
    const socket = connect({ host: '127.0.0.1', port: ports[index] ?? 0 });
    socket.write('x');
    const [answer] = (await once(socket, 'data')) as [Buffer];
    socket.destroy();
    if (answer.toString() !== 'x') throw new Error(`port ${ports[index]} answered ${answer.toString()}`);
  }
}

async function atRest(gateway: TunnelGateway) {
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
  return memoryOf(gateway.pid);
}

/** Since the start of the gateway. */
async function loopDelay(gateway: TunnelGateway): Promise<{ p99: number; max: number }> {
  const text = await callText(gateway, 'GET', '/metrics');
  const of = (quantile: string) => {
    const [, value] =
      new RegExp(`^zeroforce_gateway_event_loop_delay_seconds\\{quantile="${quantile}"\\} (\\S+)`, 'm').exec(text) ??
      [];
    return 1000 * Number(value ?? Number.NaN);
  };
  return { p99: of('0.99'), max: of('1') };
}

const seconds = (sinceMs: number) => (performance.now() - sinceMs) / 1000;
const tell = (sentence: string) => void process.stderr.write(`${sentence}\n`);

function table(rows: readonly Row[]): string {
  const cells = (row: Row) => [
    `${DEVICES} ${row.kind === 'ssh' ? 'SSH devices' : 'Meeting agents'}`,
    row.firstS.toFixed(1),
    `${row.idle.rssMib.toFixed(0)} / ${row.idle.anonymousMib.toFixed(0)}`,
    `${row.readyS.toFixed(1)} / ${row.backS.toFixed(1)}`,
    `${row.lateP99Ms.toFixed(0)} / ${row.lateMaxMs.toFixed(0)}`,
    `${row.after.rssMib.toFixed(0)} / ${row.after.anonymousMib.toFixed(0)}`,
  ];
  const head = [
    `Node ${process.version}`,
    'first all connected s',
    'idle RSS / anonymous MiB',
    'killed: ready / all back s',
    'event loop delay p99 / max ms',
    'RSS / anonymous MiB after',
  ];
  return [head, head.map(() => '---'), ...rows.map(cells)].map((row) => `| ${row.join(' | ')} |\n`).join('');
}

const giveUp = () => void parts.stop(10_000).then(() => process.exit(1));
const watchdog = setTimeout(giveUp, WATCHDOG_MS);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, giveUp);
try {
  const rows: Row[] = [];
  for (const kind of ['ssh', 'agent'] as const) rows.push(await measure(kind));
  process.stdout.write(table(rows));
} finally {
  clearTimeout(watchdog);
  keepAlive.destroy();
  await parts.stop(10_000);
}
