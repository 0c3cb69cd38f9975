import { once } from 'node:events';
import t from 'tap';
import { requestControl } from '../../src/control/client.ts';
import type { DeviceStatus } from '../../src/device.ts';
import { startRawProxy } from '../support/raw-proxy.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { type Machine, machine, NEEDS_MACHINE } from './machine.ts';

const KEY = '3316a52eb08837267bf6bd3e2b2e8dc7';
const config = (more: object = {}) => ({
  meeting: { deviceKey: KEY, token: 'feed5ec2e7ab', proxy: { host: '127.0.0.1', port: 9001, tls: false } },
  mdns: { enabled: false },
  pairing: { policy: 'locked' },
  ...more,
});

/** What `tunnel-agent status --json` prints, without the time that a process takes. */
const statusOf = async (device: Machine) =>
  (await requestControl(device.path('/run/zeroforce'), 'GET /status')) as DeviceStatus;
const pageOf = async (device: Machine) => (await device.sh('curl -s http://127.0.0.1:5000/')).stdout;

t.test(
  'a stream that no service takes: status and page name the cause, until it is over',
  requires(...NEEDS_MACHINE, 'curl'),
  async (t) => {
    const device = await machine(t);
    const proxy = await startRawProxy({ mode: 'v1' });
    t.teardown(() => proxy.close());
    await device.expose(proxy.port, 9001);
    await device.configure(config());
    const service = await device.service();
    const agent = await proxy.nextAgent();

    const stream = agent.open(22);
    stream.resume();
    await once(stream, 'finishedByAgent');
    const failing = await statusOf(device);
    t.match(failing.tunnel, { state: 'up', localFailures: [{ port: 22, code: 'target.refused' }] });

    const diagnosis = await until('the cause', async () => (await statusOf(device)).diagnosis);
    t.match(diagnosis, { check: 'sshd.running', over: false, remedy: String, evidence: String, agoMs: Number });
    const page = await pageOf(device);
    t.match(page, 'Remote maintenance does not get through');
    t.match(page, diagnosis.summary);
    const { stdout } = await device.agent(['status']);
    t.match(stdout, `  cause    ${diagnosis.summary}\n`);
    t.match(service.log(), /"level":"warn".*the cause: /);
    t.equal(proxy.connections, 1, 'nothing was dialled for it');

    await device.sshd();
    const again = agent.open(22);
    const [banner] = (await once(again, 'data')) as [Buffer];
    t.match(banner.toString(), /^SSH-2\.0-/);
    const after = await until('the end of it', async () => {
      const status = await statusOf(device);
      return status.diagnosis?.over ? status : null;
    });
    t.match(after, { tunnel: { localFailures: [] }, diagnosis: { check: 'sshd.running' } });
    t.match(await pageOf(device), 'Over now, found ');
  },
);

t.test(
  'a service that runs with the last good configuration knows what is wrong with the present one',
  requires(...NEEDS_MACHINE),
  async (t) => {
    const device = await machine(t);
    await device.configure(config());
    await (await device.service()).stop();
    await device.write('/etc/zeroforce/config.json', '{"tunnel": {"port": 70000}}');
    const service = await device.service();
    const diagnosis = await until('the cause', async () => (await statusOf(device)).diagnosis);
    t.match(diagnosis, { check: 'config.valid', summary: /tunnel\.port = 70000/, remedy: /config\.json/, over: false });
    await service.stop();
    await until('the end', () => service.log().includes('"stopped"'));
    t.notMatch(service.log(), /^[^{\n]/m, 'nothing but the log');
  },
);
