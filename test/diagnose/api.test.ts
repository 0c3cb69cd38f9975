import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeCertificate } from '../support/certificates.ts';
import { startTunnelGateway } from '../support/gateway.ts';
import {
  type Answer,
  API_TOKEN,
  BASE,
  DEVICE_KEY,
  json,
  type MeetingServer,
  startMeetingServer,
  text,
} from '../support/meeting-api.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { type Diagnosis, expectCause, expectHealthy, type Machine, machine, NEEDS_MACHINE } from './machine.ts';

const NEEDS = requires(...NEEDS_MACHINE, 'openssl', 'curl');
const API_URL = 'http://127.0.0.1:8080';
const PROXY = { host: '127.0.0.1', port: 9001 };

/** A device whose tunnel stands, where the Meeting server is at `url`. */
async function online(t: Test, url: string): Promise<Machine> {
  const proxy = await startRawProxy({ mode: 'v1' });
  t.teardown(() => proxy.close());
  const device = await machine(t);
  await device.sshd();
  await device.expose(proxy.port, PROXY.port);
  await device.configure({ meeting: { deviceKey: DEVICE_KEY, token: API_TOKEN, proxy: PROXY, api: { url } } });
  return device;
}

/** The service, once its tunnel stands and the API has said all that the service asks for. */
async function serve(device: Machine): Promise<void> {
  await device.service();
  await until('the tunnel', async () => /"state": ?"up"/.test((await device.agent(['status', '--json'])).stdout));
}

async function meetingServer(
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
async function socketServer(t: Test, device: Machine, port: number, handle: (socket: Socket) => void): Promise<void> {
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
function expectApi(t: Test, found: Diagnosis, id: string, summary: RegExp, evidence = /^GET https?:.* → /): void {
  expectCause(t, found, id, summary);
  t.match(found.check(id).evidence, evidence);
  t.notMatch(JSON.stringify(found.report), new RegExp(API_TOKEN, 'i'), 'no token in the report');
}

t.test('what the Meeting server says of the device', NEEDS, async (t) => {
  const device = await online(t, API_URL);
  const api = await meetingServer(t, device, 8080);
  await serve(device);

  await t.test('a healthy device', async (t) => {
    const found = await device.diagnose();
    expectHealthy(t, found);
    for (const id of ['api.reachable', 'api.device', 'api.authorized', 'api.services', 'api.availability']) {
      t.equal(found.check(id).status, 'ok', id);
    }
    t.match(found.check('api.device').evidence, new RegExp(`^GET ${API_URL}${BASE} → authorized, services `));
    t.equal(api.seen.filter(({ path }) => path === BASE).length, 2, 'asked once by the service, once by the checks');
  });

  await t.test('the token is refused (401)', async (t) => {
    api.state.token = 'another-token';
    const words: Answer = json(401, { error: `bad token ${API_TOKEN.toUpperCase()}\u001b[2J` });
    api.answers.set(`GET ${BASE}`, words);
    expectApi(t, await device.diagnose(), 'api.device', /does not accept the token/, /→ 401: .*\[secret\]/);
    api.answers.clear();
    api.state.token = API_TOKEN;
  });

  await t.test('the device is not provisioned (404)', async (t) => {
    api.state.provisioned = false;
    expectApi(t, await device.diagnose(), 'api.device', /does not know a device/, /→ 404/);
    api.answers.set(`GET ${BASE}`, text(404, '<h1>Not Found</h1>', 'text/html'));
    expectApi(t, await device.diagnose(), 'api.device', /does not know a device/, /→ 404/);
    api.answers.clear();
    api.state.provisioned = true;
  });

  await t.test('the device is declined (403)', async (t) => {
    api.answers.set(`GET ${BASE}`, text(403, '<h1>Forbidden</h1>', 'text/html'));
    expectApi(t, await device.diagnose(), 'api.device', /declines this device.*Forbidden/, /→ 403/);
    api.answers.clear();
  });

  await t.test('the device is not authorized', async (t) => {
    api.state.authorized = 0;
    expectApi(t, await device.diagnose(), 'api.authorized', /has not authorized/, /→ not authorized/);
    api.state.authorized = true;
  });

  await t.test('ssh is not among the services', async (t) => {
    api.state.services = [
      { name: 'ssh', enabled: false },
      { type: 'http', enabled: 1 },
    ];
    expectApi(t, await device.diagnose(), 'api.services', /ssh is not among the services.*: http$/);
    api.state.services = ['ssh'];
  });

  await t.test('the server lists the device as disconnected although its heartbeats are answered', async (t) => {
    api.state.availability = 'Disconnected';
    await new Promise((resolve) => setTimeout(resolve, 5_000)); // a heartbeat that is younger proves nothing
    expectApi(t, await device.diagnose(), 'api.availability', /answers the heartbeats.*lists it as disconnected/);
    api.state.availability = 'UNKNOWN';
    expectApi(t, await device.diagnose(), 'api.availability', /lists it as unknown/);
    api.state.availability = 'Available';
  });
});

t.test('what stands in the place of the Meeting API', NEEDS, async (t) => {
  const device = await online(t, API_URL);
  const api = await meetingServer(t, device, 8080);
  await serve(device);
  /** Only the diagnosis is told another address: the service goes on with the right one. */
  const at = (url: string, env: Record<string, string> = {}) => device.diagnose([], { MEETING_API_URL: url, ...env });
  const answered = async (answer: Answer) => {
    api.answers.set(`GET ${BASE}`, answer);
    const found = await device.diagnose();
    api.answers.clear();
    return found;
  };

  await t.test('an error of the server (500)', async (t) => {
    const found = await answered(text(500, `<h1>Oops ${API_TOKEN}</h1>`, 'text/html'));
    expectApi(t, found, 'api.reachable', /fails: .*Oops \[secret\]/, /→ 500/);
  });

  await t.test('no JSON, other JSON, a page', async (t) => {
    expectApi(t, await answered(text(200, 'fine')), 'api.reachable', /is not the Meeting API: .*not JSON/);
    expectApi(t, await answered(json(200, { status: 'fine' })), 'api.reachable', /is not the Meeting API/);
    const portal = text(200, '<!DOCTYPE html><p>Welcome to the hotel', 'text/html');
    expectApi(t, await answered(portal), 'api.reachable', /is not the Meeting API: .*a page for people.*hotel/);
  });

  await t.test('a redirect', async (t) => {
    const redirect: Answer = (response) =>
      void response.writeHead(301, { location: `https://meeting.test/${API_TOKEN}` }).end();
    expectApi(
      t,
      await answered(redirect),
      'api.reachable',
      /points elsewhere.*https:\/\/meeting.test\/\[secret\]/,
      /→ 301/,
    );
  });

  await t.test('a wrong path', async (t) => {
    const found = await at(`${API_URL}/manager`);
    expectApi(t, found, 'api.reachable', /no Meeting API below/, /→ 404.*ssh-hostkey → 404/);
    expectHealthy(t, await at(`${API_URL}/api/`));
  });

  await t.test('an answer after 20 s, and none at all', async (t) => {
    let timer: NodeJS.Timeout | null = null;
    const late: Answer = (response) => {
      timer = setTimeout(() => response.end('{"authorized":true}'), 20_000);
    };
    const found = await answered(late);
    if (timer !== null) clearTimeout(timer);
    expectApi(t, found, 'api.reachable', /too slow, or silent: .*within 4 s.*waiting for the answer/);
    t.ok(found.check('api.reachable').durationMs < 5_500, 'within the time of a check');
    t.ok(found.report.durationMs < 15_000, 'within the time of the run');
    await socketServer(t, device, 8081, () => undefined);
    expectApi(t, await at('http://127.0.0.1:8081'), 'api.reachable', /too slow, or silent/);
  });

  await t.test('nothing listens, and a connection that is closed without a word', async (t) => {
    expectApi(t, await at('http://127.0.0.1:8082'), 'api.reachable', /Nothing listens.*ECONNREFUSED/);
    await socketServer(t, device, 8083, (socket) => socket.once('data', () => socket.destroy()));
    expectApi(t, await at('http://127.0.0.1:8083'), 'api.reachable', /closes the connection without an answer/);
  });

  await t.test('a name that nobody knows, one that leads to another machine, and no way there', async (t) => {
    expectApi(t, await at('http://meeting.test:8080'), 'api.reachable', /cannot be looked up: .*(ENOTFOUND|EAI_AGAIN)/);
    await device.write('/etc/hosts', '127.0.0.1 localhost raspi\n192.168.77.1 meeting.test\n');
    expectApi(t, await at('http://meeting.test:8080'), 'api.reachable', /Nothing listens/);
    await device.sh('ip route del default');
    expectApi(t, await at('http://203.0.113.9:8080'), 'api.reachable', /no way to the Meeting API: .*ENETUNREACH/);
    await device.sh('ip route add default via 192.168.77.1');
  });

  await t.test('TLS to a plain server, and the reverse', async (t) => {
    expectApi(t, await at('https://127.0.0.1:8080'), 'api.reachable', /speaks plain HTTP on this port/);
    const folder = temporary(t);
    await meetingServer(t, device, 8443, { tls: makeCertificate(folder, 'meeting.test') });
    expectApi(t, await at('http://127.0.0.1:8443'), 'api.reachable', /speaks TLS on this port/);
  });

  await t.test('certificates', async (t) => {
    const folder = temporary(t);
    await device.write('/etc/hosts', '127.0.0.1 localhost raspi meeting.test other.test\n');
    const [good, old] = [makeCertificate(folder, 'meeting.test'), makeCertificate(folder, 'old.test', -1)];
    await meetingServer(t, device, 8444, { tls: good });
    await meetingServer(t, device, 8445, { tls: old });
    const trusting = { MEETING_API_CA: good.path };
    expectHealthy(t, await at('https://meeting.test:8444', trusting));
    expectApi(t, await at('https://meeting.test:8444'), 'api.reachable', /cannot be trusted: .*self-signed/);
    expectApi(t, await at('https://other.test:8444', trusting), 'api.reachable', /for another name than other.test/);
    const expired = await at('https://meeting.test:8445', { MEETING_API_CA: old.path });
    expectApi(t, expired, 'api.reachable', /has expired/);
  });
});

t.test('the second bug report: authorized at the API, and the proxy closes without a word', NEEDS, async (t) => {
  const proxy = await startRawProxy({ mode: 'legacy', reply: (agent) => void agent.socket.end() });
  t.teardown(() => proxy.close());
  const device = await machine(t);
  await device.sshd();
  await device.expose(proxy.port, PROXY.port);
  await meetingServer(t, device, 8080);
  await device.configure({ meeting: { deviceKey: DEVICE_KEY, token: API_TOKEN, proxy: PROXY, api: { url: API_URL } } });
  await device.service();
  const { report } = await device.diagnose();
  const api = report.checks.filter(({ id }) => id.startsWith('api.'));
  t.strictSame(new Set(api.map(({ status }) => status)), new Set(['ok']), 'it is not the API');
});

t.test('our own gateway as the Meeting server', NEEDS, async (t) => {
  const device = await machine(t);
  await device.sshd();
  const gateway = await startTunnelGateway(temporary(t), {}, { wrapper: device.inside });
  t.teardown(() => gateway.stop('SIGKILL'));
  const url = `http://127.0.0.1:${gateway.ports.http}`;
  const operator = (call: string, body: object) =>
    device.sh(`curl -sf -X ${call.split(' ')[0]} -H 'Authorization: Bearer ${gateway.adminToken}' \
      -H 'Content-Type: application/json' -d '${JSON.stringify(body)}' ${url}${call.split(' ')[1]}`);
  const proxy = { host: '127.0.0.1', port: gateway.ports.agent };
  const known = { devicekey: DEVICE_KEY, token_code: API_TOKEN, device_type: 'camera', distribution: 'debian' };
  await operator('POST /api/devices/manual-create', known);
  await device.configure({ meeting: { deviceKey: DEVICE_KEY, token: API_TOKEN, proxy, api: { url } } });
  await serve(device);
  expectHealthy(t, await device.diagnose());
  const api = (found: Diagnosis) =>
    found.report.checks.find(({ id, status }) => id.startsWith('api.') && status === 'fail');
  await operator(`PUT ${BASE}/authorize`, { authorized: false });
  t.equal(api(await device.diagnose())?.id, 'api.authorized');
  await operator(`PUT ${BASE}/token-code`, { token_code: 'another-one-of-16' });
  t.equal(api(await device.diagnose())?.id, 'api.device');
});

function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-api-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
