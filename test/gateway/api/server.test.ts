import { EventEmitter, once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { ApiServer, type ApiServerOptions } from '../../../src/gateway/api/server.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { temporaryFolder } from '../../device/support.ts';
import { makeCertificate } from '../../support/certificates.ts';
import { requires } from '../../support/requires.ts';
import { listen } from '../../support/tcp-services.ts';
import { testLog } from '../../support/test-log.ts';
import { until } from '../../support/until.ts';
import { startApi } from './support.ts';

/** A certificate that a test may exchange. */
class TestCertificate extends EventEmitter {
  current: { cert: Buffer; key: Buffer };

  constructor(current: { cert: Buffer; key: Buffer }) {
    super();
    this.current = current;
  }

  onChange(listener: () => void): () => void {
    this.on('change', listener);
    return () => this.off('change', listener);
  }
}

async function server(t: Test, options: Partial<ApiServerOptions> = {}): Promise<ApiServer> {
  const usual = { handler: () => undefined, host: '127.0.0.1', port: 0, certificate: null };
  const made = new ApiServer({ ...usual, clock: systemClock, log: testLog().log, ...options });
  t.teardown(() => made.stop());
  return made;
}

t.test('a port that another program has, and an address that is not ours, are named', async (t) => {
  const other = createServer();
  const port = await listen(other);
  t.teardown(() => other.close());
  await t.rejects((await server(t, { port })).start(), {
    code: 'gateway.cannot-listen',
    message: `REST cannot listen at 127.0.0.1:${port}: another program holds the port`,
  });
  await t.rejects((await server(t, { host: '192.0.2.1' })).start(), {
    code: 'gateway.cannot-listen',
    message: /192\.0\.2\.1:0: this is not an address of this machine/,
  });
  const stopped = await server(t);
  await stopped.stop();
  t.equal(stopped.address, null, 'a stop before the start does nothing');
});

t.test(
  'with a certificate it speaks TLS; a new one counts at once and drops nobody',
  { ...requires('openssl') },
  async (t) => {
    const folder = temporaryFolder(t);
    const [old, fresh] = [makeCertificate(folder, 'old.example'), makeCertificate(folder, 'fresh.example')];
    const certificate = new TestCertificate(old);
    const api = await startApi(t, { certificate });
    t.equal((await api.call('GET /api')).status, 200);

    const kept = await dialTls(t, api.port);
    t.equal(kept.getPeerCertificate().subject.CN, 'old.example');
    t.match(await ask(kept), /200 OK/);
    certificate.current = fresh;
    certificate.emit('change');
    t.equal((await dialTls(t, api.port)).getPeerCertificate().subject.CN, 'fresh.example');
    t.match(await ask(kept), /200 OK/, 'the old connection goes on');

    const plain = connect(api.port, '127.0.0.1');
    plain.on('error', () => undefined);
    plain.write('GET /api HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(plain, 'close');
    t.equal((await api.call('GET /api')).status, 200, 'somebody without TLS does no harm');
    await api.server.stop();
    t.equal(certificate.listenerCount('change'), 0, 'nothing is left');
  },
);

t.test('a certificate that does not fit its key is named', { ...requires('openssl') }, async (t) => {
  const folder = temporaryFolder(t);
  const [one, two] = [makeCertificate(folder, 'one.example'), makeCertificate(folder, 'two.example')];
  const certificate = new TestCertificate({ cert: one.cert, key: two.key });
  await t.rejects((await server(t, { certificate })).start(), { code: 'gateway.certificate-unusable' });
});

t.test('several requests come over one connection', async (t) => {
  const api = await startApi(t);
  const socket = connect(api.port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  t.match(await ask(socket), /200 OK/);
  t.match(await ask(socket), /200 OK/);
});

t.test('a stop lets the answer under way finish, takes nobody else, and is bounded', async (t) => {
  const begun = new EventEmitter();
  let finish: () => void = () => undefined;
  const made = await server(t, {
    handler: (_req, res) => {
      finish = () => res.end('done');
      begun.emit('begun');
    },
  });
  await made.start();
  const port = made.address?.port ?? 0;
  const idle = connect(port, '127.0.0.1');
  await once(idle, 'connect');
  const socket = connect(port, '127.0.0.1');
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(begun, 'begun');
  made.stopAccepting();
  const late = connect(port, '127.0.0.1');
  const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException];
  t.equal(error.code, 'ECONNREFUSED');
  setTimeout(() => finish(), 50);
  const [text] = (await once(socket, 'data')) as [Buffer];
  t.match(String(text), /done/);
  socket.destroy();
  await made.stop();

  const hanging = await server(t);
  await hanging.start();
  const stuck = connect(hanging.address?.port ?? 0, '127.0.0.1');
  stuck.on('error', () => undefined);
  stuck.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await once(stuck, 'connect');
  const from = performance.now();
  await Promise.all([hanging.stop(), hanging.stop()]);
  t.ok(performance.now() - from < 3_000, 'a call that never ends is cut');
});

t.test('slow senders are cut off, and do not keep others out', async (t) => {
  const api = await startApi(t);
  const slow = await Promise.all(
    [...Array(50)].map(async () => {
      const socket = connect(api.port, '127.0.0.1');
      socket.on('error', () => undefined);
      await once(socket, 'connect');
      socket.write('GET /api HTTP/1.1\r\nHost: ');
      return socket;
    }),
  );
  t.teardown(() => slow.forEach((socket) => void socket.destroy()));
  t.equal((await api.call('GET /api')).status, 200);
  const from = performance.now();
  await Promise.all(slow.map((socket) => once(socket.resume(), 'close')));
  t.ok(performance.now() - from < 20_000, 'within twenty seconds');
});

t.test('headers without end are refused', async (t) => {
  const api = await startApi(t);
  const socket = connect(api.port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(`GET /api HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(100_000)}`);
  let text = '';
  socket.on('data', (chunk) => {
    text += String(chunk);
  });
  await once(socket, 'close');
  t.match(text, /^HTTP\/1\.1 431 /);
});

t.test('requests that are sent far faster than they are answered end their connection, and hold nothing', async (t) => {
  const asked = { count: 0 };
  const answers: (() => void)[] = [];
  const made = await server(t, {
    handler: (_request, response) => {
      asked.count += 1;
      answers.push(() => void response.end('done'));
    },
  });
  await made.start();
  const flood = connect(made.address?.port ?? 0, '127.0.0.1');
  flood.on('error', () => undefined);
  flood.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(20_000));
  await new Promise((resolve) => void flood.resume().once('close', resolve)); // often by a reset
  t.ok(asked.count <= 16, `of 20,000 requests ${asked.count} were taken in`);

  const patient = connect(made.address?.port ?? 0, '127.0.0.1');
  t.teardown(() => patient.destroy());
  for (let round = 0; round < 50; round += 1) {
    answers.length = 0;
    patient.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await until('the request', () => answers.length === 1);
    answers[0]?.();
    const [text] = (await once(patient, 'data')) as [Buffer];
    t.match(String(text), /200 OK/);
  }
});

async function dialTls(t: Test, port: number): Promise<TLSSocket> {
  const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
  t.teardown(() => socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

/** One request over a connection that is kept. */
async function ask(socket: Socket): Promise<string> {
  socket.write('GET /api HTTP/1.1\r\nHost: x\r\n\r\n');
  const [text] = (await once(socket, 'data')) as [Buffer];
  return String(text);
}
