import t from 'tap';
import { startTunnelGateway } from '../support/gateway.ts';
import { type Answer, API_TOKEN, BASE, DEVICE_KEY, json, text } from '../support/meeting-api.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import { type Diagnosis, expectHealthy, machine } from './machine.ts';
import { API_URL, expectApi, meetingServer, NEEDS, online, PROXY, QUIET, serve, temporary } from './meeting-side.ts';

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

t.test('the second bug report: authorized at the API, and the proxy closes without a word', NEEDS, async (t) => {
  const proxy = await startRawProxy({ mode: 'legacy', reply: (agent) => void agent.socket.end() });
  t.teardown(() => proxy.close());
  const device = await machine(t);
  await device.sshd();
  await device.expose(proxy.port, PROXY.port);
  await meetingServer(t, device, 8080);
  await device.configure({
    ...QUIET,
    meeting: { deviceKey: DEVICE_KEY, token: API_TOKEN, proxy: PROXY, api: { url: API_URL } },
  });
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
  await device.configure({ ...QUIET, meeting: { deviceKey: DEVICE_KEY, token: API_TOKEN, proxy, api: { url } } });
  await serve(device);
  expectHealthy(t, await device.diagnose());
  const api = (found: Diagnosis) =>
    found.report.checks.find(({ id, status }) => id.startsWith('api.') && status === 'fail');
  await operator(`PUT ${BASE}/authorize`, { authorized: false });
  t.equal(api(await device.diagnose())?.id, 'api.authorized');
  await operator(`PUT ${BASE}/token-code`, { token_code: 'another-one-of-16' });
  t.equal(api(await device.diagnose())?.id, 'api.device');
});
