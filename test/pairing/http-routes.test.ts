import t from 'tap';
import { Failure } from '../../src/support/failures.ts';
import { startPairingApp, TUNNEL_SOURCE } from '../support/pairing-app.ts';
import { freshKeyLine } from '../support/public-keys.ts';

t.test('readytopair answers the literal text, never cached', async (t) => {
  const { ask, pairing } = await startPairingApp(t);
  for (const open of [true, false]) {
    pairing.open = open;
    const { status, headers, body } = await ask('/zeroforce/readytopair');
    t.equal(status, 200);
    t.equal(body, String(open));
    t.equal(headers['content-type'], 'text/plain; charset=utf-8');
    t.equal(headers['content-length'], String(body.length));
    t.equal(headers['cache-control'], 'no-store');
    t.notOk('etag' in headers);
  }
});

t.test('readytopair gives JSON only to a client that takes nothing else', async (t) => {
  const { ask } = await startPairingApp(t);
  const cases: [accept: string | null, json: boolean][] = [
    [null, false],
    ['*/*', false],
    ['text/plain', false],
    ['text/*', false],
    ['application/json', true],
    ['Application/JSON;q=0.9', true],
    ['application/*', true],
    ['application/json, text/html', true],
    ['application/json, text/plain', false],
    ['application/json, text/plain;q=0.1', false],
    ['application/json, text/plain, */*', false], // axios
    ['application/json, */*;q=0.1', false],
    ['application/json, text/plain;q=0', true],
    ['application/json;q=0', false],
    ['application/json; charset=utf-8', true],
    ['application/json;version=1;q=0.5', true],
    ['application/json; charset=utf-8; q=0', false],
    ['application/json;q=0, application/*', false],
    ['application/json;charset=utf-8, text/plain;charset=utf-8', false],
    ['application/json;charset=utf-8, text/*', false],
    ['application/json;charset=utf-8, */*', false],
    ['application/json;charset=utf-8, text/plain;format=flowed;q=0', true],
    ['application/json;q=nonsense', false],
    ['text/html', false],
    ['image/png', false],
    ['', false],
    ['nonsense', false],
  ];
  for (const [accept, json] of cases) {
    const answer = await ask('/zeroforce/readytopair', { headers: accept === null ? {} : { Accept: accept } });
    t.equal(answer.status, 200);
    t.equal(answer.body, json ? '{"ready":true}' : 'true', `Accept: ${accept}`);
    t.match(answer.headers['content-type'], json ? 'application/json' : 'text/plain');
    t.notOk('etag' in answer.headers);
  }
});

t.test('a condition or a range on readytopair changes nothing', async (t) => {
  const { ask } = await startPairingApp(t);
  for (const headers of [
    { 'If-None-Match': '*' },
    { 'If-Modified-Since': new Date().toUTCString() },
    { Range: 'bytes=0-1' },
  ] as Record<string, string>[]) {
    t.match(await ask('/zeroforce/readytopair', { headers }), { status: 200, body: 'true' });
  }
});

t.test('HEAD answers as GET, without a body', async (t) => {
  const { ask } = await startPairingApp(t);
  for (const path of ['/zeroforce/readytopair', '/zeroforce/info', '/healthz']) {
    const get = await ask(path);
    const head = await ask(path, { method: 'HEAD' });
    t.equal(head.status, 200);
    t.equal(head.body, '');
    t.equal(head.headers['content-length'], get.headers['content-length']);
  }
});

t.test('setkey answers exactly {"ok":true}', async (t) => {
  const { form, pairing } = await startPairingApp(t);
  const line = freshKeyLine();
  const { status, headers, body } = await form(line);
  t.equal(status, 200);
  t.equal(body, '{"ok":true}');
  t.equal(headers['content-type'], 'application/json; charset=utf-8');
  t.same(pairing.keys, [{ text: line, source: '127.0.0.1' }]);
});

t.test('setkey outside of pairing mode answers the exact sentence', async (t) => {
  const { form, pairing } = await startPairingApp(t);
  const refusal = '{"ok":false,"error":"Not in pairing mode; refusing to change authorized key"}';
  pairing.open = false;
  t.match(await form(freshKeyLine()), { status: 403, body: refusal });
  t.same(pairing.keys, []);

  // It closes between the check and the write.
  pairing.open = true;
  pairing.failure = new Failure('pairing.closed', 'a tunnel stands');
  t.match(await form(freshKeyLine()), { status: 403, body: refusal });
});

t.test('a bad key is answered with what is wrong with it', async (t) => {
  const { form } = await startPairingApp(t);
  for (const [key, words] of [
    ['', /empty/],
    ['hello', /accepted key type/],
    [freshKeyLine().slice(0, 40), /ed25519|ends/],
    [`${freshKeyLine()}\n${freshKeyLine()}`, /more than one line/],
    [`command="sh" ${freshKeyLine()}`, /options/],
  ] as const) {
    const answer = await form(key);
    t.equal(answer.status, 400);
    const { ok, error, ...rest } = JSON.parse(answer.body);
    t.equal(ok, false);
    t.match(error, words);
    t.same(rest, {});
  }
});

t.test('a failed write is 500 without inner details; the log has them', async (t) => {
  const { form, pairing, has } = await startPairingApp(t);
  for (const failure of [
    new Failure('key.unwritable', '/root/.ssh/authorized_keys: no space left'),
    new Failure('state.unwritable', '/var/lib/zeroforce: read-only'),
    new TypeError('undefined is not a function'),
  ]) {
    pairing.failure = failure;
    const { status, headers, body } = await form(freshKeyLine());
    t.equal(status, 500);
    t.match(headers['content-type'], 'application/json');
    const { ok, error } = JSON.parse(body);
    t.equal(ok, false);
    t.type(error, 'string');
    t.notMatch(body, /authorized_keys|zeroforce|undefined|\.js|\bat \//);
  }
  t.ok(has(/undefined is not a function/), 'a fault of the program is logged');
});

t.test('info tells what the device is', async (t) => {
  const { ask, pairing } = await startPairingApp(t);
  for (const open of [true, false]) {
    pairing.open = open;
    const { status, headers, body } = await ask('/zeroforce/info');
    t.equal(status, 200);
    t.match(headers['content-type'], 'application/json');
    t.same(JSON.parse(body), {
      version: '1.2.3',
      hostname: 'beamer',
      pairing_mode: open,
      policy: 'open',
      pin_ready: false,
      uptime: 12,
      devmode: false,
    });
  }
});

t.test('healthz is 200 while the service works, 503 when it does not', async (t) => {
  let healthy = true;
  const { ask } = await startPairingApp(t, { healthy: () => healthy });
  t.match(await ask('/healthz'), { status: 200, body: '{"ok":true}' });
  healthy = false;
  t.match(await ask('/healthz'), { status: 503, body: '{"ok":false}' });
});

t.test('a wrong method is 405 and names the right ones', async (t) => {
  const { ask, pairing } = await startPairingApp(t);
  const rows = [
    ['/zeroforce/readytopair', 'GET, HEAD', ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'PROPFIND']],
    ['/zeroforce/info', 'GET, HEAD', ['POST', 'OPTIONS']],
    ['/healthz', 'GET, HEAD', ['POST', 'OPTIONS']],
    ['/zeroforce/setkey', 'POST', ['GET', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'M-SEARCH']],
  ] as const;
  for (const [path, allow, methods] of rows) {
    for (const method of methods) {
      const { status, headers, body } = await ask(path, { method });
      t.equal(status, 405, `${method} ${path}`);
      t.equal(headers.allow, allow);
      t.match(JSON.parse(body), { ok: false, error: String });
    }
  }
  t.match(await ask('/zeroforce/setkey', { method: 'HEAD' }), { status: 405, body: '' });
  t.same(pairing.keys, []);
});

t.test('any other path is 404 in the same shape', async (t) => {
  const { ask, form } = await startPairingApp(t);
  for (const path of [
    '/',
    '/zeroforce',
    '/zeroforce/',
    '/zeroforce/readytopair/',
    '/zeroforce/readyToPair',
    '/ZEROFORCE/READYTOPAIR',
    '/zeroforce/%72eadytopair',
    '/zeroforce//readytopair',
    '/zeroforce/./readytopair',
    '/x/../zeroforce/readytopair',
    '//zeroforce/readytopair',
    '/zeroforce/readytopair%00',
    '/zeroforce/readytopair%2f',
    '/%',
    '/%ff%fe',
    '/favicon.ico',
    `/${'a'.repeat(4_000)}`,
  ]) {
    const { status, headers, body } = await ask(path);
    t.equal(status, 404, path.slice(0, 40));
    t.match(headers['content-type'], 'application/json');
    t.match(JSON.parse(body), { ok: false, error: String });
  }
  t.equal((await form(freshKeyLine(), {})).status, 200);
  t.equal((await ask('/zeroforce/setkey/', { method: 'POST' })).status, 404);
  t.equal((await ask('/zeroforce/readytopair?x=1')).body, 'true', 'a query is nothing to us');
});

t.test('no answer says what it is made with, or lets another page read it', async (t) => {
  const { ask } = await startPairingApp(t);
  for (const [path, method] of [
    ['/zeroforce/readytopair', 'GET'],
    ['/zeroforce/info', 'GET'],
    ['/zeroforce/setkey', 'POST'],
    ['/zeroforce/setkey', 'OPTIONS'],
    ['/healthz', 'GET'],
    ['/nowhere', 'GET'],
  ] as const) {
    const { headers, body } = await ask(path, {
      method,
      headers: { Origin: 'http://evil.example', 'Access-Control-Request-Method': 'POST' },
    });
    t.notOk('x-powered-by' in headers);
    t.notOk('server' in headers);
    t.same(
      Object.keys(headers).filter((name) => name.startsWith('access-control')),
      [],
    );
    t.equal(headers['x-content-type-options'], 'nosniff');
    t.equal(headers['cache-control'], 'no-store');
    t.notMatch(body, /<|\.js:|node_modules/);
  }
});

t.test('what comes through the tunnel may look at the device, not pair with it', async (t) => {
  const { ask, form, pairing } = await startPairingApp(t);
  const from = TUNNEL_SOURCE;
  for (const answer of [await form(freshKeyLine(), { from }), await ask('/zeroforce/readytopair', { from })]) {
    t.equal(answer.status, 403);
    t.match(JSON.parse(answer.body), { ok: false, error: /tunnel/ });
  }
  t.match(await ask('/zeroforce/readytopair', { from, headers: { 'X-Forwarded-For': '10.0.0.1' } }), { status: 403 });
  t.equal((await ask('/zeroforce/info', { from })).status, 200);
  t.equal((await ask('/healthz', { from })).status, 200);
  t.same(pairing.keys, []);
  t.equal((await form(freshKeyLine(), { from: '127.0.0.78' })).status, 200, 'its neighbours are no tunnel');
});

t.test('the tunnel is known on an IPv4 socket as well as on one of both kinds', async (t) => {
  for (const host of ['::', '0.0.0.0']) {
    const { ask } = await startPairingApp(t, {}, host);
    t.equal((await ask('/zeroforce/readytopair', { from: TUNNEL_SOURCE })).status, 403, host);
    t.equal((await ask('/zeroforce/readytopair')).status, 200, host);
  }
});

t.test('nobody becomes somebody else by a header', async (t) => {
  const { form, pairing } = await startPairingApp(t);
  const headers = { 'X-Forwarded-For': '10.0.0.9', 'X-Real-IP': '10.0.0.9', Forwarded: 'for=10.0.0.9' };
  await form(freshKeyLine(), { headers });
  t.equal(pairing.keys[0]?.source, '127.0.0.1');
});
