/**
 * One measured service and all that it talks to, in a network of its own:
 * `unshare -n node footprint-cell.js idle STEP NODE_FOLDER LAUNCHER`, or `… starts COUNT …`, or `… polls COUNT …`.
 * Prints its figures as one line of JSON. Started by footprint.ts.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lifecycle } from '../src/support/lifecycle.ts';
import { startTunnelGateway } from '../test/support/gateway.ts';
import { endChild, freePort } from '../test/support/processes.ts';
import { changedFiles, snapshotOf } from './changed-files.ts';
import { type Part, STEPS, type Step } from './footprint-steps.ts';
import { activityOf, type Memory, memoryOf } from './process-figures.ts';

/** V8 gives back what the start needed only after a while; that is at rest. */
const REST_MS = 30_000;
const WINDOW_MS = 60_000;
/** Loaded into every service before its program; asks for what V8 does only when memory runs out. */
const COLLECT_AT_SIGUSR2 = `let gc;
process.on('SIGUSR2', () => {
  require('node:v8').setFlagsFromString('--expose-gc');
  gc ??= require('node:vm').runInNewContext('gc');
  for (let i = 0; i < 3; i += 1) gc({ type: 'major', execution: 'sync', flavor: 'last-resort' });
});`;
const COLLECT_MS = 2_000;
/** Ten times as often as a device looks, and twenty times as long as a poll takes. */
const POLL_MS = 500;
/** A hundredth of what is measured. */
const READY_POLL_MS = 4;
const READY_DEADLINE_MS = 30_000;
/** The run folder lies in memory, as /run does on a device. */
const MEMORY_FOLDER = '/dev/shm';

export interface IdleFigures extends Memory {
  /** What is left after V8 has collected all that it can: of two services, the difference is what a part needs. */
  collected: Memory;
  wakeUpsPerSecond: number;
  cpuMsPerMinute: number;
  childrenCpuMsPerMinute: number;
  /** Written by the service to file systems on storage, in the window. */
  storageBytes: number;
  /** Files on storage that were made, changed or removed in the window. */
  changedFiles: string[];
}

export interface StartFigures extends Memory {
  readyMs: number[];
  /** CPU time up to then, which tells less of what else the machine did. */
  readyCpuMs: number[];
}

export interface PollFigures {
  /** One for each of the last looks. */
  memory: Memory[];
}

/** What a service needs around it. */
interface Surroundings {
  /** Holds what lies on storage on a device: configuration, state and the paired key. */
  folder: string;
  httpPort: number;
  settings: Record<string, string>;
  settingsOf: Record<Part, Record<string, string>>;
}

const parts = new Lifecycle();
const everything = STEPS.at(-1)!;
const [kind, number = '', nodeFolder = '', launcher = ''] = process.argv.slice(2);

async function idle(step: Step): Promise<IdleFigures> {
  const around = await surroundings();
  const { pid = 0 } = await start(step, around);
  if (step.args.includes('run')) await ready(around.httpPort);
  await sleep(REST_MS);

  const [before, filesBefore] = [activityOf(pid), await snapshotOf(around.folder)];
  await sleep(WINDOW_MS);
  const [after, filesAfter] = [activityOf(pid), await snapshotOf(around.folder)];

  const uncollected = memoryOf(pid);
  process.kill(pid, 'SIGUSR2');
  await sleep(COLLECT_MS);
  const grown = (key: keyof typeof before) => after[key] - before[key];
  return {
    ...uncollected,
    collected: memoryOf(pid),
    wakeUpsPerSecond: grown('wakeUps') / (WINDOW_MS / 1000),
    cpuMsPerMinute: grown('cpuMs') / (WINDOW_MS / 60_000),
    childrenCpuMsPerMinute: grown('childrenCpuMs') / (WINDOW_MS / 60_000),
    storageBytes: grown('storageBytes'),
    changedFiles: changedFiles(filesBefore, filesAfter),
  };
}

/** Starts one after the other; the memory is that of the last one, at rest. */
async function starts(count: number): Promise<StartFigures> {
  const around = await surroundings();
  const [readyMs, readyCpuMs]: [number[], number[]] = [[], []];
  for (;;) {
    const startMs = performance.now();
    const service = await start(everything, around);
    await ready(around.httpPort);
    readyMs.push(performance.now() - startMs);
    readyCpuMs.push(activityOf(service.pid ?? 0).cpuMs);
    if (readyMs.length === count) {
      await sleep(REST_MS);
      return { ...memoryOf(service.pid ?? 0), readyMs, readyCpuMs };
    }
    await endChild(service);
  }
}

/**
 * The memory of a service that has run for long: each poll leaves some garbage, which V8 takes away now and then. Looked
 * at ten times in the second half.
 */
async function polls(count: number): Promise<PollFigures> {
  const around = await surroundings();
  around.settings.ZEROFORCE_MONITOR_INTERVAL = String(POLL_MS / 1000);
  const { pid = 0 } = await start(everything, around);
  await sleep((count * POLL_MS) / 2);
  const seen: Memory[] = [];
  while (seen.length < 10) {
    await sleep((count * POLL_MS) / 20);
    seen.push(memoryOf(pid));
  }
  return { memory: seen };
}

async function start(step: Step, { folder, settings, settingsOf }: Surroundings): Promise<ChildProcess> {
  const child = spawn(await launcherOf(step, folder), step.args, {
    env: {
      PATH: `${nodeFolder}:${process.env.PATH}`,
      PROGRAM: `${launcher}.cjs`,
      NODE_OPTIONS: `--require=${await collector(folder)}`,
      ...settings,
      ...Object.assign({}, ...step.parts.map((part) => settingsOf[part])),
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  parts.own('the service', () => endChild(child));
  return child;
}

async function collector(folder: string): Promise<string> {
  const path = join(folder, 'collect.cjs');
  await writeFile(path, COLLECT_AT_SIGUSR2);
  return path;
}

/** With the same flags, whatever it runs. */
async function launcherOf({ instead }: Step, folder: string): Promise<string> {
  if (instead === undefined) return launcher;
  const copy = join(folder, 'tunnel-agent');
  await copyFile(launcher, copy);
  await writeFile(`${copy}.cjs`, instead);
  return copy;
}

async function surroundings(): Promise<Surroundings> {
  makeNetwork();
  const [folder, runDir] = [await temporaryFolder(tmpdir()), await temporaryFolder(MEMORY_FOLDER)];
  const httpPort = await freePort();
  const config = join(folder, 'config.json');
  await writeFile(config, '{}');
  return {
    folder,
    httpPort,
    settings: {
      ZEROFORCE_RUN_DIR: runDir,
      ZEROFORCE_STATE_DIR: join(folder, 'state'),
      ZEROFORCE_AUTHORIZED_KEYS_FILE: join(folder, 'ssh', 'authorized_keys'),
      ZEROFORCE_RESET_FILE: join(folder, 'zeroforce-reset'),
      ZEROFORCE_HTTP_PORT: String(httpPort),
      ZEROFORCE_MONITOR: '0',
      ZEROFORCE_MDNS: '0',
      ZEROFORCE_TRANSPORT: 'none',
      LOG_LEVEL: 'warn',
    },
    settingsOf: {
      monitor: { ZEROFORCE_MONITOR: '1' },
      mdns: { ZEROFORCE_MDNS: '1' },
      tunnel: { ZEROFORCE_TRANSPORT: 'meeting', ...(await startGateway(await temporaryFolder(tmpdir()))) },
      meeting: { MEETING_API_URL: await startMeetingApi() },
    },
  };
}

/** One link with an address and a route, for mDNS to speak on; nobody is at its other end. */
function makeNetwork(): void {
  for (const command of [
    'link set lo up',
    'link add home0 type veth peer name far0',
    'addr add 192.168.77.2/24 dev home0',
    'link set home0 up',
    'link set far0 up',
    'route add default via 192.168.77.1',
  ]) {
    execFileSync('ip', command.split(' '));
  }
}

async function startGateway(folder: string): Promise<Record<string, string>> {
  const gateway = await startTunnelGateway(folder);
  parts.own('the gateway', () => gateway.stop());
  const { devicekey = '', token_code = '' } = (await gateway.json(['device', 'add'])) as Record<string, string>;
  return {
    MEETING_DEVICE_KEY: devicekey,
    MEETING_TOKEN: token_code,
    MEETING_PROXY_HOST: '127.0.0.1',
    MEETING_PROXY_PORT: String(gateway.ports.agent),
  };
}

/** The calls of a heartbeat, answered as the server does (docs/meeting.md). */
async function startMeetingApi(): Promise<string> {
  const server = createServer((request, response) => {
    const time = new Date().toISOString().slice(0, 19).replace('T', ' ');
    const answers: Record<string, unknown> = {
      online: { ok: true, ip_address: '127.0.0.1', last_seen: time },
      availability: { status: 'Available', last_heartbeat: time, since: time, uptime: 60 },
    };
    const device = { authorized: true, services: ['ssh', 'http'] };
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(answers[request.url?.split('/').pop() ?? ''] ?? device));
  }).listen(0, '127.0.0.1');
  parts.own('the Meeting API', () => server.close().closeAllConnections());
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Whether somebody could pair now. */
async function ready(httpPort: number): Promise<void> {
  const url = `http://127.0.0.1:${httpPort}/zeroforce/readytopair`;
  const endMs = performance.now() + READY_DEADLINE_MS;
  while ((await text(url)) !== 'true') {
    if (performance.now() > endMs) throw new Error(`${url} does not answer true`);
    await sleep(READY_POLL_MS);
  }
}

/** '' where nothing answers. */
async function text(url: string): Promise<string> {
  try {
    const [response] = (await once(get(url), 'response')) as [IncomingMessage];
    return (await response.setEncoding('utf8').toArray()).join('');
  } catch {
    return '';
  }
}

async function temporaryFolder(parent: string): Promise<string> {
  const folder = await mkdtemp(join(parent, 'zeroforce-footprint-'));
  parts.own(folder, () => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function figures(): Promise<IdleFigures | StartFigures | PollFigures> {
  if (kind === 'starts') return starts(Number(number));
  if (kind === 'polls') return polls(Number(number));
  const step = STEPS[Number(number)];
  if (kind !== 'idle' || step === undefined) throw new Error(`no such measurement: ${kind} ${number}`);
  return idle(step);
}

const giveUp = () => void parts.stop(10_000).then(() => process.exit(1));
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, giveUp);
try {
  process.stdout.write(`${JSON.stringify(await figures())}\n`);
} finally {
  await parts.stop(10_000);
}
