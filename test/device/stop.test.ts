import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startHangingPort } from '../support/hanging-port.ts';
import { fakeNetstat } from '../support/netstat-programs.ts';
import { descendants, freePort } from '../support/processes.ts';
import { type RawProxyOptions, startRawProxy } from '../support/raw-proxy.ts';
import type { Service } from '../support/service.ts';
import { startEcho, startService as startLocalService } from '../support/tcp-services.ts';
import { until } from '../support/until.ts';
import { device, end, meeting, openTunnel, socketOf, temporaryFolder, untilStatus } from './support.ts';

/** Every part within its own bound, as docs/architecture.md promises; a Pi has more time, an init system gives 90 s. */
const STOP_MS = 6_000;

const states: Record<string, (t: Test) => Promise<Service>> = {
  async 'pairing alone'(t) {
    return device(t);
  },
  async 'connecting to a black hole'(t) {
    const hole = await startHangingPort();
    t.teardown(() => hole.close());
    const service = await device(t, meeting(hole));
    await untilStatus(service, ({ tunnel }) => tunnel?.state === 'connecting');
    return service;
  },
  async 'waiting for an answer to the handshake'(t) {
    const proxy = await startProxy(t, { mode: 'v1', reply: () => {} });
    const service = await device(t, meeting(proxy));
    await until('the connection', () => proxy.connections === 1);
    return service;
  },
  async 'a session with open streams, one of them stalled'(t) {
    const proxy = await startProxy(t, { mode: 'v1' });
    const echo = await startEcho();
    t.teardown(() => echo.close());
    const deaf = await startLocalService((socket) => void socket.pause());
    t.teardown(() => deaf.close());
    const service = await device(t, { ...meeting(proxy), ZEROFORCE_SERVICES: `echo=${echo.port},deaf=${deaf.port}` });
    const agent = await proxy.nextAgent();
    const stream = agent.open(echo.port);
    stream.write('hello');
    await once(stream, 'data');
    agent.open(deaf.port).write(Buffer.alloc(4 * 1024 * 1024));
    await deaf.next();
    return service;
  },
  async 'a legacy session with an open stream'(t) {
    const proxy = await startProxy(t, { mode: 'legacy' });
    const echo = await startEcho();
    t.teardown(() => echo.close());
    const service = await device(t, { ...meeting(proxy), ZEROFORCE_SERVICES: `echo=${echo.port}` });
    const stream = (await proxy.nextAgent()).open(echo.port);
    stream.write('hello');
    await once(stream, 'data');
    return service;
  },
  async 'waiting to reconnect'(t) {
    const minute = { ZEROFORCE_RECONNECT_MIN: '60', ZEROFORCE_RECONNECT_MAX: '60' };
    const service = await device(t, { ...meeting({ port: await freePort() }), ...minute });
    await untilStatus(service, ({ tunnel }) => tunnel?.state === 'waiting');
    return service;
  },
  async 'netstat hanging'(t) {
    const ZEROFORCE_NETSTAT = fakeNetstat(temporaryFolder(t), 'sleep 1000');
    const service = await device(t, { ZEROFORCE_NETSTAT });
    await until('netstat to run', () => descendants(service.pid).length > 0);
    return service;
  },
  async 'a paired tunnel, a half-sent request, and an idle connection to HTTP'(t) {
    const service = await device(t);
    await openTunnel(t, service);
    await untilStatus(service, ({ pairing }) => pairing.tunnel === 'active');
    for (const text of ['', 'POST /zeroforce/setkey HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nkey=']) {
      const socket = connect(Number(service.settings.ZEROFORCE_HTTP_PORT), '127.0.0.1').on('error', () => {});
      t.teardown(() => void socket.destroy());
      await once(socket, 'connect');
      socket.write(text);
    }
    return service;
  },
};

for (const [state, reach] of Object.entries(states)) {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    t.test(`${signal} ends it cleanly: ${state}`, async (t) => {
      const service = await reach(t);
      const below = descendants(service.pid);
      const { code, tookMs } = await end(service, signal);
      t.equal(code, 0, service.log());
      t.ok(tookMs < STOP_MS, `in ${Math.round(tookMs)} ms`);
      t.match(service.log(), /"msg":"stopped"/);
      t.notMatch(service.log(), /did not stop cleanly/);
      t.notOk(existsSync(socketOf(service)), 'the control socket is gone');
      await until(`the end of its ${below.length} children`, () => !below.some(isAlive));
    });
  }
}

t.test('a stop leaves the flag as it is: the paired tunnel outlives a restart', async (t) => {
  const service = await device(t);
  await openTunnel(t, service);
  await untilStatus(service, ({ pairing }) => pairing.tunnel === 'active');
  t.equal((await end(service, 'SIGTERM')).code, 0);
  t.ok(existsSync(join(service.settings.ZEROFORCE_RUN_DIR ?? '', 'tunnel_active')));
});

/** Not where the process has ended, and only waits for init to take note. */
function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

async function startProxy(t: Test, options: RawProxyOptions) {
  const proxy = await startRawProxy(options);
  t.teardown(() => proxy.close());
  return proxy;
}
