import { createConnection } from 'node:net';
import t from 'tap';
import { freshKeyLine } from '../../support/public-keys.ts';
import { HOST_KEY, KEY, startApi, TOKEN_CODE, VERSION } from './support.ts';

const MEETING_TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/;
const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const tunnel = (rest: string) => `/api/tunnel/servers/${KEY}/${rest}`;

t.test('the gateway tells what it is without authentication, and nothing else', async (t) => {
  const api = await startApi(t);
  const { status, body } = await api.call('GET /api', { as: null });
  t.equal(status, 200);
  t.match(body, { name: 'zeroforce-gateway', version: VERSION });
  t.strictSame((await api.call('GET /api/health', { as: null })).body, { ok: true, status: 'ok' });
  api.draining = true;
  const draining = await api.call('GET /api/health', { as: null });
  t.equal(draining.status, 503);
  t.strictSame(draining.body, { ok: false, status: 'draining' });
});

t.test('the host key is a line of known_hosts, with the port where it is not 22', async (t) => {
  const api = await startApi(t);
  const { text, headers } = await api.call('GET /api/ssh-hostkey', { as: null });
  t.equal(headers['content-type'], 'text/plain; charset=utf-8');
  t.equal(text, `[gateway.example.org]:2222 ${HOST_KEY}\n`);
  const usual = await startApi(t, { sshPort: 22 });
  t.equal((await usual.call('GET /api/ssh-hostkey')).text, `gateway.example.org ${HOST_KEY}\n`);
  t.match((await api.call('GET /api/ssh/pubkey')).body, { error: 'No public key' });
});

t.test('a device is created with its key and token, once', async (t) => {
  const api = await startApi(t);
  const fields = { devicekey: KEY, token_code: TOKEN_CODE, device_type: 'beamer', distribution: 'debian' };
  const made = await api.call('POST /api/devices/manual-create', { body: { ...fields, unknown: 'ignored' } });
  t.equal(made.status, 201);
  t.equal(made.headers.location, `/api/devices/${KEY}`);
  t.strictSame(made.body, { ...fields, product_serial: null });
  const twice = await api.call('POST /api/devices/manual-create', { body: fields });
  t.equal(twice.status, 409);
  t.equal(twice.body.error, 'Device exists');
  t.notMatch(twice.text, TOKEN_CODE);

  const shown = await api.call(`GET /api/devices/${KEY}`);
  t.match(shown.body, {
    ...{ device_key: KEY, device_type: 'beamer', distribution: 'debian', authorized: true, online: false },
    ...{ services: ['ssh', 'http'], last_seen: null, pubkey: null },
  });
  t.notMatch(shown.text, TOKEN_CODE, 'no answer shows the token again');
  t.match((await api.call('GET /api/devices')).body.devices, [{ device_key: KEY }]);
});

t.test('a device is made with a key and a token that cannot be guessed', async (t) => {
  const api = await startApi(t);
  const { status, body } = await api.call('POST /api/devices/generate-and-register');
  t.equal(status, 201);
  t.match(body, { devicekey: /^[0-9a-fA-F]{32}$/, token_code: /^[0-9a-f]{32}$/ });
  const named = await api.call('POST /api/devices/generate-and-register', { body: { device_type: 'camera' } });
  t.match((await api.call(`GET /api/devices/${named.body.devicekey}`)).body, { device_type: 'camera' });
  const { token_code: token } = named.body as { token_code: string };
  const own = await api.call(`GET /api/devices/${named.body.devicekey}`, { as: { tokenCode: token } });
  t.equal(own.status, 200, 'the token opens what is its own');
});

t.test('a device is removed, and is no more', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const session = api.connect();
  t.strictSame((await api.call(`DELETE /api/devices/${KEY}`)).body, { ok: true });
  t.strictSame(session.ends, ['operator_disconnect']);
  for (const call of [`GET /api/devices/${KEY}`, `DELETE /api/devices/${KEY}`, `GET ${tunnel('logs')}`]) {
    t.match(await api.call(call), { status: 404, body: { error: 'Device not found' } }, call);
  }
});

t.test('authorisation can be withdrawn, which ends the session, and given again', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const session = api.connect();
  const withdrawn = await api.call(`PUT /api/devices/${KEY}/authorize`, { body: { authorized: false } });
  t.strictSame(withdrawn.body, { ok: true, authorized: false });
  t.strictSame(session.ends, ['operator_disconnect']);
  t.match(await api.call(`POST /api/devices/${KEY}/service`, { body: { service: 'ssh' } }), {
    status: 403,
    body: { error: 'Device not authorized' },
  });
  const given = await api.call(`POST /api/devices/${KEY}/authorize-tunnel`, { body: { anything: 1 } });
  t.strictSame(given.body, { status: 'ok', device_key: KEY, authorized: true });
});

t.test('the Meeting token is replaced by one that is given, or made', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const session = api.connect();
  const given = await api.call(`PUT /api/devices/${KEY}/token-code`, { body: { token_code: 'a1b2c3' } });
  t.strictSame(given.body, { token_code: 'a1b2c3' });
  t.strictSame(session.ends, ['token_rotated']);
  const { body } = await api.call(`PUT /api/devices/${KEY}/token-code`);
  t.match(body, { token_code: /^[0-9a-f]{32}$/ });
  const tokenCode = String(body.token_code);
  t.equal((await api.call(`GET /api/devices/${KEY}`, { as: { tokenCode } })).status, 200);
  t.equal((await api.call(`GET /api/devices/${KEY}`, { as: { tokenCode: 'a1b2c3' } })).status, 401);
});

t.test('heartbeats are kept, with the fields that are known', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const as = { tokenCode: TOKEN_CODE };
  t.match((await api.call(`GET /api/devices/${KEY}/availability`, { as })).body, { status: 'Unknown', uptime: null });
  const body = { ip_lan: '192.168.1.20', mac: '00:11:22:33:44:55', note: null, services: ['ssh'], other: 1 };
  const beat = await api.call(`POST /api/devices/${KEY}/online`, { as, body });
  t.match(beat.body, { ok: true, ip_address: '127.0.0.1', last_seen: MEETING_TIME });
  t.strictSame(Object.keys(beat.body), ['ok', 'ip_address', 'last_seen']);
  t.match((await api.call(`GET /api/devices/${KEY}`, { as })).body, {
    ...{ ip_lan: '192.168.1.20', mac: '00:11:22:33:44:55', ip_address: '127.0.0.1', note: null },
    ...{ last_seen: MEETING_TIME, services: ['ssh', 'http'] },
  });
  t.equal((await api.call(`POST /api/devices/${KEY}/online`, { as })).status, 200, 'nothing has to be sent');
  t.match((await api.call(`GET /api/devices/${KEY}/availability`, { as })).body, {
    ...{ status: 'Available', last_heartbeat: MEETING_TIME, since: null, uptime: null },
  });
  api.connect();
  t.match((await api.call(`GET /api/devices/${KEY}/availability`, { as })).body, {
    ...{ status: 'Available', since: MEETING_TIME, uptime: Number },
  });
});

t.test('a device that was not heard of for three minutes is disconnected', async (t) => {
  let nowMs = Date.UTC(2026, 10, 21, 12);
  const api = await startApi(t, { nowMs: () => nowMs });
  await api.addDevice();
  await api.call(`POST /api/devices/${KEY}/online`);
  nowMs += 179_000;
  t.match((await api.call(`GET /api/devices/${KEY}/availability`)).body, { status: 'Available' });
  nowMs += 1_000;
  t.strictSame((await api.call(`GET /api/devices/${KEY}/availability`)).body, {
    ...{ status: 'Disconnected', last_heartbeat: '2026-11-21 12:00:00', since: '2026-11-21 12:00:00', uptime: null },
  });
});

t.test('a public key is published, when it is one', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const line = freshKeyLine();
  const put = (pubkey: unknown) => api.call(`PUT /api/devices/${KEY}/ssh-key`, { body: { pubkey } });
  t.strictSame((await put(`  ${line}\n`)).body, { success: true });
  t.equal((await api.call(`GET /api/devices/${KEY}`)).body.pubkey, line);
  const short = `ssh-ed25519 ${Buffer.from('0000000b7373682d6564323535313900000005aabbccddee', 'hex').toString('base64')}`;
  for (const bad of [
    '',
    'no key',
    `${line}\n${line}`,
    `command="x" ${line}`,
    short,
    '-----BEGIN OPENSSH PRIVATE KEY-----',
  ]) {
    const refused = await put(bad);
    t.match(refused, { status: 400, body: { error: 'Invalid key', field: 'pubkey' } }, JSON.stringify(bad));
  }
  t.equal((await api.call(`GET /api/devices/${KEY}`)).body.pubkey, line, 'it stays');
});

t.test('a service is opened for a time: Meeting calls', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const ask = (body: object) => api.call(`POST /api/devices/${KEY}/service`, { body });
  t.match(await ask({ service: 'ssh' }), { status: 503, body: { error: 'Device offline' } });
  const session = api.connect();
  session.echo = true;

  const opened = await ask({ service: 'ssh' });
  t.match(opened, { status: 200, body: { port: Number, expires_at: ISO_TIME } });
  const { port } = opened.body as { port: number };
  t.equal(opened.body.url, `ssh://gateway.example.org:${port}`);
  await reaches(port);
  t.equal((await ask({ type: 'ssh' })).body.port, port, 'type says the same as service');
  t.match((await ask({ service: 'scp' })).body, { port, url: `scp://gateway.example.org:${port}` });
  t.match((await ask({ service: 'http' })).body, { url: /^http:/ });
  t.match((await ask({ service: 'vnc' })).body, { url: /^vnc:/ });
  t.match((await ask({ service: 'relay', port: 8080 })).body, { url: /^tcp:/ });
  t.match(await ask({}), { status: 400, body: { error: 'Missing service param' } });
  t.match(await ask({ service: '' }), { status: 400, body: { error: 'Missing service param' } });
  t.match(await ask({ service: 'relay' }), { status: 400, body: { error: 'Missing relay port' } });
  t.match(await ask({ service: 'a b' }), { status: 400, body: { error: 'Invalid request', field: 'service' } });
  t.match(await ask({ service: 'nobody-named-it' }), { status: 409, body: { error: 'Service not forwarded' } });

  const tunnels = (await api.call('GET /api/tunnels')).body.tunnels as Record<string, unknown>[];
  t.match(
    tunnels.find((one) => one.service === 'ssh'),
    { device_key: KEY, port, local_port: 22, expires_at: ISO_TIME },
  );
  const requested = await api.call(`POST /api/devices/${KEY}/request-tunnel-port`, { body: { type: 'ssh' } });
  t.strictSame(requested.body, { status: 'ok', port, service: 'ssh', device_key: KEY });
  const forced = await api.call('POST /api/forcecommand/request-port', { body: { device_key: KEY, service: 'scp' } });
  t.strictSame(forced.body, { status: 'ok', port, service: 'scp', device_key: KEY });
  for (const device_key of ['unknown', '../x', '']) {
    const body = { device_key, service: 'ssh' };
    t.match(await api.call('POST /api/forcecommand/request-port', { body }), { status: 404 }, device_key);
  }
});

t.test('where no port is free, the answer says so', async (t) => {
  const first = await startApi(t);
  await first.addDevice();
  first.connect();
  const { port } = (await first.call(`POST /api/devices/${KEY}/service`, { body: { service: 'ssh' } })).body;
  const api = await startApi(t, { portRange: { start: Number(port) + 50, end: Number(port) + 50 } });
  await api.addDevice();
  api.connect();
  t.equal((await api.call(`POST /api/devices/${KEY}/service`, { body: { service: 'ssh' } })).status, 200);
  t.match(await api.call(`POST /api/devices/${KEY}/service`, { body: { service: 'http' } }), {
    status: 503,
    body: { error: 'No available port in range' },
  });
});

t.test('the tunnel token is made once, and rotated when it is asked for', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const { token } = (await api.call(`POST ${tunnel('token')}`)).body;
  t.match(token, /^[A-Z2-7]{52}$/);
  t.equal((await api.call(`POST ${tunnel('token')}?rotate=false`)).body.token, token);
  const session = api.connect(KEY, 'ssh');
  const rotated = await api.call(`POST ${tunnel('token')}?rotate=true`);
  t.not(rotated.body.token, token);
  t.strictSame(session.ends, ['token_rotated']);
  for (const query of ['rotate=yes', 'rotate', 'rotate=true&rotate=false', 'other=1', 'rotate[]=true', '__proto__=1']) {
    t.match(
      await api.call(`POST ${tunnel('token')}?${query}`),
      { status: 400, body: { error: 'Invalid request' } },
      query,
    );
  }
});

t.test('status, session and overview tell who is there', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  await api.addDevice('other', 'another long token');
  t.strictSame((await api.call('GET /api/tunnel/overview')).body.summary, {
    ...{ total: 2, online: 0, offline: 0, waiting_for_first_connect: 2 },
  });
  t.strictSame((await api.call(`GET ${tunnel('session')}`)).body, { session: null });
  const session = api.connect(KEY, 'ssh');
  await api.core.host.forward(session, { name: 'ssh', localPort: 22 });
  const status = (await api.call(`GET ${tunnel('status')}`)).body;
  t.match(status, { status: 'online', connected_at: ISO_TIME, last_seen: ISO_TIME });
  t.strictSame(Object.keys(status), ['status', 'connected_at', 'last_seen', 'services']);
  t.match(status.services, [
    { service_name: 'ssh', local_port: 22, tunnel_port: Number },
    { service_name: 'http', local_port: 80, tunnel_port: null },
  ]);
  t.match((await api.call(`GET ${tunnel('session')}`)).body, {
    session: { entry: 'ssh', address: '127.0.0.9', client: 'fake', connected_at: ISO_TIME, streams: 0, opened: 0 },
  });
  t.match((await api.call('GET /api/tunnel/overview')).body, {
    summary: { total: 2, online: 1, offline: 0, waiting_for_first_connect: 1 },
    items: [
      { device_key: KEY, status: 'online', entry: 'ssh' },
      { device_key: 'other', status: 'waiting_for_first_connect', entry: null, connected_at: null },
    ],
  });
  t.strictSame((await api.call(`POST ${tunnel('disconnect')}`)).body, { ok: true, disconnected: true });
  t.strictSame((await api.call(`POST ${tunnel('disconnect')}`)).body, { ok: true, disconnected: false });
  t.match((await api.call(`GET ${tunnel('status')}`)).body, {
    status: 'offline',
    connected_at: null,
    last_seen: ISO_TIME,
  });
  t.match((await api.call('GET /api/tunnel/overview')).body, { summary: { online: 0, offline: 1 } });
});

t.test('without devices nothing is null where a list is', async (t) => {
  const api = await startApi(t);
  t.strictSame((await api.call('GET /api/tunnel/overview')).body, {
    summary: { total: 0, online: 0, offline: 0, waiting_for_first_connect: 0 },
    items: [],
  });
  t.strictSame((await api.call('GET /api/tunnels')).body, { tunnels: [] });
  t.strictSame((await api.call('GET /api/devices')).body, { devices: [] });
  t.strictSame((await api.call('GET /api/tunnel/ports/blocked')).body, { items: [] });
});

t.test('a pause keeps a device out for minutes, also for parts of one', async (t) => {
  const nowMs = Date.UTC(2026, 10, 21, 12);
  const api = await startApi(t, { nowMs: () => nowMs });
  await api.addDevice();
  const session = api.connect();
  const pause = (minutes: unknown) => api.call(`POST ${tunnel('pause')}`, { body: { minutes } });
  const paused = await pause(0.5);
  t.strictSame(paused.body, { ok: true, paused: true, pause_until: '2026-11-21T12:00:30.000Z' });
  t.strictSame(session.ends, ['paused_by_operator']);
  t.match((await api.call('GET /api/tunnel/overview')).body.items, [{ pause_until: '2026-11-21T12:00:30.000Z' }]);
  t.match(await api.call(`POST /api/devices/${KEY}/service`, { body: { service: 'ssh' } }), {
    status: 503, // as whoever has no session (wire 3), with a reason of its own
    body: { error: 'Device paused' },
  });
  for (const bad of [0, -1, 1e9, '5', null, true, [1], {}]) {
    t.match(await pause(bad), { status: 400, body: { field: 'minutes' } }, JSON.stringify(bad));
  }
  t.match(await api.call(`POST ${tunnel('pause')}`, { body: '{"minutes":1e999}' }), { status: 400 }, 'infinite');
  t.strictSame((await api.call(`POST ${tunnel('resume')}`)).body, { ok: true, paused: false });
  t.match((await api.call('GET /api/tunnel/overview')).body.items, [{ pause_until: null }]);
});

t.test('forwards are set, in their order', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  await api.call(`POST ${tunnel('token')}`);
  const put = (forwards: unknown) => api.call(`PUT ${tunnel('forwards')}`, { body: { forwards } });
  t.strictSame((await api.call(`GET ${tunnel('forwards')}`)).body, {
    forwards: [
      { service_name: 'ssh', local_port: 22 },
      { service_name: 'http', local_port: 80 },
    ],
  });
  const forwards = [
    { service_name: 'web', local_port: 8080 },
    { service_name: 'ssh', local_port: 2222 },
  ];
  t.strictSame((await put(forwards)).body, { ok: true, forwards, reconnect_required: true });
  t.strictSame((await api.call(`GET ${tunnel('forwards')}`)).body, { forwards });
  const ssh = { service_name: 'ssh', local_port: 22 };
  const table: [unknown, string][] = [
    [[], 'none'],
    [[{ service_name: 'http', local_port: 80 }], 'no ssh'],
    [[ssh, { service_name: 'ssh', local_port: 23 }], 'a name twice'],
    [[ssh, { service_name: 'web', local_port: 22 }], 'a port twice'],
    [[ssh, { service_name: 'http' }, { service_name: 'web', local_port: 5000 }], 'a port twice for agents'],
    [[ssh, { service_name: 'web' }], 'no port, and no usual one'],
    [[ssh, { service_name: 'scp', local_port: 5 }], 'a name that means another'],
    [[ssh, { service_name: 'relay-80', local_port: 5 }], 'a name that means a relay'],
    [[ssh, { service_name: 'Web', local_port: 5 }], 'a capital'],
    [[ssh, { service_name: 'web', local_port: 0 }], 'port 0'],
    [[ssh, { service_name: 'web', local_port: 65_536 }], 'port 65536'],
    [[ssh, { service_name: 'web', local_port: 1.5 }], 'port 1.5'],
    [[ssh, { service_name: 'web', local_port: '80' }], 'a port in a text'],
    [[ssh, { service_name: 'web', local_port: 80, extra: 1 }], 'an unknown field'],
    [Array.from({ length: 33 }, (_, index) => ({ service_name: `s${index}`, local_port: index + 1 })), 'too many'],
    ['ssh', 'a text'],
    [null, 'null'],
    [{ ssh: 22 }, 'a map'],
  ];
  for (const [bad, what] of table) {
    t.match(await put(bad), { status: 400, body: { error: 'Invalid request', field: /^forwards/ } }, what);
  }
  t.strictSame((await api.call(`GET ${tunnel('forwards')}`)).body, { forwards }, 'nothing was changed');
});

t.test('forwards that are sent back as they were shown stay the usual ones', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const shown = (await api.call(`GET ${tunnel('forwards')}`)).body as { forwards: object[] };
  const more = [...shown.forwards, { service_name: 'vnc', local_port: null }];
  t.equal((await api.call(`PUT ${tunnel('forwards')}`, { body: { forwards: more } })).status, 200);
  const portOfHttp = async () => {
    const { services } = (await api.call(`GET ${tunnel('status')}`)).body as { services: Record<string, unknown>[] };
    return services.find((one) => one.service_name === 'http')?.local_port;
  };
  api.connect(KEY, 'agent');
  t.equal(await portOfHttp(), 5000, 'for an agent');
  api.connect(KEY, 'ssh');
  t.equal(await portOfHttp(), 80, 'for ssh');
  const fixed = [
    { service_name: 'ssh', local_port: 22 },
    { service_name: 'http', local_port: 5000 },
  ];
  await api.call(`PUT ${tunnel('forwards')}`, { body: { forwards: fixed } });
  t.equal(await portOfHttp(), 5000, 'another one is fixed');
});

t.test('the logs tell what happened, the newest first', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  api.connect();
  await api.call(`POST ${tunnel('disconnect')}`);
  const { items } = (await api.call(`GET ${tunnel('logs')}`)).body as { items: Record<string, unknown>[] };
  t.match(items[0], { at: ISO_TIME, event: 'disconnect', reason: 'operator_disconnect', entry: 'agent' });
  t.strictSame(
    items.map(({ event }) => event),
    ['disconnect', 'connect', 'device_created'],
  );
});

t.test('blocked ports are listed and released', async (t) => {
  const api = await startApi(t);
  t.match(await api.call('DELETE /api/tunnel/ports/blocked/40001'), {
    status: 404,
    body: { error: 'Port not blocked' },
  });
  for (const bad of ['0', '65536', 'x', '1e3', '-1', '00080', '%20']) {
    t.match(await api.call(`DELETE /api/tunnel/ports/blocked/${bad}`), { status: 400, body: { field: 'port' } }, bad);
  }
});

/** Whether what is sent to a public port comes back from the device. */
function reaches(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(port, '127.0.0.1', () => socket.end('hello'));
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', reject);
    socket.on('end', () => (text === 'hello' ? resolve() : reject(new Error(`came back: ${text}`))));
  });
}
