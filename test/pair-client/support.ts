import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { PairEvent } from '../../src/pair-client/events.ts';
import { pair } from '../../src/pair-client/pair.ts';
import { systemClock } from '../../src/support/clock.ts';
import { asFailure } from '../../src/support/failures.ts';
import { createLog } from '../../src/support/log.ts';
import { descendants, endChild, freePort } from '../support/processes.ts';
import { PROGRAM, type Service, startService } from '../support/service.ts';
import { hardenedConfig, type Sshd, startSshd } from '../support/sshd.ts';
import { until } from '../support/until.ts';

export interface Event {
  event: string;
  time: string;
  [field: string]: unknown;
}

export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** `tunnel-agent pair --json …` as a process of its own, with a home of its own. */
export class PairProcess {
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  readonly #exited: Promise<number | null>;

  constructor(
    args: readonly string[],
    { env = {}, home, wrapper = [] }: { env?: Record<string, string>; home: string; wrapper?: readonly string[] },
  ) {
    const [program = PROGRAM, ...rest] = [...wrapper, PROGRAM, 'pair', ...args];
    this.child = spawn(program, rest, {
      env: { PATH: process.env.PATH, HOME: home, XDG_RUNTIME_DIR: home, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.#exited = once(this.child, 'close').then(([code]) => code as number | null);
  }

  /** Every complete line, which must be JSON. */
  get events(): Event[] {
    return this.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Event);
  }

  named(event: string): Event[] {
    return this.events.filter((each) => each.event === event);
  }

  /** The `count`th event of this name. */
  async sees(event: string, count = 1): Promise<Event> {
    return until(`event ${event}; so far:\n${this.stdout}${this.stderr}`, () => {
      const found = this.named(event)[count - 1];
      if (found === undefined && this.child.exitCode !== null) {
        throw new Error(`pair ended with ${this.child.exitCode} before ${event}:\n${this.stdout}${this.stderr}`);
      }
      return found;
    }).catch((error: Error) => {
      throw new Error(`${error.message}\n--- now:\n${this.stdout}${this.stderr}`);
    });
  }

  below(): number[] {
    return descendants(this.child.pid ?? 0);
  }

  exit(): Promise<number | null> {
    return this.#exited;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.child.kill(signal);
    return this.#exited;
  }

  async end(): Promise<void> {
    await endChild(this.child, 'SIGTERM');
  }
}

/** Starts `tunnel-agent pair --json`; ended with the test. */
export function startPair(
  t: Test,
  args: readonly string[],
  options: { env?: Record<string, string>; home: string; wrapper?: readonly string[] },
): PairProcess {
  const process = new PairProcess([...args, '--json'], options);
  t.teardown(() => process.end());
  return process;
}

export interface TestDevice {
  service: Service;
  sshd: Sshd;
  httpPort: number;
  /** The arguments that lead `pair` to it. */
  args: string[];
  folder: string;
}

/** A device of real parts: the service and the hardened sshd, which read and write one key file. */
export async function startDevice(
  t: Test,
  settings: Record<string, string> = {},
  folder = temporaryFolder(t),
): Promise<TestDevice> {
  const authorizedKeys = join(folder, 'ssh', 'authorized_keys');
  const httpPort = await freePort();
  const sshd = await startSshd(join(folder, 'sshd'), await hardenedConfig(authorizedKeys, httpPort));
  t.teardown(() => sshd.stop());
  const service = await startService(folder, {
    ZEROFORCE_AUTHORIZED_KEYS_FILE: authorizedKeys,
    ZEROFORCE_HTTP_PORT: String(httpPort),
    ZEROFORCE_TUNNEL_PORT: String(sshd.port),
    ...settings,
  });
  t.teardown(() => service.stop('SIGKILL'));
  return { service, sshd, httpPort, folder, args: pathTo(sshd.port, httpPort) };
}

export function pathTo(tunnelPort: number, httpPort: number): string[] {
  return [`127.0.0.1:${tunnelPort}`, '--http-port', String(httpPort), '--user', userInfo().username];
}

/** `pair` in this process, without `--json` and arguments: its events, and how it ended. */
export function pairHere(
  t: Test,
  {
    tunnelPort,
    httpPort,
    folder,
    pin = null,
  }: { tunnelPort: number; httpPort: number; folder: string; pin?: string | null },
) {
  const stop = new AbortController();
  const events: PairEvent[] = [];
  const ended = pair(
    {
      target: { kind: 'host', host: '127.0.0.1', tunnelPort },
      identityFile: join(folder, 'id'),
      user: userInfo().username,
      httpPort,
      tunnelPort,
      forwards: [],
      once: true,
      pin: () => Promise.resolve(pin),
      choose: null,
      runFolder: join(folder, 'run'),
      sshProgram: 'ssh',
      emit: (event) => events.push(event),
      clock: systemClock,
      random: () => 0,
      log: createLog('silent'),
    },
    stop.signal,
  ).then(
    () => null,
    (error: unknown) => asFailure(error),
  );
  t.teardown(async () => {
    stop.abort();
    await ended;
  });
  return { events, ended, stop: () => stop.abort(), names: () => events.map(({ event }) => event) };
}

export type Handler = (request: { path: string; body: string; req: IncomingMessage }, res: ServerResponse) => unknown;

/** What answers as a device by HTTP, in the words of the test; its port. */
export async function scriptedHttp(t: Test, handle: Handler): Promise<number> {
  const serve = async (req: IncomingMessage, res: ServerResponse) => {
    let body = '';
    for await (const chunk of req) body += String(chunk);
    await handle({ path: req.url ?? '', body, req }, res);
  };
  const server = createServer((req, res) => void serve(req, res).catch(() => res.destroy())).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

export const isReady = async (service: Service) => (await service.get('/zeroforce/readytopair')) === 'true';
