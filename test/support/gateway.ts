import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { endChild, type Output, run, withoutTap } from './processes.ts';
import { GATEWAY_PROGRAM } from './programs.ts';
import { until } from './until.ts';

export { GATEWAY_PROGRAM };

/** The gateway as a process of its own, with a data folder of its own. */
export interface TunnelGateway {
  pid: number;
  /** Where it listens, on 127.0.0.1. */
  ports: { agent: number; ssh: number; http: number };
  /** Its environment, for further programs and for another start: the ports are those that it got. */
  settings: Record<string, string>;
  adminToken: string;
  log(): string;
  /** Runs a command of the program against it. */
  cli(args: string[], input?: string): Promise<Output>;
  /** The same with `--json`: what it printed; throws where it failed. */
  json(args: string[], input?: string): Promise<unknown>;
  /** Asks its REST interface, where that has no TLS; `route` is for example `GET /api/devices`. */
  rest(route: string, body?: unknown): Promise<{ status: number; body: unknown }>;
  /** Waits until a device is connected. */
  online(deviceKey: string): Promise<void>;
  /** Sends a signal and waits for the end; gives the exit code (null after SIGKILL). */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** Sends a signal, and no more. */
  signal(name: NodeJS.Signals): void;
  /** Resolves with the exit code. */
  exited: Promise<number | null>;
}

/** Runs a command of `bin/tunnel-gateway` to its end, with nothing in the environment but `settings`. */
export function tunnelGateway(args: string[], settings: Record<string, string> = {}, input = ''): Promise<Output> {
  return run(GATEWAY_PROGRAM, args, { env: { PATH: process.env.PATH, ...settings }, input });
}

/** The settings of a gateway that stays on this machine, below `folder`, on ports that the system chooses. */
export async function gatewaySettings(
  folder: string,
  settings: Record<string, string> = {},
): Promise<Record<string, string>> {
  return {
    GATEWAY_DATA_DIR: join(folder, 'data'),
    GATEWAY_AGENT_HOST: '127.0.0.1',
    GATEWAY_AGENT_PORT: '0',
    GATEWAY_SSH_HOST: '127.0.0.1',
    GATEWAY_SSH_PORT: '0',
    GATEWAY_HTTP_PORT: '0',
    GATEWAY_PUBLIC_HOST: '127.0.0.1',
    GATEWAY_PORT_RANGE: settings.GATEWAY_PORT_RANGE ?? (await freeRange()),
    ...settings,
  };
}

/**
 * Starts the gateway and waits until it is ready. With the `settings` of one that ran before it has the same ports and
 * the same data. `wrapper` is a command that ends by becoming the one behind it, as `unshare -n` does.
 */
export async function startTunnelGateway(
  folder: string,
  settings: Record<string, string> = {},
  { wrapper = [], args = [] }: { wrapper?: readonly string[]; args?: readonly string[] } = {},
): Promise<TunnelGateway> {
  const all = await gatewaySettings(folder, settings);
  const [program = GATEWAY_PROGRAM, ...words] = [...wrapper, GATEWAY_PROGRAM, 'serve', ...args];
  const child = spawn(...withoutTap(program, words), {
    env: { PATH: process.env.PATH, ...all },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
  }
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  let ready: ReadyLine;
  try {
    ready = await until('the gateway to be ready', () => {
      if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}:\n${log}`);
      return readyLine(log);
    });
  } catch (error) {
    await endChild(child, 'SIGKILL');
    throw error;
  }
  const ports = { agent: ready.agent.port, ssh: ready.ssh.port, http: ready.http.port };
  const now = {
    ...all,
    GATEWAY_AGENT_PORT: String(ports.agent),
    GATEWAY_SSH_PORT: String(ports.ssh),
    GATEWAY_HTTP_PORT: String(ports.http),
  };
  const tokenFile = all.GATEWAY_ADMIN_TOKEN_FILE ?? join(all.GATEWAY_DATA_DIR ?? '', 'admin-token');
  const adminToken = all.GATEWAY_ADMIN_TOKEN ?? (await readFile(tokenFile, 'utf8')).trim();
  const cli = (command: string[], input = '') => tunnelGateway(command, now, input);
  const rest: TunnelGateway['rest'] = async (route, body) => {
    const [method = '', path = ''] = route.split(' ');
    const response = await fetch(`http://127.0.0.1:${ports.http}${path}`, {
      method,
      headers: { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json') === true;
    return { status: response.status, body: isJson ? (JSON.parse(text) as unknown) : text };
  };
  return {
    pid: child.pid ?? 0,
    ports,
    settings: now,
    adminToken,
    log: () => log,
    cli,
    async json(words, input) {
      const { code, stdout, stderr } = await cli([...words, '--json'], input);
      if (code !== 0) throw new Error(stderr);
      return JSON.parse(stdout) as unknown;
    },
    rest,
    async online(deviceKey) {
      await until(`${deviceKey} to be online`, async () => {
        const { body } = await rest(`GET /api/tunnel/servers/${deviceKey}/status`);
        return (body as { status?: string }).status === 'online';
      });
    },
    async stop(signal = 'SIGTERM') {
      if (signal === 'SIGKILL') await endChild(child, signal);
      else child.kill(signal);
      return exited;
    },
    signal: (name) => void child.kill(name),
    exited,
  };
}

interface ReadyLine {
  agent: { port: number };
  ssh: { port: number };
  http: { port: number };
}

function readyLine(log: string): ReadyLine | null {
  const line = log.split('\n').find((text) => text.includes('"the gateway is ready"'));
  return line === undefined ? null : (JSON.parse(line) as ReadyLine);
}

/** Below the ports that the system gives to others, and small: two tests at once seldom meet. */
const RANGE_PORTS = 50;

/** `20000-20049`, of which the first ports were free a moment ago. */
export async function freeRange(): Promise<string> {
  for (;;) {
    const start = 10_000 + RANGE_PORTS * Math.floor(Math.random() * 440);
    const first = await Promise.all(Array.from({ length: 10 }, (_, offset) => isFree(start + offset)));
    if (first.every(Boolean)) return `${start}-${start + RANGE_PORTS - 1}`;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  const free = await once(server, 'listening').then(
    () => true,
    () => false,
  );
  if (free) await new Promise((done) => server.close(done));
  return free;
}
