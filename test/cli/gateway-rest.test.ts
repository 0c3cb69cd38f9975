import { mkdirSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Socket, type Server as TcpServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openRest } from '../../src/cli/gateway-rest.ts';
import { loadGatewayConfig } from '../../src/config/gateway.ts';
import { Failure } from '../../src/support/failures.ts';
import { makeCertificate } from '../support/certificates.ts';
import { tunnelGateway } from '../support/gateway.ts';
import { freePort } from '../support/processes.ts';
import { requires } from '../support/requires.ts';

const TOKEN = 'the-token-of-the-operator';

/** Ports of the system's choice lie in the usual range. */
const at = (port: number) => ({ GATEWAY_HTTP_PORT: String(port), GATEWAY_PORT_RANGE: '1000-1001' });

async function listen(t: Test, server: Server | TcpServer): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return (server.address() as AddressInfo).port;
}

/** Something at the port of a gateway; gives the environment that leads to it. */
async function answering(t: Test, handler: RequestListener): Promise<Record<string, string>> {
  return { ...at(await listen(t, createServer(handler))), GATEWAY_ADMIN_TOKEN: TOKEN };
}

const ask = async (env: Record<string, string>, route = 'GET /api/devices', body?: unknown, timeoutMs = 20_000) =>
  (await openRest(loadGatewayConfig(env).config, timeoutMs))(route, body);

async function failureOf(t: Test, asking: Promise<unknown>): Promise<Failure> {
  try {
    await asking;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  t.fail('it was answered');
  throw new Error('it was answered');
}

const json =
  (status: number, value: unknown): RequestListener =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };

t.test('a question has the token in its header and its body as JSON, and gives the answer', async (t) => {
  const seen: string[] = [];
  const env = await answering(t, (request, response) => {
    request.setEncoding('utf8').on('data', (text: string) => seen.push(text));
    request.on('end', () => {
      seen.push(`${request.method} ${request.url} ${request.headers.authorization}`);
      json(201, { ok: true })(request, response);
    });
  });
  t.strictSame(await ask(env, 'POST /api/devices/x/service', { service: 'ssh' }), { ok: true });
  t.strictSame(seen, ['{"service":"ssh"}', `POST /api/devices/x/service Bearer ${TOKEN}`]);
});

t.test('text that is no JSON is given as it is', async (t) => {
  const env = await answering(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/x-sh; charset=utf-8' }).end('#!/bin/sh\n');
  });
  t.equal(await ask(env), '#!/bin/sh\n');
});

t.test('where nobody listens no gateway runs', async (t) => {
  const env = { ...at(await freePort()), GATEWAY_ADMIN_TOKEN: TOKEN };
  for (const host of ['127.0.0.1', 'localhost']) {
    const failure = await failureOf(t, ask({ ...env, GATEWAY_HTTP_HOST: host }));
    t.match(failure, { code: 'gateway.not-running', message: new RegExp(`${host}:${env.GATEWAY_HTTP_PORT}`) });
  }
});

t.test('the token comes from its file', async (t) => {
  const env = await answering(t, (request, response) => {
    json(200, request.headers.authorization)(request, response);
  });
  const { GATEWAY_ADMIN_TOKEN: _, ...withoutToken } = env;
  const dir = t.testdir({ 'admin-token': `${TOKEN}\n`, blank: 'two words of sixteen\n', empty: '' });
  t.equal(await ask({ ...withoutToken, GATEWAY_DATA_DIR: dir }), `Bearer ${TOKEN}`);
  mkdirSync(join(dir, 'folder'));
  for (const name of ['blank', 'empty', 'folder']) {
    const failure = await failureOf(t, ask({ ...withoutToken, GATEWAY_ADMIN_TOKEN_FILE: join(dir, name) }));
    t.match(failure, { code: 'gateway.token-refused', message: join(dir, name) });
  }
  const failure = await failureOf(t, ask({ ...withoutToken, GATEWAY_ADMIN_TOKEN_FILE: join(dir, 'gone') }));
  t.match(failure, { code: 'gateway.not-running', message: /there is no .*gone/ });
});

t.test('what the gateway refuses has its sentence, and what to do', async (t) => {
  for (const [status, error, code] of [
    [401, 'Unauthorized', 'gateway.token-refused'],
    [404, 'Device not found', 'gateway.device-unknown'],
    [503, 'Device offline', 'gateway.device-offline'],
    [409, 'Device exists', 'gateway.device-exists'],
    [400, 'Invalid request', 'gateway.refused'],
    [400, 'toString', 'gateway.refused'],
  ] as const) {
    const env = await answering(t, json(status, { error, message: 'this is why\u001b[31m' }));
    t.match(await failureOf(t, ask(env)), { code, message: /^this is why( |$)/ }, error);
  }
});

t.test('a gateway that drains is no failure of the question', async (t) => {
  const env = await answering(t, json(503, { ok: false, status: 'draining' }));
  t.strictSame(await ask(env, 'GET /api/health'), { ok: false, status: 'draining' });
  const { code, stdout } = await tunnelGateway(['health'], env);
  t.equal(code, 1);
  t.equal(stdout, 'draining\n');
});

t.test('what is no gateway is told as that, within the time', async (t) => {
  const others: [string, RequestListener | TcpServer][] = [
    ['a page', (_request, response) => void response.writeHead(404).end('<h1>Not found</h1>')],
    ['JSON of another program', json(500, { message: 'no' })],
    ['half an answer', (_request, response) => void response.writeHead(200, { 'content-length': '9' }).write('{')],
    [
      'an answer that dribbles',
      (request, response) => {
        const timer = setInterval(() => response.write(' '), 20);
        request.on('close', () => clearInterval(timer));
      },
    ],
    ['nothing', () => undefined],
    ['a greeting', createTcpServer((socket) => void socket.write('SSH-2.0-OpenSSH_9.2\r\n'))],
    ['silence', createTcpServer(() => undefined)],
    ['a closed door', createTcpServer((socket) => void socket.destroy())],
  ];
  for (const [what, other] of others) {
    const server = typeof other === 'function' ? createServer(other) : other;
    const env = { ...at(await listen(t, server)), GATEWAY_ADMIN_TOKEN: TOKEN };
    const failure = await failureOf(t, ask(env, 'GET /api/devices', undefined, 500));
    t.match(failure, { code: 'gateway.no-answer' }, what);
    t.notMatch(failure.message, TOKEN);
  }
});

t.test('an answer without end is not read to its end', async (t) => {
  const chunk = Buffer.alloc(1024 * 1024, ' ');
  let sent = 0;
  const env = await answering(t, (_request, response) => {
    const more = () => {
      while (!response.destroyed && response.write(chunk)) sent += 1;
      sent += 1;
    };
    response.on('drain', more);
    more();
  });
  t.match(await failureOf(t, ask(env)), { code: 'gateway.no-answer', message: /too long/ });
  t.ok(sent < 64, `${sent} MiB`);
});

t.test('with a certificate, its holder alone is asked', requires('openssl'), async (t) => {
  const dir = t.testdir({});
  const [ours, others] = [makeCertificate(dir, 'gateway.test'), makeCertificate(dir, 'other.test')];
  const requests: string[] = [];
  const serve = (certificate: typeof ours) =>
    createTlsServer({ key: certificate.key, cert: certificate.cert }, (request, response) => {
      requests.push(String(request.headers.authorization));
      json(200, {})(request, response);
    });
  const env = async (server: Server | TcpServer) => ({
    ...at(await listen(t, server)),
    GATEWAY_ADMIN_TOKEN: TOKEN,
    GATEWAY_TLS_CERT: ours.path,
    GATEWAY_TLS_KEY: join(dir, 'gateway.test.key'),
  });
  t.strictSame(await ask(await env(serve(ours))), {});
  t.strictSame(requests, [`Bearer ${TOKEN}`]);

  const failure = await failureOf(t, ask(await env(serve(others))));
  t.match(failure, { code: 'gateway.no-answer', message: /not that of GATEWAY_TLS_CERT/ });
  t.strictSame(requests.length, 1, 'the token was not sent');

  const plain = await failureOf(t, ask(await env(createServer(json(200, {}))), 'GET /', undefined, 1_000));
  t.equal(plain.code, 'gateway.no-answer', 'a server without TLS');
  const silent = await failureOf(t, ask(await env(createTcpServer(() => undefined)), 'GET /', undefined, 300));
  t.equal(silent.code, 'gateway.no-answer', 'a server that says nothing');

  const missing = await failureOf(t, ask({ ...(await env(serve(ours))), GATEWAY_TLS_CERT: join(dir, 'gone') }));
  t.match(missing, { code: 'gateway.certificate-unusable', message: /gone/ });
});

t.test('a token out of a file or standard input is its first line, and never an argument', async (t) => {
  const bodies: string[] = [];
  const env = await answering(t, (request, response) => {
    request.setEncoding('utf8').on('data', (text: string) => bodies.push(text));
    request.on('end', () => json(201, { devicekey: 'beamer-7', token_code: 'shown' })(request, response));
  });
  const file = join(t.testdir({ token: 'from-the-file\nmore\n' }), 'token');
  for (const [name, input] of [
    [file, ''],
    ['-', 'from-the-file\r\nmore'],
  ] as const) {
    const args = ['device', 'add', '--key', 'beamer-7', '--token-code-file', name];
    const { code, stdout, stderr } = await tunnelGateway(args, env, input);
    t.equal(code, 0, stderr);
    t.match(stdout, /device key: +beamer-7\nMeeting token: +shown\n/);
    t.match(JSON.parse(bodies.pop() ?? ''), { devicekey: 'beamer-7', token_code: 'from-the-file' });
  }
  const made = await tunnelGateway(['device', 'add', '--key', 'beamer-7'], env);
  t.equal(made.code, 0, made.stderr);
  t.match(JSON.parse(bodies.pop() ?? ''), { token_code: /^[0-9a-f]{32}$/ });
  for (const [name, complaint] of [
    [join(file, 'x'), /cannot be read/],
    [`${file}-gone`, /cannot be read/],
    ['-', /no token in standard input/],
  ] as const) {
    const { code, stderr } = await tunnelGateway(['device', 'add', '--key', 'b', '--token-code-file', name], env);
    t.equal(code, 1);
    t.match(stderr, complaint);
  }
  t.strictSame(bodies, [], 'nothing was sent');
});

t.test('what a device or a stranger sent reaches no terminal as it is', async (t) => {
  const entry = {
    at: '2026-11-21T17:00:00.000Z',
    event: 'rejected',
    reason: 'x\u001b]0;evil\u0007',
    from: '\u202eabc',
  };
  const env = await answering(t, json(200, { items: [entry] }));
  const { stdout } = await tunnelGateway(['logs', 'beamer-7'], env);
  t.match(stdout, /^TIME \(UTC\) +EVENT +REASON +DETAILS\n2026-11-21 17:00:00 +rejected +x/);
  t.notMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u202e]/);
});
