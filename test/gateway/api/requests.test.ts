import { once } from 'node:events';
import { connect } from 'node:net';
import t from 'tap';
import { Failure } from '../../../src/support/failures.ts';
import { ADMIN_TOKEN, KEY, startApi, TOKEN_CODE } from './support.ts';

const tunnel = (rest: string) => `/api/tunnel/servers/${KEY}/${rest}`;

/** Every call that reads a body, with one that is right. */
const BODIES: Record<string, Record<string, unknown>> = {
  'POST /api/devices/manual-create': {
    devicekey: 'new-one',
    token_code: 'a1b2c3',
    device_type: 'beamer',
    distribution: 'debian',
  },
  'POST /api/devices/generate-and-register': { device_type: 'beamer' },
  [`POST /api/devices/${KEY}/online`]: { note: 'here' },
  [`PUT /api/devices/${KEY}/ssh-key`]: { pubkey: 'ssh-ed25519 AAAA' },
  [`POST /api/devices/${KEY}/service`]: { service: 'ssh' },
  [`POST /api/devices/${KEY}/request-tunnel-port`]: { service: 'ssh' },
  'POST /api/forcecommand/request-port': { device_key: KEY, service: 'ssh' },
  [`PUT /api/devices/${KEY}/authorize`]: { authorized: true },
  [`PUT /api/devices/${KEY}/token-code`]: { token_code: 'a1b2c3' },
  [`POST ${tunnel('pause')}`]: { minutes: 1 },
  [`PUT ${tunnel('forwards')}`]: { forwards: [{ service_name: 'ssh', local_port: 22 }] },
};

/** Values of every type that JSON has, and some that break careless programs. */
const VALUES: unknown[] = [
  ...[null, true, 0, -1, 1.5, 1e308, '', 'x'.repeat(10_000), 'a\u0000b', 'a\nb', '\ud800', '$(reboot)', '\'"`'],
  ...[[], [[]], {}, { toString: 1 }, [null], 'constructor', '__proto__'],
];

t.test('no value of any type in any field of any call breaks it, or is repeated in the answer', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  let refused = 0;
  for (const [call, right] of Object.entries(BODIES)) {
    for (const field of Object.keys(right)) {
      for (const value of VALUES) {
        const { status, text } = await api.call(call, { body: { ...right, [field]: value } });
        const what = `${call} ${field} ${JSON.stringify(value)?.slice(0, 40)}`;
        if (status >= 500 && status !== 503) t.fail(`${what} answered ${status}: ${text}`);
        if (status === 400) refused += 1;
        const telling = typeof value === 'string' && /^(?:\$\(|x{9})/.test(value) ? value : null;
        if (telling !== null && status >= 400 && text.includes(telling)) t.fail(`${what} is repeated`);
      }
    }
  }
  t.ok(refused > 150, `${refused} were refused`);
  t.notOk(
    api.lines.some(({ level }) => level === 'error'),
    'no fault of the program',
  );
});

t.test('a field of the wrong type is named', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const table: [string, unknown, string, RegExp][] = [
    ['POST /api/devices/manual-create', {}, 'devicekey', /is missing/],
    ['POST /api/devices/manual-create', { devicekey: 'a/b' }, 'devicekey', /1 to 64 of/],
    ['POST /api/devices/manual-create', { devicekey: '.hidden' }, 'devicekey', /beginning with/],
    ['POST /api/devices/manual-create', { devicekey: 'a', token_code: 'short' }, 'token_code', /6 to 128/],
    ['POST /api/devices/manual-create', { devicekey: 'a', token_code: 7 }, 'token_code', /must be a text/],
    [`PUT /api/devices/${KEY}/authorize`, { authorized: 1 }, 'authorized', /true or false/],
    [`PUT /api/devices/${KEY}/authorize`, { authorized: true, more: 1 }, 'more', /not known/],
    [`PUT /api/devices/${KEY}/token-code`, { token: 'a1b2c3' }, 'token', /not known/],
    [`POST ${tunnel('pause')}`, {}, 'minutes', /is missing/],
    [`PUT ${tunnel('forwards')}`, { forwards: [{ local_port: 1 }] }, 'forwards.0.service_name', /is missing/],
    [`POST /api/devices/${KEY}/service`, { service: 'ssh', port: '22' }, 'port', /must be a number/],
    [`POST /api/devices/${KEY}/online`, { note: 5 }, 'note', /must be a text/],
    [`POST /api/devices/${KEY}/online`, { mac: 'a\u001b[31m' }, 'mac', /without control characters/],
  ];
  for (const [call, body, field, message] of table) {
    t.match(await api.call(call, { body }), { status: 400, body: { error: 'Invalid request', field, message } }, field);
  }
  t.match((await api.call(`PUT /api/devices/${KEY}/authorize`, { body: '{"__proto__":{"authorized":false}}' })).body, {
    error: 'Invalid request',
  });
  t.match(await api.call(`GET /api/devices/${KEY}`), { body: { authorized: true } });
});

t.test('a body is JSON in UTF-8, an object, at most 64 KiB, and not packed', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const call = `PUT /api/devices/${KEY}/authorize`;
  const right = '{"authorized":true}';
  const type = (value: string) => ({ 'content-type': value });
  const table: [string, Parameters<typeof api.call>[1], number][] = [
    ['right', { body: right }, 200],
    ['with its charset', { body: right, headers: type('application/json; charset=utf-8') }, 200],
    ['nothing', {}, 400],
    ['cut', { body: '{"authorized":tr' }, 400],
    ['a text', { body: '"authorized"' }, 400],
    ['a list', { body: '[]' }, 400],
    ['null', { body: 'null' }, 400],
    ['a number', { body: '1' }, 400],
    ['deep', { body: `${'['.repeat(30_000)}` }, 400],
    ['deep and whole', { body: `${'['.repeat(30_000)}${']'.repeat(30_000)}` }, 400],
    ['a form', { body: right, headers: type('application/x-www-form-urlencoded') }, 415],
    ['text', { body: right, headers: type('text/plain') }, 415],
    ['no type', { body: right, headers: type('') }, 415],
    ['another charset', { body: right, headers: type('application/json; charset=utf-16') }, 415],
    ['packed', { body: right, headers: { 'content-encoding': 'gzip' } }, 415],
    ['too long', { body: JSON.stringify({ authorized: true, more: 'x'.repeat(65_536) }) }, 413],
  ];
  for (const [what, asked, status] of table) t.equal((await api.call(call, asked)).status, status, what);
  const longest = { note: 'x'.repeat(200), more: 'y'.repeat(60_000) };
  t.equal((await api.call(`POST /api/devices/${KEY}/online`, { body: longest })).status, 200, 'just not too long');
});

t.test('bytes that are not UTF-8 are no JSON', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const body = Buffer.concat([Buffer.from('{"note":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]);
  const head = `POST /api/devices/${KEY}/online HTTP/1.1\r\nHost: x\r\nX-Token-Code: ${TOKEN_CODE}\r\n`;
  const rest = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
  t.match(await raw(api.port, Buffer.concat([Buffer.from(head + rest), body])), /^HTTP\/1\.1 400 .*Invalid JSON/s);
});

t.test('who sends a giant body is answered at once, and reads the answer', async (t) => {
  const api = await startApi(t);
  const big = 'x'.repeat(4 * 1024 * 1024);
  const refused = await api.call('POST /api/devices/manual-create', { body: big });
  t.match(refused, { status: 413, body: { error: 'Body too large' } });
  const stranger = await api.call('POST /api/devices/manual-create', { body: big, as: null });
  t.equal(stranger.status, 401, 'nobody makes us read who may not call');
  const head = `POST /api/devices/manual-create HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ADMIN_TOKEN}\r\n`;
  const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`;
  const chunked = `${head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}${chunk}`;
  t.match(await raw(api.port, `${chunked}0\r\n\r\n`, /Body too large/), /413/, 'also where its length is not told');
});

t.test('what is not there is 404, and what cannot be done 405 with what can', async (t) => {
  const api = await startApi(t);
  for (const path of [
    '/',
    '/api/',
    '/API',
    '/api/devices/x/y',
    '/api/unknown',
    '/favicon.ico',
    '/api/devices/%2e%2e%2f',
  ]) {
    const { status, body, headers } = await api.call(`GET ${path}`, { as: null });
    t.ok([200, 401, 404].includes(status), `${path}: ${status}`);
    if (path === '/API') t.match(body, { error: 'Not found' });
    t.match(headers['content-type'], /^application\/json/);
  }
  const table: [string, string][] = [
    ['DELETE /api', 'GET, HEAD'],
    ['GET /api/devices/manual-create', 'POST'],
    [`PATCH /api/devices/${KEY}`, 'GET, HEAD, DELETE'],
    [`GET ${tunnel('token')}`, 'POST'],
    [`POST ${tunnel('forwards')}`, 'GET, HEAD, PUT'],
    ['OPTIONS /api/devices', 'GET, HEAD'],
    ['POST /tunnel/setup/x', 'GET, HEAD'],
  ];
  for (const [call, allow] of table) {
    const { status, headers, body } = await api.call(call);
    t.match(
      { status, allow: headers.allow, error: body.error },
      { status: 405, allow, error: 'Method not allowed' },
      call,
    );
  }
});

t.test('paths that are not encoded correctly, and keys that are none, are refused in JSON', async (t) => {
  const api = await startApi(t);
  const table: [string, number][] = [
    ['/api/devices/%', 400],
    ['/api/devices/%zz', 400],
    ['/api/devices/%ff', 400],
    ['/api/devices/a%2Fb', 404],
    ['/api/devices/a%00b', 404],
    ['/api/devices/..%2f..', 404],
    ['/api/devices/__proto__', 404],
    ['/api/devices/constructor', 404],
    ['/api/devices/%E2%98%83', 404],
    [`/api/devices/${'x'.repeat(65)}`, 404],
    [`/api/devices/${'x'.repeat(9_000)}`, 404],
  ];
  for (const [path, status] of table) {
    const answer = await api.call(`GET ${path}`);
    t.match(answer, { status, body: { error: String, message: String } }, path.slice(0, 60));
    t.notMatch(answer.text, / at |\.js/, 'no stack');
  }
});

t.test('answers have what keeps them out of caches and pages, and no fingerprints', async (t) => {
  const api = await startApi(t);
  for (const call of ['GET /api', 'GET /nothing', 'GET /api/devices', `GET /api/devices/${KEY}`]) {
    const { headers } = await api.call(call, { as: null });
    t.match(headers, {
      'cache-control': 'no-store',
      'content-security-policy': /default-src 'none'/,
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    });
    t.strictSame([headers['x-powered-by'], headers.etag, headers.server], [undefined, undefined, undefined]);
    t.equal(headers['access-control-allow-origin'], undefined);
  }
  const head = await api.call('HEAD /api', { as: null });
  t.equal(head.text, '');
  t.equal(head.status, 200);
});

t.test('a full disk is told, and nothing of its error', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  api.store.fail = new Failure('gateway.store-failed', 'the database could not be written: no space left on device');
  for (const [call, body] of Object.entries(BODIES)) {
    const { status, text } = await api.call(call, { body });
    t.ok([200, 400, 503].includes(status), `${call}: ${status}`);
    t.notMatch(text, / at |\.js/);
  }
  t.match(await api.call(`POST ${tunnel('pause')}`, { body: { minutes: 1 } }), {
    status: 503,
    body: { error: 'Store failed' },
  });
  api.store.fail = null;
});

t.test('a fault of the program is told to the log alone', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  api.store.auditOf = () => Promise.reject(new Error(`broken at ${TOKEN_CODE}`));
  const { status, text } = await api.call(`GET ${tunnel('logs')}`);
  t.equal(status, 500);
  t.notMatch(text, /broken/);
  t.ok(api.lines.some(({ level, msg }) => level === 'error' && /fault of the program/.test(msg)));
});

t.test('no token is in a log line, neither of a header, nor of a body, nor of an address', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const { token } = (await api.call(`POST ${tunnel('token')}`)).body as { token: string };
  await api.call(`GET /tunnel/setup/${token}`, { as: null });
  await api.call(`GET /tunnel/Setup/${token}`, { as: null });
  await api.call(`GET /tunnel/setup/${token}/x`, { as: null });
  await api.call(`PUT /tunnel/setup/${token}`, { as: null });
  await api.call(`GET /tunnel/setup/${token}?${token}`, { as: null });
  await api.call(`GET /api/devices/${KEY}`, { as: { tokenCode: TOKEN_CODE } });
  await api.call('GET /api/devices', { as: null, headers: { authorization: `Bearer ${ADMIN_TOKEN}x` } });
  await api.call(`PUT /api/devices/${KEY}/token-code`, { body: { token_code: 'secret-secret' } });
  const log = JSON.stringify(api.lines);
  for (const secret of [token, TOKEN_CODE, ADMIN_TOKEN, 'secret-secret']) t.notOk(log.includes(secret));
  t.ok(
    api.lines.some(({ route, status }) => route === '/tunnel/setup/{token}' && status === 200),
    'the call itself is',
  );
  t.match(
    api.lines.find(({ msg }) => msg === 'HTTP request'),
    {
      level: 'debug',
      method: 'POST',
      route: '/api/tunnel/servers/{key}/token',
      status: 200,
      source: '127.0.0.1',
      ms: Number,
    },
  );
});

/** Sends bytes as they are, and gives what comes back, until the end or until it is like `enough`. */
async function raw(port: number, bytes: string | Buffer, enough?: RegExp): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  await once(socket, 'connect');
  socket.write(bytes);
  for await (const chunk of socket) {
    text += String(chunk);
    if (enough?.test(text)) break;
  }
  socket.destroy();
  return text;
}
