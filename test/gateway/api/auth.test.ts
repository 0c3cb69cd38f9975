import t from 'tap';
import { routes } from '../../../src/gateway/api/contract.ts';
import { ADMIN_TOKEN, KEY, send, startApi, TOKEN_CODE } from './support.ts';

const OTHER = 'another-device';
const OTHER_TOKEN = 'the token code of another device';
const tunnel = (rest: string) => `/api/tunnel/servers/${KEY}/${rest}`;

/** An address for every route, with a device that is there. */
const addressOf = (path: string) =>
  path.replace('{key}', KEY).replace('{port}', '40000').replace('{token}', 'A'.repeat(52));

t.test('without credentials, every call that needs some is 401 and says which', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  for (const { method, path, who } of routes.filter((route) => route.who !== 'anyone')) {
    const call = `${method.toUpperCase()} ${addressOf(path)}`;
    const { status, headers, body } = await api.call(call, { as: null });
    t.match({ status, body }, { status: 401, body: { error: 'Unauthorized' } }, `${call} (${who})`);
    t.match(headers['www-authenticate'], /^Bearer/);
  }
});

t.test('a device reaches its own four calls, and is refused the others with 403', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const as = { tokenCode: TOKEN_CODE };
  const own = routes.filter(({ who }) => who === 'device').map(({ method, path }) => `${method} ${path}`);
  t.strictSame(own.sort(), [
    'get /api/devices/{key}',
    'get /api/devices/{key}/availability',
    'post /api/devices/{key}/online',
    'put /api/devices/{key}/ssh-key',
  ]);
  for (const { method, path, who } of routes.filter((route) => route.who !== 'anyone')) {
    const { status } = await api.call(`${method.toUpperCase()} ${addressOf(path)}`, { as });
    if (who === 'operator') t.equal(status, 403, `${method} ${path}`);
    else t.ok(status === 200 || status === 400, `${method} ${path}: ${status}`);
  }
  t.ok(api.core.operations.devices().length === 1, 'nothing happened');
});

t.test('the token of a device opens nothing of another device', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  await api.addDevice(OTHER, OTHER_TOKEN);
  for (const call of [`GET /api/devices/${KEY}`, `POST /api/devices/${KEY}/online`]) {
    t.equal((await api.call(call, { as: { tokenCode: OTHER_TOKEN } })).status, 401, call);
  }
  t.equal((await api.call(`GET /api/devices/${OTHER}`, { as: { tokenCode: OTHER_TOKEN } })).status, 200);
});

t.test('an unknown device is told so, as deployed agents expect it, and a wrong token is 401', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  t.match(await api.call('POST /api/devices/unknown/online', { as: { tokenCode: TOKEN_CODE } }), {
    status: 404,
    body: { error: 'Device not found' },
  });
  t.equal((await api.call(`POST /api/devices/${KEY}/online`, { as: { tokenCode: 'wrong' } })).status, 401);
  const took = async (key: string) => {
    const from = performance.now();
    await send(api.port, `GET /api/devices/${key}`, {
      as: { tokenCode: 'wrong as well' },
      from: `127.0.0.${key.length}`,
    });
    return performance.now() - from;
  };
  t.ok((await took('unknown-2')) > 400, 'with the same delay as a wrong token');
});

t.test('the bearer decides where there is one, and must be exactly the token', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const table: [string, string, number][] = [
    ['right', `Bearer ${ADMIN_TOKEN}`, 200],
    ['any case of the scheme', `bearer ${ADMIN_TOKEN}`, 200],
    ['wrong', 'Bearer wrong', 401],
    ['longer', `Bearer ${ADMIN_TOKEN}x`, 401],
    ['shorter', `Bearer ${ADMIN_TOKEN.slice(0, -1)}`, 401],
    ['of another case', `Bearer ${ADMIN_TOKEN.toUpperCase()}`, 401],
    ['none', 'Bearer', 401],
    ['empty', '', 401],
    ['of another scheme', `Basic ${ADMIN_TOKEN}`, 401],
    ['two words', `Bearer ${ADMIN_TOKEN} ${ADMIN_TOKEN}`, 401],
    ['giant', `Bearer ${'x'.repeat(10_000)}`, 401],
  ];
  const answers = await Promise.all(
    table.map(([, authorization]) => api.call('GET /api/devices', { as: null, headers: { authorization } })),
  );
  t.strictSame(
    answers.map(({ status }, index) => [table[index]?.[0], status]),
    table.map(([what, , status]) => [what, status]),
  );
  const both = { as: { tokenCode: TOKEN_CODE }, headers: { authorization: 'Bearer wrong' } };
  t.equal((await api.call(`GET /api/devices/${KEY}`, both)).status, 401);
});

t.test('wrong bearers take their time, more so many at once; the right one never waits', async (t) => {
  const api = await startApi(t);
  const wrong = { as: null, headers: { authorization: 'Bearer wrong' } };
  const from = performance.now();
  const all = Promise.all([...Array(6)].map(() => send(api.port, 'GET /api/devices', wrong)));
  await new Promise((resolve) => setTimeout(resolve, 100));
  const rightFrom = performance.now();
  t.equal((await api.call('GET /api/devices')).status, 200);
  t.ok(performance.now() - rightFrom < 400, 'the right one, from the same address');
  await all;
  t.ok(performance.now() - from > 2_500, 'six at once take three seconds');
});

t.test('who goes away while a wrong token waits leaves nothing behind', async (t) => {
  const api = await startApi(t);
  const headers = { authorization: 'Bearer wrong' };
  await t.rejects(
    Promise.race([
      ...[...Array(3)].map(() => send(api.port, 'GET /api/devices', { as: null, headers })),
      api.server.stop().then(() => Promise.reject(new Error('stopped'))),
    ]),
  );
});

t.test('setup scripts: three at once, then one a second, by address; all refusals alike', async (t) => {
  const api = await startApi(t);
  await api.addDevice();
  const { token } = (await api.call(`POST ${tunnel('token')}`)).body as { token: string };
  const get = (asked: string, from: string) => send(api.port, `GET /tunnel/setup/${asked}`, { as: null, from });
  const answers = [];
  for (let i = 0; i < 5; i += 1) answers.push(await get(token, '127.0.0.2'));
  const statuses = answers.map(({ status }) => status);
  t.strictSame(statuses.slice(0, 4), [200, 200, 200, 429]);
  t.match(answers[3], { headers: { 'retry-after': '1' }, body: { error: 'Too many requests' } });
  t.equal((await get(token, '127.0.0.3')).status, 200, 'another address is not concerned');
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  t.equal((await get(token, '127.0.0.2')).status, 200, 'after a second');

  const refused: [string, string][] = [
    ['A'.repeat(52), 'unknown'],
    ['short', 'malformed'],
    [token.toLowerCase(), 'of another case'],
    [TOKEN_CODE, 'of the wrong kind'],
    ['%00', 'a control character'],
  ];
  let address = 10;
  const refusal = async (asked: string) => {
    address += 1;
    const { status, body } = await get(asked, `127.0.0.${address}`);
    return { status, ...body };
  };
  const first = await refusal('unknown');
  t.match(first, { status: 400, error: 'Invalid token' });
  for (const [asked, what] of refused) t.strictSame(await refusal(asked), first, what);
  await api.call(`POST ${tunnel('pause')}`, { body: { minutes: 5 } });
  t.strictSame(await refusal(token), first, 'paused');
  await api.call(`POST ${tunnel('resume')}`);
  await api.call(`PUT /api/devices/${KEY}/authorize`, { body: { authorized: false } });
  t.strictSame(await refusal(token), first, 'not authorized');
});
