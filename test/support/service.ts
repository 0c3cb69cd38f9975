import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DeviceStatus } from '../../src/device.ts';
import { endChild, freePort, type Output, run, withoutTap } from './processes.ts';
import { AGENT_PROGRAM } from './programs.ts';
import { until } from './until.ts';

export const PROGRAM = AGENT_PROGRAM;

/** The device service as a process of its own, in a folder of its own. */
export interface Service {
  pid: number;
  url: string;
  settings: Record<string, string>;
  log(): string;
  status(): Promise<DeviceStatus>;
  /** `GET path`, as text; '' where nothing answers. */
  get(path: string): Promise<string>;
  /** Sends a signal and waits for the end; gives the exit code (null after SIGKILL). */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Runs a command of `bin/tunnel-agent` to its end, with nothing in the environment but `settings`. */
export function tunnelAgent(args: string[], settings: Record<string, string> = {}): Promise<Output> {
  return run(PROGRAM, args, { env: { PATH: process.env.PATH, ...settings } });
}

/**
 * Starts the service with everything below `folder`, on a free port of 127.0.0.1, and waits until it is ready.
 * `settings` are environment names; an empty configuration file keeps this machine's own out. `wrapper` is a command
 * that ends by becoming the one behind it, as `unshare -n` does.
 */
export async function startService(
  folder: string,
  settings: Record<string, string> = {},
  wrapper: readonly string[] = [],
): Promise<Service> {
  await mkdir(folder, { recursive: true });
  const config = join(folder, 'config.json');
  if (!existsSync(config)) await writeFile(config, '{}');
  const all: Record<string, string> = {
    ZEROFORCE_RUN_DIR: join(folder, 'run'),
    ZEROFORCE_STATE_DIR: join(folder, 'state'),
    ZEROFORCE_AUTHORIZED_KEYS_FILE: join(folder, 'ssh', 'authorized_keys'),
    ZEROFORCE_HTTP_HOST: '127.0.0.1',
    ZEROFORCE_HTTP_PORT: settings.ZEROFORCE_HTTP_PORT ?? String(await freePort()),
    ZEROFORCE_TUNNEL_PORT: settings.ZEROFORCE_TUNNEL_PORT ?? String(await freePort()),
    ZEROFORCE_MONITOR_INTERVAL: '0.2',
    // Nothing of a test is announced to the network of the machine, and nothing of the machine resets a test.
    ZEROFORCE_MDNS: '0',
    ZEROFORCE_RESET_FILE: join(folder, 'boot', 'zeroforce-reset'),
    ...settings,
  };
  const [program = PROGRAM, ...args] = [...wrapper, PROGRAM, 'run', '--config', config];
  const start = all.NODE_OPTIONS === undefined ? withoutTap(program, args) : ([program, args] as const);
  const child = spawn(...start, {
    env: { PATH: process.env.PATH, ...all },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
  }
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const url = `http://127.0.0.1:${all.ZEROFORCE_HTTP_PORT}`;
  try {
    await until('the service to be ready', () => {
      if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}:\n${log}`);
      return log.includes('the service is ready');
    });
  } catch (error) {
    await endChild(child, 'SIGKILL');
    throw error;
  }
  return {
    pid: child.pid ?? 0,
    url,
    settings: all,
    log: () => log,
    async status() {
      const answer = await tunnelAgent(['status', '--json', '--config', config], all);
      if (answer.code !== 0) throw new Error(answer.stderr);
      return JSON.parse(answer.stdout) as DeviceStatus;
    },
    async get(path) {
      const response = await fetch(`${url}${path}`).catch(() => null);
      return response === null ? '' : response.text();
    },
    async stop(signal = 'SIGTERM') {
      await endChild(child, signal);
      const [code] = await exited;
      return code;
    },
  };
}
