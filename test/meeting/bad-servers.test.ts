import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { MeetingCalls } from '../../src/meeting/calls.ts';
import { MeetingApi } from '../../src/meeting/request.ts';
import type { Failure } from '../../src/support/failures.ts';
import { temporaryFolder } from '../device/support.ts';
import { makeCertificate } from '../support/certificates.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startHangingPort } from '../support/hanging-port.ts';
import {
  type Answer,
  API_TOKEN,
  BASE,
  DEVICE_KEY,
  json,
  type MeetingServer,
  ONLINE,
  startMeetingServer,
  text,
} from '../support/meeting-api.ts';
import { freePort } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';

const STAYS = new AbortController().signal;

function client(url: string, { ca = null as string | null, token = API_TOKEN, signal = STAYS } = {}) {
  const clock = new FakeClock();
  const calls = new MeetingCalls(new MeetingApi({ url, token, ca, clock }), DEVICE_KEY);
  return { clock, calls, beat: () => calls.heartbeat(() => ({}), signal) };
}

async function server(t: Test, options: Parameters<typeof startMeetingServer>[0] = {}): Promise<MeetingServer> {
  const api = await startMeetingServer(options);
  t.teardown(() => api.close());
  return api;
}

/** A bare TCP server, for what no HTTP server would say. */
async function bare(t: Test, serve: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const listener: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    serve(socket);
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    listener.close();
    await once(listener, 'close');
  });
  return `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
}

async function failureOf(t: Test, work: Promise<unknown>): Promise<Failure> {
  try {
    await work;
    t.fail('it should fail');
  } catch (error) {
    t.notMatch(`${(error as Error).message}${(error as Error).stack}`, new RegExp(API_TOKEN, 'i'), 'no token');
    t.ok((error as Error).message.length < 500, 'a bounded sentence');
    return error as Failure;
  }
  throw new Error('unreachable');
}

t.test('every call is made as the contract has it', async (t) => {
  for (const [prefix, suffix] of [
    ['', ''],
    ['/meeting', ''],
    ['', '/api'],
    ['/meeting', '/api/'],
  ]) {
    const api = await server(t, { prefix: prefix ?? '' });
    const { calls } = client(`${api.url}${suffix}`);
    await calls.heartbeat((address) => ({ ip_lan: String(address), mac: 'b8:27:eb:00:00:01' }), STAYS);
    await calls.device(STAYS);
    await calls.availability(STAYS);
    await calls.publishKey('ssh-ed25519 AAAA', STAYS);
    await calls.hostKeys(STAYS);
    api.answers.set('GET /api/ssh/pubkey', text(404, ''));
    await t.rejects(calls.serverKey(STAYS), { code: 'meeting.api-answer', message: /status 404/ });
    t.strictSame(
      api.seen.map(({ method, path }) => `${method} ${path}`),
      [
        ONLINE,
        `GET ${BASE}`,
        `GET ${BASE}/availability`,
        `PUT ${BASE}/ssh-key`,
        'GET /api/ssh-hostkey',
        'GET /api/ssh/pubkey',
      ],
    );
    t.strictSame(api.complaints, []);
    for (const { headers } of api.seen) t.equal(headers['x-token-code'], API_TOKEN);
    t.equal(api.seen[0]?.body, '{"ip_lan":"127.0.0.1","mac":"b8:27:eb:00:00:01"}');
    t.equal(api.state.publishedKey, 'ssh-ed25519 AAAA');
    t.equal(api.connections(), 6, 'one connection a call, and none is kept');
  }
});

t.test('a device key and a token of any characters arrive as they are', async (t) => {
  const api = await server(t);
  api.answers.set('*', json(200, { authorized: true }));
  const token = 'gehe"im—ü\u{1f511}';
  const clock = new FakeClock();
  const calls = new MeetingCalls(new MeetingApi({ url: api.url, token, ca: null, clock }), 'a/b?c#%');
  await calls.device(STAYS);
  t.equal(api.seen[0]?.path, '/api/devices/a%2Fb%3Fc%23%25');
  t.equal(Buffer.from(String(api.seen[0]?.headers['x-token-code']), 'latin1').toString('utf8'), token);
});

t.test('what a server answers in place of an answer, and that it works again afterwards', async (t) => {
  const api = await server(t);
  const { beat, clock } = client(api.url);
  const cases: [string, Answer, { code: string; message: RegExp }][] = [
    ['401', json(401, { error: `no token ${API_TOKEN}` }), { code: 'meeting.token-refused', message: /\[secret\]/ }],
    ['404', json(404, { error: 'Device not found' }), { code: 'meeting.not-provisioned', message: /Device not found/ }],
    ['403', json(403, {}), { code: 'meeting.forbidden', message: /declines this device \(403\)/ }],
    [
      '500',
      text(500, `<h1>Oops</h1>${API_TOKEN.toUpperCase()}`, 'text/html'),
      { code: 'meeting.api-error', message: /status 500; it says: Oops/ },
    ],
    ['HTML with 200', text(200, '<!DOCTYPE html><p>Welcome', 'text/html'), answer(/a page for people/)],
    ['HTML as JSON', text(200, '<!DOCTYPE html><p>Welcome', 'application/json'), answer(/a page for people/)],
    ['broken JSON', text(200, '{"ok":true', 'application/json'), answer(/not JSON/)],
    ['a list', json(200, [{ ok: true }]), answer(/not an object/)],
    ['null', json(200, null), answer(/not an object/)],
    ['nothing in it', text(204, ''), answer(/not JSON$/)],
    ['other JSON', json(200, { status: 'fine' }), answer(/does not say that it is ok/)],
    ['bytes', text(200, '\u0000\u0007\u001b[2J\ufffd', 'image/png'), answer(/not JSON; it says: \[2J/)],
    ['401 with 10 MB', text(401, 'x'.repeat(10_000_000)), { code: 'meeting.token-refused', message: /x…$/ }],
    ['10 MB', text(200, 'x'.repeat(10_000_000)), answer(/more than 64 KiB/)],
    [
      'a redirect',
      (response) => void response.writeHead(302, { location: `https://evil.example/?${API_TOKEN}` }).end(),
      {
        code: 'meeting.api-redirect',
        message: /another address \(302\), which is not followed; it says: https:\/\/evil\.example\/\?\[secret\]/,
      },
    ],
    ['half an answer', half, answer(/ended in the middle/)],
    [
      'no answer',
      (response) => void response.socket?.destroy(),
      { code: 'meeting.api-unreachable', message: /closed/ },
    ],
    ['garbage in chunks', chunks, answer(/not HTTP \(HPE_/)],
    ['long headers', (response) => void response.writeHead(200, { x: 'y'.repeat(30_000) }).end(), answer(/not HTTP/)],
  ];
  for (const [name, say, expected] of cases) {
    api.answers.set(ONLINE, say);
    const failure = await failureOf(t, beat());
    t.match(failure, expected, name);
    t.notMatch(failure.message, /[\u0000-\u001f]/, `${name}: printable`);
    api.answers.clear();
    t.match(await beat(), { ipAddress: '203.0.113.7' }, `well again after ${name}`);
  }
  api.answers.set(ONLINE, text(200, '{"ok":1}', 'text/plain'));
  t.match(await beat(), { ipAddress: null }, 'a wrong content type alone is no fault: servers differ');
  t.strictSame(api.complaints, []);
  t.equal(clock.pending, 0);
});

t.test('an answer of 10 MB is cut early', async (t) => {
  const api = await server(t);
  let sent = 0;
  api.answers.set(ONLINE, (response) => {
    const more = () => {
      while (!response.destroyed && sent < 10_000_000) {
        sent += 65_536;
        if (!response.write('x'.repeat(65_536))) return void response.once('drain', more);
      }
    };
    more();
  });
  await failureOf(t, client(api.url).beat());
  t.ok(sent < 9_000_000, `${sent} bytes were sent`);
});

t.test('a server that does not get to the end of its answer is left at the deadline', async (t) => {
  const api = await server(t);
  const { beat, clock } = client(api.url);
  const slow: [string, Answer, RegExp][] = [
    ['says nothing', () => {}, /while waiting for the answer/],
    ['stops in the middle', (response) => void response.writeHead(200).write('{"ok":'), /while \w+/],
    ['drips', drip, /while \w+/],
  ];
  for (const [name, say, message] of slow) {
    api.answers.set(ONLINE, say);
    const asked = api.next(ONLINE);
    const failing = failureOf(t, beat());
    await asked;
    // Most likely the first bytes are here by then; the deadline is the same where they are not.
    await turns(20);
    clock.advance(10_000);
    const { code, message: sentence } = await failing;
    t.equal(code, 'meeting.api-timeout', name);
    t.match(sentence, message);
    t.equal(clock.pending, 0, 'no timer is left');
  }
  api.answers.clear();
  t.match(await beat(), { ipAddress: '203.0.113.7' });
});

t.test('a server that accepts no connection is left at the deadline', async (t) => {
  const hanging = await startHangingPort();
  t.teardown(() => hanging.close());
  const { beat, clock } = client(`http://127.0.0.1:${hanging.port}`);
  const failing = failureOf(t, beat());
  await until('the deadline', () => clock.pending > 0);
  clock.advance(10_000);
  t.match(await failing, { code: 'meeting.api-timeout', message: /while connecting/ });
});

t.test('a call ends at once when the service stops', async (t) => {
  const api = await server(t);
  api.answers.set(ONLINE, () => {});
  const stop = new AbortController();
  const { beat, clock } = client(api.url, { signal: stop.signal });
  const asked = api.next(ONLINE);
  const ended = t.rejects(beat(), { message: 'stopped' });
  await asked;
  stop.abort(new Error('stopped'));
  await ended;
  await t.rejects(beat(), { message: 'stopped' }, 'also one that begins afterwards');
  t.equal(clock.pending, 0);
});

t.test('what goes wrong in making the body is a failure of the call', async (t) => {
  const api = await server(t);
  const body = () => {
    throw new Error('no interfaces');
  };
  await t.rejects(client(api.url).calls.heartbeat(body, STAYS), {
    code: 'internal.unexpected',
    message: /no interfaces/,
  });
});

t.test('a server that is not there, or that nobody can look up', async (t) => {
  const refused = await failureOf(t, client(`http://127.0.0.1:${await freePort()}`).beat());
  t.match(refused, { code: 'meeting.api-unreachable', message: /ECONNREFUSED/ });
  const unknown = await failureOf(t, client('http://meeting.invalid').beat());
  t.match(unknown, { code: 'meeting.api-unreachable', message: /could not be looked up/ });
});

t.test('a server that is no HTTP server', async (t) => {
  const banner = await bare(t, (socket) => void socket.write('SSH-2.0-OpenSSH_9.2\r\n'));
  t.match(await failureOf(t, client(banner).beat()), { code: 'meeting.api-answer', message: /not HTTP/ });
  const silent = await bare(t, (socket) => void socket.end());
  t.match(await failureOf(t, client(silent).beat()), { code: 'meeting.api-unreachable', message: /closed/ });
});

t.test('certificates', requires('openssl'), async (t) => {
  const folder = temporaryFolder(t);
  const good = makeCertificate(folder, 'localhost');
  const expired = makeCertificate(temporaryFolder(t), 'localhost', -1);
  const other = makeCertificate(folder, 'meeting.example');
  const secure = (tls: typeof good) => server(t, { tls, name: 'localhost' });
  const tls = (message: RegExp) => ({ code: 'meeting.api-tls', message });

  const api = await secure(good);
  t.match(await client(api.url, { ca: good.path }).beat(), { ipAddress: '203.0.113.7' }, 'the right one');
  t.match(await failureOf(t, client(api.url).beat()), tls(/self-signed/));
  t.match(await failureOf(t, client(api.url, { ca: other.path }).beat()), tls(/self-signed|not trusted/), 'a wrong CA');
  const byAddress = api.url.replace('localhost', '127.0.0.1');
  t.match(await failureOf(t, client(byAddress, { ca: good.path }).beat()), tls(/another name than 127\.0\.0\.1/));
  t.match(await failureOf(t, client((await secure(expired)).url, { ca: expired.path }).beat()), tls(/has expired/));
  t.match(await failureOf(t, client((await secure(other)).url, { ca: other.path }).beat()), tls(/another name/));

  const noCertificate = join(folder, 'empty.pem');
  writeFileSync(noCertificate, 'nothing\n');
  for (const [ca, why] of [
    [noCertificate, /holds no certificate/],
    [join(folder, 'missing.pem'), /ENOENT/],
    [folder, /not a regular file|EISDIR/],
  ] as [string, RegExp][]) {
    t.match(await failureOf(t, client(api.url, { ca }).beat()), tls(why));
  }
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  t.teardown(() => delete process.env.NODE_TLS_REJECT_UNAUTHORIZED);
  t.match(await failureOf(t, client(api.url).beat()), tls(/self-signed/), 'no variable turns the check off');
  t.equal(api.seen.length, 1, 'the token was sent to the right server only');
});

t.test('TLS to a plain server, and the reverse, are named', requires('openssl'), async (t) => {
  const tls = makeCertificate(temporaryFolder(t), 'localhost');
  const [secure, plain] = [await server(t, { tls, name: 'localhost' }), await server(t)];
  t.match(await failureOf(t, client(secure.url.replace('https:', 'http:')).beat()), {
    code: 'meeting.api-tls-required',
  });
  t.match(await failureOf(t, client(plain.url.replace('http:', 'https:')).beat()), {
    code: 'meeting.api-tls-not-spoken',
  });
  const alert = await bare(t, (socket) => void socket.end(Buffer.from([0x15, 3, 1, 0, 2, 2, 10])));
  t.match(await failureOf(t, client(alert).beat()), { code: 'meeting.api-tls-required' });
  const mute = await bare(t, (socket) => void socket.once('data', () => socket.destroy()));
  t.match(await failureOf(t, client(mute.replace('http:', 'https:')).beat()), { code: 'meeting.api-tls-not-spoken' });
});

const answer = (message: RegExp) => ({ code: 'meeting.api-answer', message });

const half: Answer = (response) => {
  response.writeHead(200, { 'content-length': 100 }).write('{"ok":true,', () => response.socket?.destroy());
};

const chunks: Answer = ({ socket }) => {
  socket?.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{"ok":true}\r\n');
};

const drip: Answer = (response) => {
  response.writeHead(200);
  const timer = setInterval(() => response.write(' '), 20);
  response.once('close', () => clearInterval(timer));
};

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
