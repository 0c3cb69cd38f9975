import { once } from 'node:events';
import type { Socket } from 'node:net';
import t from 'tap';
import { systemClock } from '../../src/support/clock.ts';
import { freePort } from '../support/processes.ts';
import { startEcho, startService } from '../support/tcp-services.ts';
import { startAgent, startProxy } from '../support/tunnel-bench.ts';
import { until } from '../support/until.ts';

for (const mode of ['v1', 'legacy'] as const) {
  t.test(`${mode}: what keeps streams from their services stands in the status until one is answered`, async (t) => {
    const refused = await freePort();
    const services: Record<string, number> = { refused };
    for (const [name, serve] of [
      ['closes', (socket: Socket) => socket.end()],
      ['resets', (socket: Socket) => socket.once('data', () => socket.resetAndDestroy())],
      ['declines', (socket: Socket) => socket.end('Not allowed at this time\r\n')],
      ['limits', (socket: Socket) => socket.end('Exceeded MaxStartups\r\n')],
      ['answers', (socket: Socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n')],
      ['waits', (socket: Socket) => void socket.resume().once('end', () => socket.end())],
    ] as const) {
      const service = await startService(serve);
      t.teardown(() => service.close());
      services[name] = service.port;
    }
    const port = (name: string) => services[name] as number;
    const proxy = await startProxy(t, { mode });
    const { agent } = startAgent(t, proxy.port, { services });
    const peer = await proxy.nextAgent();
    const failures = () => agent.status().localFailures;
    const failed = async (name: string, code: string, sentence: RegExp, greeting = 'SSH-2.0-x\r\n') => {
      const before = failures().length;
      const stream = peer.open(port(name));
      stream.write(greeting);
      stream.resume();
      await until(`${name} to fail`, () => failures().length === before + 1);
      t.match(failures()[0], { port: port(name), code, sentence, remedy: /./, agoMs: Number }, name);
    };
    await failed('refused', 'target.refused', /does not accept connections: ECONNREFUSED$/);
    await failed('closes', 'target.closed', /^127\.0\.0\.1:\d+ closed the connection without a word$/);
    await failed('resets', 'target.closed', /reset the connection without a word$/);
    await failed('declines', 'target.closed', /refused the connection: Not allowed at this time$/);
    await failed('limits', 'target.closed', /refused the connection: Exceeded MaxStartups$/);

    const known = failures().map(({ port }) => port);
    for (const name of ['answers', 'waits']) {
      const stream = peer.open(port(name));
      stream.resume();
      if (name === 'waits') stream.end();
      await once(stream, 'end');
    }
    t.strictSame(
      failures().map(({ port }) => port),
      known,
      'one that answers, or was not asked anything, did not fail',
    );

    for (let round = 0; round < 3; round += 1) peer.open(1 + round).resume();
    await until('a port that is no service', () => failures().length === known.length + 1);
    t.match(failures()[0], { port: null, code: 'target.not-allowed' });

    const late = await startEcho(refused);
    t.teardown(() => late.close());
    const stream = peer.open(refused);
    stream.write('x');
    await once(stream, 'data');
    t.notOk(
      failures().some(({ port }) => port === refused),
      'it answers now',
    );
    t.equal(failures().length, known.length, 'which says nothing of the others');
    stream.destroy();
  });
}

t.test('a service that closes an idle connection after a while has not failed', async (t) => {
  const service = await startService();
  t.teardown(() => service.close());
  let jumpMs = 0;
  const clock = { nowMs: () => systemClock.nowMs() + jumpMs, after: systemClock.after };
  const proxy = await startProxy(t, { mode: 'v1' });
  const { agent } = startAgent(t, proxy.port, { services: { web: service.port }, clock });
  const stream = (await proxy.nextAgent()).open(service.port);
  stream.resume();
  const socket = await service.next();
  await until('the stream to be opened', () => stream.opened === 0);
  jumpMs += 10_000;
  socket.end();
  await once(stream, 'end');
  t.strictSame(agent.status().localFailures, []);
});
