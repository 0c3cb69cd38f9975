import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { freePort } from '../support/processes.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import { requires } from '../support/requires.ts';
import type { Service } from '../support/service.ts';
import { startEcho } from '../support/tcp-services.ts';
import { until } from '../support/until.ts';
import { device, isReady, statusOf, TOKEN, temporaryFolder, untilStatus } from './support.ts';

t.test('a running service takes on a changed file, and open streams go on', requires('netstat'), async (t) => {
  const { service, write, values, proxy, successor, stream, otherEcho } = await setUp(t);

  await t.test('what can change at once does, at SIGHUP', async (t) => {
    write({ ...values, pairing: { timeoutSeconds: 3600, policy: 'locked' }, logLevel: 'debug' });
    process.kill(service.pid, 'SIGHUP');
    await untilStatus(service, ({ pairing }) => pairing.policy === 'locked');
    t.equal(await isReady(service), false);
    t.equal(await echoed(stream), 'still here');
  });

  await t.test('the allow-list changes under the session', async (t) => {
    const refused = await proxy.openPublicPort(otherEcho.port);
    t.equal(await answerOf(refused.port), null);
    write({ ...values, services: { ...values.services, other: otherEcho.port } });
    process.kill(service.pid, 'SIGHUP');
    await until('the other service to be reached', async () => (await answerOf(refused.port)) === 'still here');
    t.equal(await echoed(stream), 'still here');
    t.equal((await statusOf(service)).tunnel?.sessions, 1);
  });

  await t.test('a broken file changes nothing, and the status says what is wrong with it', async (t) => {
    write('{ "pairing": { "timeoutSeconds": "soon" } }');
    const { notices, pairing } = await untilStatus(service, (status) => status.notices.some(isRefusal));
    t.match(notices.find(isRefusal), { sentence: /pairing\.timeoutSeconds = "soon"; allowed: a number/ });
    t.equal(pairing.policy, 'open', 'the last good file is in force');
    t.equal(await echoed(stream), 'still here');
  });

  await t.test('a file that was removed is no decision to forget the identity', async (t) => {
    rmSync(join(service.settings.ZEROFORCE_RUN_DIR ?? '', '..', 'config.json'));
    process.kill(service.pid, 'SIGHUP');
    const { tunnel } = await untilStatus(service, ({ notices }) =>
      notices.some((notice) => isRefusal(notice) && notice.sentence.includes('a file that exists')),
    );
    t.equal(tunnel?.state, 'up');
  });

  await t.test('another proxy waits until no stream is open, and needs no second request', async (t) => {
    const { proxy: current, ...identity } = values.meeting;
    write({
      ...values,
      meeting: { ...identity, proxy: { ...current, port: successor.port } },
      pairing: { keyOptions: 'restrict' },
    });
    process.kill(service.pid, 'SIGHUP');
    const { notices, tunnel } = await untilStatus(service, (status) => status.notices.length === 2);
    t.match(notices, [
      { code: 'config.not-yet', sentence: /^meeting\.proxy\.port: / },
      { code: 'config.not-yet', sentence: /^pairing\.keyOptions: .* restart/ },
    ]);
    t.equal(tunnel?.proxy.port, proxy.port);
    t.equal(await echoed(stream), 'still here');
    stream.destroy();
    const agent = await successor.nextAgent();
    t.equal(JSON.parse(agent.hello).token, TOKEN);
    await untilStatus(service, ({ tunnel }) => tunnel?.state === 'up' && tunnel.proxy.port === successor.port);
  });
});

t.test('SIGHUP is harmless before the configuration was read', requires('netstat'), async (t) => {
  const folder = temporaryFolder(t);
  const early = join(folder, 'early.cjs');
  // The first thing that a service does once it is loaded is to set its umask.
  writeFileSync(
    early,
    `const set = process.umask;
     process.umask = (mask) => { process.kill(process.pid, 'SIGHUP'); return set(mask); };`,
  );
  const service = await device(t, { NODE_OPTIONS: `--require=${early}` }, { folder });
  t.equal(await service.stop(), 0);
});

t.test('SIGHUP is harmless while the service starts, and to the monitor alone', requires('netstat'), async (t) => {
  const service = await device(t, { ZEROFORCE_MONITOR_INTERVAL: '60' });
  for (let count = 0; count < 20; count += 1) process.kill(service.pid, 'SIGHUP');
  await until('it to be read', () => service.log().includes('the configuration was read anew'));
  t.equal(await service.stop(), 0);
});

const isRefusal = ({ code }: { code: string }) => code === 'config.refused';

/** Sends something and gives what comes back. */
async function echoed(stream: Socket): Promise<string> {
  const back = once(stream, 'data') as Promise<[Buffer]>;
  stream.write('still here');
  return (await back)[0].toString();
}

/** What a new connection gets back; null where it is closed or reset instead. */
async function answerOf(port: number): Promise<string | null> {
  const client = connect(port, '127.0.0.1');
  try {
    return await Promise.race([echoed(client), once(client, 'close').then(() => null)]);
  } catch {
    return null;
  } finally {
    client.destroy();
  }
}

/** A service with all of its settings in a file, a tunnel to a proxy, and a stream open in it. */
async function setUp(t: Test) {
  const folder = temporaryFolder(t);
  const proxy = await startRawProxy({ mode: 'v1' });
  const successor = await startRawProxy({ mode: 'v1' });
  const echo = await startEcho();
  const otherEcho = await startEcho();
  t.teardown(() => Promise.all([proxy.close(), successor.close(), echo.close(), otherEcho.close()]));

  const values = {
    logLevel: 'info',
    meeting: { deviceKey: 'k', token: TOKEN, proxy: { host: '127.0.0.1', port: proxy.port } },
    services: { echo: echo.port },
    http: { port: await freePort() },
  };
  const file = join(folder, 'config.json');
  const write = (content: object | string) =>
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content), { mode: 0o600 });
  write(values);
  const service: Service = await device(t, {}, { folder });
  await proxy.nextAgent();
  const { port } = await proxy.openPublicPort(echo.port);
  const stream = connect(port, '127.0.0.1');
  t.teardown(() => void stream.destroy());
  t.equal(await echoed(stream), 'still here');
  return { service, write, values, proxy, successor, stream, otherEcho };
}
