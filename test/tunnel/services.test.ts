import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import t from 'tap';
import { startHangingPort } from '../support/hanging-port.ts';
import { freePort } from '../support/processes.ts';
import { startEcho, startService } from '../support/tcp-services.ts';
import { fastClock, startAgent, startProxy } from '../support/tunnel-bench.ts';

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

for (const mode of ['legacy', 'v1'] as const) {
  t.test(`${mode}: a service that does not run`, async (t) => {
    const port = await freePort();
    const proxy = await startProxy(t, { mode });
    const device = startAgent(t, proxy.port, { services: { gone: port } });
    const stream = (await proxy.nextAgent()).open(port);
    const [how] = (await once(stream, 'finishedByAgent')) as [string];
    t.equal(how, mode === 'v1' ? 'A1' : 'C');
    t.ok(device.logged.lines.some(({ code, remedy }) => code === 'target.refused' && typeof remedy === 'string'));
  });

  t.test(`${mode}: a service that is refused again and again is logged loudly once`, async (t) => {
    const port = await freePort();
    const proxy = await startProxy(t, { mode });
    const device = startAgent(t, proxy.port, { services: { gone: port } });
    const peer = await proxy.nextAgent();
    for (let count = 0; count < 20; count++) await once(peer.open(port), 'finishedByAgent');
    t.equal(device.logged.lines.filter(({ code, level }) => code === 'target.refused' && level === 'warn').length, 1);
  });

  t.test(`${mode}: a service that resets`, async (t) => {
    const service = await startService((socket) => {
      socket.write('last words');
      socket.once('data', () => socket.resetAndDestroy());
    });
    t.teardown(() => service.close());
    const proxy = await startProxy(t, { mode });
    startAgent(t, proxy.port, { services: { service: service.port } });
    const stream = (await proxy.nextAgent()).open(service.port);
    t.equal(String((await once(stream, 'data'))[0]), 'last words');
    stream.write('x');
    const [how] = (await once(stream, 'finishedByAgent')) as [string];
    t.equal(how, mode === 'v1' ? 'R6' : 'C');
  });

  t.test(`${mode}: a service that hangs fails after its deadline, and nothing waits for it meanwhile`, async (t) => {
    const hanging = await startHangingPort();
    const echo = await startEcho();
    t.teardown(() => Promise.all([hanging.close(), echo.close()]));
    const proxy = await startProxy(t, { mode });
    const services = { hanging: hanging.port, echo: echo.port };
    startAgent(t, proxy.port, { services, clock: fastClock(20) });
    const peer = await proxy.nextAgent();
    const stream = peer.open(hanging.port);
    stream.write('kept until the connection stands');
    const failed = once(stream, 'finishedByAgent') as Promise<[string]>;
    const other = peer.open(echo.port);
    other.write('meanwhile');
    t.equal(String((await once(other, 'data'))[0]), 'meanwhile');
    t.equal(stream.endedBy, null);
    t.equal((await failed)[0], mode === 'v1' ? 'A2' : 'C');
  });

  t.test(`${mode}: what a service sends before it ends arrives before the end`, async (t) => {
    const bytes = randomBytes(3_000_000);
    const service = await startService((socket) => void socket.end(bytes));
    t.teardown(() => service.close());
    const proxy = await startProxy(t, { mode });
    startAgent(t, proxy.port, { services: { service: service.port } });
    const stream = (await proxy.nextAgent()).open(service.port);
    const chunks = (await stream.toArray()) as Buffer[];
    t.equal(sha256(Buffer.concat(chunks)), sha256(bytes));
  });

  t.test(`${mode}: what came before a close reaches the service`, async (t) => {
    const service = await startService();
    t.teardown(() => service.close());
    const proxy = await startProxy(t, { mode });
    startAgent(t, proxy.port, { services: { service: service.port } });
    const bytes = randomBytes(3_000_000);
    (await proxy.nextAgent()).open(service.port).end(bytes);
    const chunks = (await (await service.next()).toArray()) as Buffer[];
    t.equal(sha256(Buffer.concat(chunks)), sha256(bytes));
  });

  t.test(`${mode}: large transfers on several streams, both ways at once, arrive unharmed`, async (t) => {
    const echo = await startEcho();
    t.teardown(() => echo.close());
    const proxy = await startProxy(t, { mode });
    startAgent(t, proxy.port, { services: { echo: echo.port } });
    const peer = await proxy.nextAgent();
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        const bytes = randomBytes(12_000_000);
        const stream = peer.open(echo.port);
        stream.write(bytes);
        const hash = createHash('sha256');
        let received = 0;
        for await (const chunk of stream) {
          hash.update(chunk as Buffer);
          received += (chunk as Buffer).length;
          if (received >= bytes.length) break;
        }
        t.equal(hash.digest('hex'), sha256(bytes));
      }),
    );
  });

  t.test(`${mode}: a stream over TLS`, async (t) => {
    const { makeCertificate } = await import('../support/certificates.ts');
    const echo = await startEcho();
    t.teardown(() => echo.close());
    const certificate = makeCertificate(t.testdir(), 'localhost');
    const proxy = await startProxy(t, { mode, tls: certificate });
    startAgent(t, proxy.port, {
      proxy: { host: 'localhost', port: proxy.port, tls: { ca: certificate.path, pin: certificate.pin } },
      services: { echo: echo.port },
    });
    const bytes = randomBytes(5_000_000);
    const stream = (await proxy.nextAgent()).open(echo.port);
    stream.write(bytes);
    const chunks: Buffer[] = [];
    for await (const chunk of stream) {
      chunks.push(chunk as Buffer);
      if (chunks.reduce((sum, { length }) => sum + length, 0) >= bytes.length) break;
    }
    t.equal(sha256(Buffer.concat(chunks)), sha256(bytes));
  });
}

t.test('v1: each direction ends by itself', async (t) => {
  const service = await startService();
  t.teardown(() => service.close());
  const proxy = await startProxy(t, { mode: 'v1' });
  startAgent(t, proxy.port, { services: { service: service.port } });
  const stream = (await proxy.nextAgent()).open(service.port);
  stream.end('question');
  const socket = await service.next();
  t.equal(String((await once(socket, 'data'))[0]), 'question');
  await once(socket, 'end');
  socket.end('answer');
  t.equal(Buffer.concat((await stream.toArray()) as Buffer[]).toString(), 'answer');
  t.equal(stream.endedBy, null, 'no close was needed');
});
