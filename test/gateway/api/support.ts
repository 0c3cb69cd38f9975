import { mkdtempSync, rmSync } from 'node:fs';
import { type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Secret } from '../../../src/config/secret.ts';
import { createApp } from '../../../src/gateway/api/app.ts';
import { Metrics } from '../../../src/gateway/api/metrics.ts';
import { describeApi } from '../../../src/gateway/api/openapi.ts';
import { ApiServer, type CertificateSource } from '../../../src/gateway/api/server.ts';
import { type Core, createCore } from '../../../src/gateway/core.ts';
import { Secrets } from '../../../src/gateway/secrets.ts';
import { type Clock, systemClock } from '../../../src/support/clock.ts';
import { type LogLine, testLog } from '../../support/test-log.ts';
import { FakeSession } from '../fake-session.ts';
import { MemoryStore } from '../memory-store.ts';
import { complaints } from './json-schema.ts';

export const ADMIN_TOKEN = 'the-token-of-the-operator';
export const KEY = '3316a52eb08837267bf6bd3e2b2e8dc7';
export const TOKEN_CODE = 'feed5ec2e7abfeed5ec2e7abfeed5ec2';
export const HOST_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO9N5NQ8pXkUQ9JcEtmNTBvX6QH3vXo9cXhbQb3XoKfM';
export const VERSION = '1.2.3';

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** Of a JSON answer. */
  body: Record<string, unknown>;
}

export interface Asked {
  headers?: OutgoingHttpHeaders;
  /** Sent as JSON, unless it is a text. */
  body?: unknown;
  /** Null: nobody. Without it: the operator. */
  as?: 'operator' | { tokenCode: string } | null;
  from?: string;
}

export interface Api {
  core: Core;
  store: MemoryStore;
  server: ApiServer;
  port: number;
  lines: LogLine[];
  draining: boolean;
  /** `POST /api/devices`. Every answer is compared with the description of the API. */
  call(what: string, asked?: Asked): Promise<Answer>;
  /** Adds a device, as an operator does. */
  addDevice(key?: string, tokenCode?: string): Promise<void>;
  /** Puts a device online, with a session that does what the real ones do with the core. */
  connect(key?: string, entry?: 'agent' | 'ssh'): FakeSession;
}

export interface ApiOptions {
  clock?: Clock;
  nowMs?: () => number;
  certificate?: CertificateSource | null;
  publicHost?: string;
  sshPort?: number;
  hostKey?: string;
  portRange?: { start: number; end: number };
}

/** Test files run side by side, and each opens the lowest ports of its range. */
const rangeOfThisProcess = () => {
  const start = 30_000 + (process.pid % 27) * 100; // below the ephemeral ports
  return { start, end: start + 99 };
};

/** The API over the real core, with the store in memory. */
export async function startApi(t: Test, options: ApiOptions = {}): Promise<Api> {
  const { clock = systemClock, nowMs = Date.now, certificate = null, publicHost = 'gateway.example.org' } = options;
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-api-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const { log, lines } = testLog();
  const store = new MemoryStore();
  const portRange = options.portRange ?? rangeOfThisProcess();
  const core = createCore({
    store,
    secrets: await Secrets.open(folder),
    config: { bindHost: '127.0.0.1', portRange, leaseMs: 3600_000, connectionRate: 10, maxPending: 50 },
    clock,
    nowMs,
    log,
  });
  await core.load();
  t.teardown(() => core.stop());
  const { operations } = core;
  const metrics = new Metrics({
    operations,
    counts: () => core.counts(),
    portRange,
    version: VERSION,
  });
  t.teardown(() => metrics.stop());
  const handler = createApp({
    operations,
    adminToken: new Secret(ADMIN_TOKEN),
    version: VERSION,
    publicHost,
    tunnelHost: publicHost,
    sshPort: options.sshPort ?? 2222,
    hostKey: options.hostKey ?? HOST_KEY,
    baseUrl: `https://${publicHost}:9443`,
    draining: () => api.draining,
    metrics,
    clock,
    nowMs,
    log,
  });
  const server = new ApiServer({ handler, host: '127.0.0.1', port: 0, certificate, clock: systemClock, log });
  await server.start();
  t.teardown(() => server.stop());
  const port = server.address?.port ?? 0;
  const api: Api = {
    ...{ core, store, server, port, lines, draining: false },
    async call(what, asked = {}) {
      const answer = await send(port, what, asked, certificate !== null);
      const [method = '', path = ''] = what.split(' ');
      const wrong = undocumented(method, path, answer);
      if (wrong.length > 0)
        throw new Error(`${what} answered what is not described: ${wrong.join('; ')}\n${answer.text}`);
      return answer;
    },
    async addDevice(key = KEY, tokenCode = TOKEN_CODE) {
      const device = { key, tokenCode, type: 'beamer', distribution: 'buildroot', productSerial: null };
      await operations.create(device);
    },
    connect(key = KEY, entry = 'agent') {
      const session = new FakeSession(key, entry);
      session.onEnd = (reason) => core.host.ended(session, reason, null);
      if (!core.host.started(session, core.operations.status(key).device)) throw new Error('the session was not taken');
      return session;
    },
  };
  return api;
}

/** One request on a connection of its own. */
export function send(port: number, what: string, asked: Asked = {}, tls = false): Promise<Answer> {
  const [method = '', path = ''] = what.split(' ');
  const { as = 'operator', body, from } = asked;
  const text = body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body);
  const headers = {
    ...(as === 'operator' && { authorization: `Bearer ${ADMIN_TOKEN}` }),
    ...(as !== null && as !== 'operator' && { 'x-token-code': as.tokenCode }),
    ...(text !== null && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
    ...asked.headers,
  };
  return new Promise((resolve, reject) => {
    const where = { host: '127.0.0.1', port, method, path, headers, agent: false, timeout: 30_000 };
    const begin = tls ? tlsRequest : request;
    const call = begin({ ...where, rejectUnauthorized: false, ...(from !== undefined && { localAddress: from }) });
    call.on('error', reject);
    call.on('timeout', () => call.destroy(new Error(`${what}: no answer`)));
    call.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        const isJson = response.headers['content-type'] === 'application/json; charset=utf-8' && text !== '';
        const parsed = isJson ? (JSON.parse(text) as Record<string, unknown>) : {};
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, body: parsed });
      });
    });
    call.end(text ?? undefined);
  });
}

const description = describeApi(VERSION) as unknown as {
  paths: Record<string, Record<string, { responses: Record<number, { content: Record<string, { schema: object }> }> }>>;
};

/** The path of the description that stands for an address; of several, the one with fewest parameters. */
export function templateOf(path: string): string | null {
  const [plain = ''] = path.split('?');
  const fits = (template: string) => new RegExp(`^${template.replaceAll(/\{[a-z]+\}/g, '[^/]+')}/?$`).test(plain);
  const parameters = (template: string) => template.split('{').length;
  const found = Object.keys(description.paths).filter(fits);
  return found.sort((a, b) => parameters(a) - parameters(b))[0] ?? null;
}

/** What of an answer the description does not say. */
function undocumented(method: string, path: string, { status, headers, text, body }: Answer): string[] {
  const template = templateOf(path);
  const operation = template === null ? undefined : description.paths[template]?.[method.toLowerCase()];
  const [type = ''] = (headers['content-type'] ?? '').split(';');
  if (operation === undefined || method === 'HEAD') {
    return method === 'HEAD' || status === 404 || status === 405 || status === 400 ? [] : [`the status ${status}`];
  }
  const content = operation.responses[status]?.content;
  // What any path can be: broken percent-encoding.
  if (content === undefined) return path.includes('%') && status === 400 ? [] : [`the status ${status}`];
  const schema = content[type]?.schema;
  if (schema === undefined) return [`the type ${type}`];
  return complaints(schema as never, type === 'application/json' ? body : text, description as never);
}
