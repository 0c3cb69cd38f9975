import { once } from 'node:events';
import { createServer } from 'node:net';
import t, { type Test } from 'tap';
import { run } from '../support/processes.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import { requires } from '../support/requires.ts';
import { type Service, tunnelAgent } from '../support/service.ts';
import { until } from '../support/until.ts';
import { device, meeting, statusOf, untilStatus } from './support.ts';

t.test(
  'a port that another program holds ends nothing: the tunnel comes up, and HTTP when the port is free',
  async (t) => {
    const occupant = createServer().listen(0, '127.0.0.1');
    await once(occupant, 'listening');
    t.teardown(() => void occupant.close());
    const { port } = occupant.address() as { port: number };
    const proxy = await startRawProxy({ mode: 'v1' });
    t.teardown(() => proxy.close());
    const service = await device(t, { ...meeting(proxy), ZEROFORCE_HTTP_PORT: String(port) });

    const status = await untilStatus(service, ({ tunnel }) => tunnel?.state === 'up');
    t.equal(status.http, null);
    t.match(status.faults, [
      { code: 'http.port-in-use', sentence: `port ${port} on 127.0.0.1`, remedy: 'ZEROFORCE_HTTP_PORT' },
    ]);
    const shown = await tunnelAgent(['status'], service.settings);
    t.equal(shown.code, 0, 'a question that was answered is no failure');
    t.match(shown.stdout, /^ {2}http {5}not listening$/m);
    t.match(shown.stdout, /^ +http\.port-in-use: Find the program/m);

    occupant.close();
    await until('HTTP to answer', async () => (await service.get('/healthz')) === '{"ok":true}');
    t.strictSame((await statusOf(service)).faults, []);
    t.equal(proxy.connections, 1, 'the tunnel was not touched');
  },
);

t.test('a port that this user may not have is named so', requires('root', 'namespaces', 'ip', 'setpriv'), async (t) => {
  const service = await inNamespace(
    t,
    { ZEROFORCE_HTTP_HOST: '127.0.0.1', ZEROFORCE_HTTP_PORT: '80' },
    'ip link set lo up; echo 1024 > /proc/sys/net/ipv4/ip_unprivileged_port_start',
    ['setpriv', '--bounding-set=-net_bind_service', '--inh-caps=-net_bind_service'],
  );
  t.match(await statusOf(service), { http: null, faults: [{ code: 'http.not-permitted', sentence: 'port 80' }] });
});

t.test('an address that this machine has not is named so', async (t) => {
  const service = await device(t, { ZEROFORCE_HTTP_HOST: '192.0.2.1' });
  t.match(await statusOf(service), {
    http: null,
    faults: [{ code: 'http.address-unavailable', sentence: '192.0.2.1' }],
  });
});

t.test('by default both IPv4 and IPv6 are served', requires('root', 'namespaces', 'ip', 'nsenter'), async (t) => {
  const service = await inNamespace(t, {}, 'ip link set lo up');
  t.strictSame((await statusOf(service)).http, { host: '::', port: httpPort(service) });
  t.equal(await inside(service, '127.0.0.1'), '200 {"ok":true}');
  t.equal(await inside(service, '[::1]'), '200 {"ok":true}');
});

t.test(
  'where there is no IPv6, the default serves IPv4',
  requires('root', 'namespaces', 'ip', 'nsenter'),
  async (t) => {
    const service = await inNamespace(
      t,
      {},
      'ip link set lo up; for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $f; done',
    );
    t.equal(await inside(service, '127.0.0.1'), '200 {"ok":true}');
    t.strictSame((await statusOf(service)).faults, []);
  },
);

t.test('who has port 5000 instead of pairing is said', requires('root', 'namespaces', 'ip'), async (t) => {
  const listen = `${process.execPath} -e 'require("net").createServer().listen(5000)'`;
  const taken = `ip link set lo up; ${listen} & while ! grep -q :1388 /proc/net/tcp6; do sleep 0.1; done`;
  const service = await inNamespace(t, { ZEROFORCE_HTTP_PORT: '5001' }, taken);
  const { http, notices } = await statusOf(service);
  t.equal(http?.port, 5001);
  t.match(
    notices.filter(({ code }) => code === 'http.elsewhere'),
    [{ sentence: 'pairing is on port 5001, and another program of this machine has port 5000' }],
  );
  t.match(service.log(), /"code":"http\.elsewhere"/);

  const free = await inNamespace(t, { ZEROFORCE_HTTP_PORT: '5001' }, 'ip link set lo up');
  t.notOk((await statusOf(free)).notices.some(({ code }) => code === 'http.elsewhere'));
});

const httpPort = ({ settings }: Service) => Number(settings.ZEROFORCE_HTTP_PORT);

/** A service in a network of its own, made by `setup`; with HTTP on its default address. */
async function inNamespace(
  t: Test,
  settings: Record<string, string>,
  setup: string,
  become: readonly string[] = [],
): Promise<Service> {
  const script = `${setup}\nexec "$@"`;
  const wrapper = ['unshare', '-n', 'sh', '-ec', script, 'sh', ...become];
  return device(t, { ZEROFORCE_HTTP_HOST: '::', ...settings }, { wrapper });
}

/** `GET /healthz` at this host, asked in the network of the service. */
async function inside(service: Service, host: string): Promise<string> {
  const ask = `fetch(process.argv[1]).then(async (r) => console.log(r.status, await r.text()))`;
  const url = `http://${host}:${httpPort(service)}/healthz`;
  const { stdout, stderr } = await run('nsenter', ['-t', String(service.pid), '-n', process.execPath, '-e', ask, url]);
  return stdout.trim() || stderr;
}
