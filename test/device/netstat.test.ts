import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { fakeNetstat } from '../support/netstat-programs.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import { findProgram, requires } from '../support/requires.ts';
import type { Service } from '../support/service.ts';
import { until } from '../support/until.ts';
import { CLOSED, device, isReady, meeting, openTunnel, setKey, temporaryFolder, untilStatus } from './support.ts';

const needs = requires('netstat');
const REAL = findProgram('netstat') ?? 'netstat';

const troubles: [string, string, (path: string) => Promise<void>][] = [
  ['missing', 'monitor.netstat-missing', (path) => rm(path)],
  ['failing', 'monitor.netstat-failed', (path) => replace(path, 'echo "no permission" >&2; exit 1')],
  ['hanging', 'monitor.netstat-timeout', (path) => replace(path, 'exec sleep 1000')],
  ['printing nonsense', 'monitor.netstat-unreadable', (path) => replace(path, 'echo "Segmentation fault"')],
  ['printing nothing', 'monitor.netstat-unreadable', (path) => replace(path, 'exit 0')],
];

for (const [what, code, breakIt] of troubles) {
  t.test(`netstat ${what}: pairing closes, the rest goes on, and it recovers`, needs, async (t) => {
    const { service, netstat } = await withNetstat(t);
    await until('pairing to open', () => isReady(service));

    await breakIt(netstat);
    const { faults, tunnel } = await untilStatus(service, ({ faults }) => faults.length > 0);
    t.match(faults, [{ code }]);
    t.equal(faults.length, 1);
    t.equal(await isReady(service), false);
    t.strictSame(await setKey(service, 'whatever'), CLOSED);
    t.equal(tunnel?.state, 'up');
    t.equal(await service.get('/healthz'), '{"ok":true}');

    await restore(netstat);
    await until('pairing to open again', () => isReady(service));
    await untilStatus(service, ({ faults }) => faults.length === 0);
  });

  t.test(`netstat ${what} from the start: the service is ready, with pairing closed`, needs, async (t) => {
    const folder = temporaryFolder(t);
    const netstat = fakeNetstat(folder, '');
    await breakIt(netstat);
    const service = await device(t, { ZEROFORCE_NETSTAT: netstat });
    t.equal(await isReady(service), false);
    t.strictSame(await setKey(service, 'whatever'), CLOSED);
    await restore(netstat);
    await until('pairing to open', () => isReady(service));
  });
}

t.test('netstat failing while a tunnel stands changes nothing that is known: the flag stays', needs, async (t) => {
  const { service, netstat } = await withNetstat(t);
  const tunnel = await openTunnel(t, service);
  await untilStatus(service, ({ pairing }) => pairing.tunnel === 'active');
  await replace(netstat, 'exit 1');
  await untilStatus(service, ({ faults }) => faults.length > 0);
  await tunnel.close();
  t.match(await service.get('/zeroforce/readytopair'), 'false');
  await restore(netstat);
  await untilStatus(service, ({ pairing }) => pairing.tunnel === 'none');
});

t.test('a fault that lasts is told once', needs, async (t) => {
  const { service, netstat } = await withNetstat(t);
  await replace(netstat, 'echo x >> "$0.runs"; exit 1');
  await untilStatus(service, ({ faults }) => faults.length > 0);
  await rm(`${netstat}.runs`, { force: true });
  await until('ten polls', async () => (await lines(`${netstat}.runs`)) >= 10);
  t.equal(service.log().split('monitor.netstat-failed').length - 1, 1);
});

/** A service with its tunnel up, whose netstat is a script that runs the real one until it is replaced. */
async function withNetstat(t: Test): Promise<{ service: Service; netstat: string }> {
  const proxy = await startRawProxy({ mode: 'v1' });
  t.teardown(() => proxy.close());
  const netstat = fakeNetstat(temporaryFolder(t), `exec ${REAL} "$@"`);
  const service = await device(t, { ...meeting(proxy), ZEROFORCE_NETSTAT: netstat });
  await untilStatus(service, ({ tunnel }) => tunnel?.state === 'up');
  return { service, netstat };
}

/** In one step, so that no poll meets half a script, or one that is being written ("text file busy"). */
async function replace(path: string, script: string): Promise<void> {
  await writeFile(`${path}.new`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  await rename(`${path}.new`, path);
}

const restore = (path: string) => replace(path, `exec ${REAL} "$@"`);

async function lines(path: string): Promise<number> {
  return (await readFile(path, 'utf8').catch(() => '')).split('\n').length - 1;
}
