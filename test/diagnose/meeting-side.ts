import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { API_TOKEN, DEVICE_KEY, type MeetingServer, startMeetingServer } from '../support/meeting-api.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { type Diagnosis, expectCause, type Machine, machine, NEEDS_MACHINE } from './machine.ts';

/** Looking for itself in the network takes seconds, and is not what these tests are about. */
export const QUIET = { mdns: { enabled: false } };
export const NEEDS = requires(...NEEDS_MACHINE, 'openssl', 'curl');
export const API_URL = 'http://127.0.0.1:8080';
export const PROXY = { host: '127.0.0.1', port: 9001 };

/** A device whose tunnel stands, where the Meeting server is at `url`. */
export async function online(t: Test, url: string): Promise<Machine> {
  const proxy = await startRawProxy({ mode: 'v1' });
  t.teardown(() => proxy.close());
  const device = await machine(t);
  await device.sshd();
  await device.expose(proxy.port, PROXY.port);
  await device.configure({
    ...QUIET,
    meeting: { deviceKey: DEVICE_KEY, token: API_TOKEN, proxy: PROXY, api: { url } },
  });
  return device;
}

/** The service, once its tunnel stands and the API has said all that the service asks for. */
export async function serve(device: Machine): Promise<void> {
  await device.service();
  await until('the tunnel', async () => /"state": ?"up"/.test((await device.agent(['status', '--json'])).stdout));
}

export async function meetingServer(
  t: Test,
  device: Machine,
  port: number,
  options: Parameters<typeof startMeetingServer>[0] = {},
): Promise<MeetingServer> {
  const api = await startMeetingServer(options);
  t.teardown(() => api.close());
  await device.expose(api.port, port);
  return api;
}

/** What listens and does with each connection as it is told. */
export async function socketServer(
  t: Test,
  device: Machine,
  port: number,
  handle: (socket: Socket) => void,
): Promise<void> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    handle(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await device.expose((server.address() as { port: number }).port, port);
}

/** The cause, its summary and its evidence; nothing of the report holds the token, in whatever case. */
export function expectApi(
  t: Test,
  found: Diagnosis,
  id: string,
  summary: RegExp,
  evidence = /^GET https?:.* → /,
): void {
  expectCause(t, found, id, summary);
  t.match(found.check(id).evidence, evidence);
  t.notMatch(JSON.stringify(found.report), new RegExp(API_TOKEN, 'i'), 'no token in the report');
}

export function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-api-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
