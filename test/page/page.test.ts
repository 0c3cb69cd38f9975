import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import t, { type Test } from 'tap';
import { StatusPage } from '../../src/page/page.ts';
import { isTrustedOrigin, ownAddresses } from '../../src/pairing/origin.ts';
import { systemClock } from '../../src/support/clock.ts';
import { startPairingApp, TUNNEL_SOURCE } from '../support/pairing-app.ts';
import { testLog } from '../support/test-log.ts';
import { CONNECTED } from './support.ts';

/** The page on the routes of pairing, as the service has it. */
async function startPage(t: Test) {
  const device = { status: async () => CONNECTED, looks: 0 };
  const page = new StatusPage({
    status: () => {
      device.looks += 1;
      return device.status();
    },
    isOwnHost: (host) => isTrustedOrigin(`http://${host}`, [...ownAddresses(), 'beamer.example.org']),
    tunnelSource: TUNNEL_SOURCE,
    clock: systemClock,
    log: testLog().log,
  });
  const app = await startPairingApp(t, { pages: page.routes });
  t.teardown(() => page.stop());
  return { ...app, device };
}

t.test('GET / shows the page, and nothing may keep or frame it', async (t) => {
  const { ask } = await startPage(t);
  const { status, headers, body } = await ask('/');
  t.equal(status, 200);
  t.match(headers, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
  });
  for (const absent of ['etag', 'x-powered-by', 'strict-transport-security', 'access-control-allow-origin']) {
    t.equal(headers[absent], undefined, absent);
  }
  const policy = String(headers['content-security-policy']).split(';');
  t.match(policy, [
    "default-src 'none'",
    /^style-src 'sha256-[^ ]+'$/,
    /^script-src 'sha256-[^ ]+'$/,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ]);
  t.equal(policy.length, 8);
  t.match(body, /^<!doctype html>\n<html lang="en">/);
  t.match(body, '<h1>Paired and connected</h1>');
});

t.test('HEAD answers like GET, without the body', async (t) => {
  const { ask } = await startPage(t);
  const [page, head] = [await ask('/'), await ask('/', { method: 'HEAD' })];
  t.match(head, { status: 200, body: '', headers: { 'content-length': page.headers['content-length'] } });
  t.match(await ask('/events', { method: 'HEAD' }), {
    status: 200,
    body: '',
    headers: { 'content-type': 'text/event-stream; charset=utf-8' },
  });
});

t.test('other methods are 405, other paths 404', async (t) => {
  const { ask } = await startPage(t);
  for (const path of ['/', '/events']) {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      t.match(await ask(path, { method }), { status: 405, headers: { allow: 'GET, HEAD' } }, `${method} ${path}`);
    }
  }
  for (const path of ['//', '/events/', '/Events', '/index.html']) t.equal((await ask(path)).status, 404, path);
});

t.test('through the tunnel there is no page', async (t) => {
  const { ask, device } = await startPage(t);
  for (const path of ['/', '/events']) {
    const answer = await ask(path, { from: TUNNEL_SOURCE });
    t.match(answer, { status: 403, body: 'This page is not shown through the tunnel.\n' });
  }
  t.equal(device.looks, 0);
});

t.test('the page is for addresses and names of the device alone', async (t) => {
  const { ask, raw, device } = await startPage(t);
  const own = ['127.0.0.1', '127.0.0.1:5000', '[::1]:5000', 'localhost:5000', 'beamer', 'Beamer-1:5000', 'cam_2'];
  for (const host of [...own, 'beamer.local', 'beamer.local.:5000', 'beamer.example.org:5000']) {
    t.equal((await ask('/', { headers: { Host: host } })).status, 200, host);
  }
  const before = device.looks;
  const foreign = ['evil.test', 'evil.test:5000', '203.0.113.9', 'beamer.local.evil.test', 'beamer.', 'a.b', ' '];
  for (const host of [
    ...foreign,
    '127.0.0.1@evil.test',
    'evil.test/127.0.0.1',
    'be amer',
    'beamer:',
    'beamer:1234567',
  ]) {
    for (const path of ['/', '/events']) {
      const { status, body } = await ask(path, { headers: { Host: host } });
      t.equal(status, 421, `${path} of "${host}"`);
      t.match(body, /^This device does not show its page under the name in the address bar\.\n/);
      t.notMatch(body, /evil|beamer-1|127\.0\.0\.1/, 'it names nothing');
    }
  }
  t.equal(device.looks, before);
  t.match(await raw('GET / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 421 /, 'without a Host, as HTTP 1.0 allows');
});

t.test('however many ask, the status is made once a second', async (t) => {
  const { ask, device } = await startPage(t);
  await Promise.all(Array.from({ length: 20 }, () => ask('/')));
  t.ok(device.looks <= 2, `${device.looks} looks`);
});

t.test('a status that fails is an answer, not a hanging page', async (t) => {
  const { ask, device, has } = await startPage(t);
  device.status = () => Promise.reject(new Error('broken'));
  t.match(await ask('/'), { status: 500, body: /"ok":false/ });
  t.ok(has(/a fault of the program/));
});

t.test('GET /events streams the parts of the page', async (t) => {
  const { port } = await startPage(t);
  const listener = request({ port, host: '127.0.0.1', path: '/events', agent: false }).end();
  const [response] = (await once(listener, 'response')) as [IncomingMessage];
  t.teardown(() => listener.destroy());
  t.match(response, {
    statusCode: 200,
    headers: { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' },
  });
  let text = '';
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk;
    if (/data: .*\n\n/.test(text)) break;
  }
  const { title, state, rest } = JSON.parse(text.match(/data: (.*)\n/)?.[1] ?? '') as Record<string, string>;
  t.equal(title, 'Paired and connected · beamer-1');
  t.match(state, '<h1>Paired and connected</h1>');
  t.match(rest, '<h2>Paired key</h2>');
});
