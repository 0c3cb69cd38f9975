import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export const DEVICE_KEY = '3316a52eb08837267bf6bd3e2b2e8dc7';
export const API_TOKEN = 'feed5ec2e7ab';

/** One request as it came in. */
export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: string;
}

export type Answer = (response: ServerResponse, seen: Seen) => void;

/** A small Meeting server: the device's calls, as wire 2 has them, and whatever else a test makes of it. */
export interface MeetingServer {
  url: string;
  port: number;
  seen: Seen[];
  /** What is wrong with the requests so far. */
  complaints: string[];
  /** What it knows and says; a test may change it at any time. */
  state: {
    provisioned: boolean;
    token: string;
    authorized: unknown;
    services: unknown;
    availability: string;
    hostKeys: string;
    serverKey: string;
    publishedKey: string | null;
    refuseKey: boolean;
  };
  /** Answers in place of the usual, by `METHOD path` or by `*` for all. */
  answers: Map<string, Answer>;
  /** Resolves with the next request that comes in for `METHOD path`. */
  next(call: string): Promise<Seen>;
  connections(): number;
  close(): Promise<void>;
}

export const BASE = `/api/devices/${DEVICE_KEY}`;
export const ONLINE = `POST ${BASE}/online`;
/** What a heartbeat may hold; `services` is the server's own. */
const HEARTBEAT_FIELDS = new Set(['ip_address', 'ip_lan', 'ip_public', 'mac', 'cluster_ip', 'note']);

export async function startMeetingServer(
  options: { tls?: { key: Buffer; cert: Buffer }; prefix?: string; port?: number; name?: string } = {},
): Promise<MeetingServer> {
  const { tls, prefix = '', name = '127.0.0.1' } = options;
  const waiting: { call: string; resolve: (seen: Seen) => void }[] = [];
  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += chunk;
    const path = request.url ?? '';
    const seen = { method: request.method ?? '', path: path.slice(prefix.length), headers: request.headers, body };
    if (!path.startsWith(prefix)) api.complaints.push(`${path} is not below ${prefix}`);
    api.seen.push(seen);
    const call = `${seen.method} ${seen.path}`;
    const answer = api.answers.get(call) ?? api.answers.get('*');
    (answer ?? usual(api, seen))(response, seen);
    for (const one of waiting.filter((each) => each.call === call)) {
      waiting.splice(waiting.indexOf(one), 1);
      one.resolve(seen);
    }
  };
  const listener = (request: IncomingMessage, response: ServerResponse) =>
    void handle(request, response).catch(() => {});
  const server = tls ? createTlsServer(tls, listener) : createServer(listener);
  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  let connections = 0;
  server.on('connection', () => {
    connections += 1;
  });
  const { port } = server.address() as AddressInfo;
  const api: MeetingServer = {
    url: `${tls ? 'https' : 'http'}://${name}:${port}${prefix}`,
    port,
    seen: [],
    complaints: [],
    state: {
      provisioned: true,
      token: API_TOKEN,
      authorized: true,
      services: ['ssh', 'http'],
      availability: 'Available',
      hostKeys: '',
      serverKey: '',
      publishedKey: null,
      refuseKey: false,
    },
    answers: new Map(),
    next: (call) => new Promise((resolve) => waiting.push({ call, resolve })),
    connections: () => connections,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return api;
}

export function json(status: number, body: unknown): Answer {
  return (response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
}

export function text(status: number, body: string, type = 'text/plain'): Answer {
  return (response) => {
    response.writeHead(status, { 'content-type': type }).end(body);
  };
}

function usual(api: MeetingServer, seen: Seen): Answer {
  const { state } = api;
  const complain = (what: string) => void api.complaints.push(`${seen.method} ${seen.path}: ${what}`);
  const fields = bodyOf(seen, complain);
  if (seen.path.includes(API_TOKEN) || seen.path.includes('?')) complain('a token or a query in the URL');
  if (seen.headers['x-token-code'] !== state.token) return json(401, { error: 'Invalid token' });
  if (seen.path.startsWith('/api/devices/') && (!state.provisioned || !seen.path.startsWith(BASE))) {
    return json(404, { error: 'Device not found' });
  }
  const calls: Record<string, () => Answer> = {
    [ONLINE]: () => {
      for (const name of Object.keys(fields ?? {})) if (!HEARTBEAT_FIELDS.has(name)) complain(`sends ${name}`);
      return json(200, { ok: true, ip_address: '203.0.113.7', last_seen: '2026-11-21 14:02:03' });
    },
    [`GET ${BASE}`]: () =>
      json(200, { device_key: DEVICE_KEY, authorized: state.authorized, services: state.services }),
    [`GET ${BASE}/availability`]: () =>
      json(200, { status: state.availability, last_heartbeat: null, since: null, uptime: 5 }),
    [`PUT ${BASE}/ssh-key`]: () => {
      if (JSON.stringify(Object.keys(fields ?? {})) !== '["pubkey"]') complain('has other fields than pubkey');
      if (state.refuseKey) return json(400, { error: 'bad key' });
      state.publishedKey = String(fields?.pubkey);
      return json(200, { success: true });
    },
    'GET /api/ssh-hostkey': () => text(200, state.hostKeys),
    'GET /api/ssh/pubkey': () => text(200, state.serverKey),
  };
  const call = calls[`${seen.method} ${seen.path}`];
  if (call === undefined) complain('no such call');
  return call?.() ?? json(404, { error: 'Not found' });
}

function bodyOf({ method, headers, body }: Seen, complain: (what: string) => void): Record<string, unknown> | null {
  if (method === 'GET') {
    if (body !== '') complain('a GET with a body');
    return null;
  }
  if (headers['content-type'] !== 'application/json') complain('is not sent as JSON');
  if (headers['content-length'] !== String(Buffer.byteLength(body))) complain('has no length');
  return JSON.parse(body) as Record<string, unknown>;
}
