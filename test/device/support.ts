import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { requestControl } from '../../src/control/client.ts';
import type { DeviceStatus } from '../../src/device.ts';
import type { RawProxy } from '../support/raw-proxy.ts';
import { type Service, startService } from '../support/service.ts';
import { until } from '../support/until.ts';

/** A folder that goes with the test. Below /tmp, because the path of a socket in it may have 107 bytes only. */
export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A service that ends with the test, in `folder` or in one of its own. */
export async function device(
  t: Test,
  settings: Record<string, string> = {},
  { folder = temporaryFolder(t), wrapper = [] as readonly string[] } = {},
): Promise<Service> {
  const service = await startService(folder, settings, wrapper);
  t.teardown(() => service.stop('SIGKILL'));
  return service;
}

export const TOKEN = 'feed5ec2e7ab';

/** The settings of a device that belongs to this proxy. */
export function meeting({ port }: Pick<RawProxy, 'port'>, host = '127.0.0.1'): Record<string, string> {
  return {
    MEETING_DEVICE_KEY: '3316a52eb08837267bf6bd3e2b2e8dc7',
    MEETING_TOKEN: TOKEN,
    MEETING_PROXY_HOST: host,
    MEETING_PROXY_PORT: String(port),
    ZEROFORCE_RECONNECT_MIN: '0.1',
    ZEROFORCE_RECONNECT_MAX: '1',
  };
}

export const flagOf = ({ settings }: Service) => join(settings.ZEROFORCE_RUN_DIR ?? '', 'tunnel_active');
export const socketOf = ({ settings }: Service) => join(settings.ZEROFORCE_RUN_DIR ?? '', 'control.sock');
export const hasFlag = (service: Service) => existsSync(flagOf(service));
export const isReady = async (service: Service) => (await service.get('/zeroforce/readytopair')) === 'true';

/** What `tunnel-agent status --json` prints, without the time that a process takes. */
export async function statusOf({ settings }: Service): Promise<DeviceStatus> {
  return (await requestControl(settings.ZEROFORCE_RUN_DIR ?? '', 'GET /status')) as DeviceStatus;
}

/** The first status that passes. */
export async function untilStatus(service: Service, passes: (status: DeviceStatus) => boolean): Promise<DeviceStatus> {
  let last: unknown = null;
  try {
    return await until('the status', async () => {
      try {
        const status = await statusOf(service);
        last = status;
        return passes(status) ? status : null;
      } catch (error) {
        last = String(error);
        return null;
      }
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}; the last was ${JSON.stringify(last)}`, { cause: error });
  }
}

/** An established connection to the tunnel port of the service: to netstat, a paired tunnel. */
export async function openTunnel(t: Test, service: Service): Promise<{ close(): Promise<void> }> {
  const port = Number(service.settings.ZEROFORCE_TUNNEL_PORT);
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on('error', () => {}))).listen(port, '127.0.0.1');
  await once(server, 'listening');
  const client = connect(port, '127.0.0.1').on('error', () => {});
  sockets.push(client);
  await Promise.all([once(client, 'connect'), once(server, 'connection')]);
  const close = async () => {
    if (!server.listening) return;
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  };
  t.teardown(close);
  return { close };
}

export async function setKey({ url }: Service, key: string): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${url}/zeroforce/setkey`, { method: 'POST', body: new URLSearchParams({ key }) });
  return { status: response.status, body: await response.json() };
}

export const CLOSED = {
  status: 403,
  body: { ok: false, error: 'Not in pairing mode; refusing to change authorized key' },
};

/**
 * Asks without a pause whether pairing is open, until it is. Gives when the flag was last seen before that, and when
 * the first `true` came, in monotonic milliseconds.
 */
export async function nextOpening(service: Service): Promise<{ flagLastSeenMs: number; openedMs: number }> {
  let flagLastSeenMs = performance.now();
  const openedMs = await until('pairing to open', async () => {
    const askedMs = performance.now();
    if (hasFlag(service)) flagLastSeenMs = askedMs;
    return (await isReady(service)) && performance.now();
  });
  return { flagLastSeenMs, openedMs };
}

interface Answers {
  yes: number;
  no: number;
}

/** Asks without a pause whether pairing is open, and counts the answers, until `stop`. */
export function watchPairing(t: Test, service: Service): { answers: Answers; stop(): Promise<Answers> } {
  const answers: Answers = { yes: 0, no: 0 };
  let stopped = false;
  const watching = (async () => {
    while (!stopped) {
      const answer = await service.get('/zeroforce/readytopair');
      if (answer === 'true') answers.yes += 1;
      if (answer === 'false') answers.no += 1;
      await sleep(10);
    }
  })();
  const stop = async () => {
    stopped = true;
    await watching;
    return answers;
  };
  t.teardown(stop);
  return { answers, stop };
}

/** Only the signal, to the service alone; how it ended and how long that took. */
export async function end(
  service: Service,
  signal: 'SIGTERM' | 'SIGINT' | 'SIGKILL',
): Promise<{ code: number | null; tookMs: number }> {
  const startedMs = performance.now();
  process.kill(service.pid, signal);
  await until('the service to end', () => !existsSync(`/proc/${service.pid}`));
  const tookMs = performance.now() - startedMs;
  return { code: await service.stop(), tookMs };
}

/** The first log line with this text, parsed. */
/** Removes a folder that the service keeps writing into; what it makes meanwhile goes, too. */
export function removeTree(path: string): Promise<void> {
  return rm(path, { recursive: true, force: true, maxRetries: 50, retryDelay: 5 });
}

export function logLine(service: Service, text: string): Record<string, unknown> | null {
  const line = service
    .log()
    .split('\n')
    .find((each) => each.includes(text));
  return line === undefined ? null : (JSON.parse(line) as Record<string, unknown>);
}
