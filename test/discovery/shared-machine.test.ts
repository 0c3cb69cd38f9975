import { spawn } from 'node:child_process';
import t from 'tap';
import { statusOf, untilStatus } from '../device/support.ts';
import { endChild } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import {
  announcedDevice,
  avahi,
  browseOn,
  connect,
  machine,
  NEEDS_AVAHI,
  NEEDS_NETWORK,
  runOn,
  untilAnnounced,
} from './support.ts';

t.test(
  'ports that somebody else has are said, and announced once they are free',
  requires(...NEEDS_NETWORK),
  async (t) => {
    const [device, home] = [machine(t), machine(t)];
    connect([device, 'eth0', '10.76.1.1/24'], [home, 'eth0', '10.76.1.2/24']);
    const hold = `require('dgram').createSocket('udp4').bind(5353); require('net').createServer().listen(5001);`;
    const holder = spawn('ip', ['netns', 'exec', device.namespace, process.execPath, '-e', hold], { stdio: 'inherit' });
    t.teardown(() => endChild(holder, 'SIGKILL'));
    await until('the ports to be held', async () =>
      /:1389 [\s\S]*:14E9 /.test(
        (await runOn(device.namespace, 'sh', '-c', 'cat /proc/net/tcp6 /proc/net/udp')).stdout,
      ),
    );
    const service = await announcedDevice(t, device, 'beamer', { ZEROFORCE_HTTP_PORT: '5001' });
    const { mdns, faults } = await untilAnnounced(service, 'beamer', ['eth0']);
    t.equal(mdns?.failure, 'mdns.socket');
    t.match(
      faults.find(({ code }) => code === 'mdns.socket'),
      { sentence: /UDP port 5353 on eth0 \(IPv4\): another program keeps it to itself/ },
    );
    t.match(await browseOn(home, 1_500), [{ name: 'beamer', httpPort: null }], 'IPv6 is not held, and HTTP is nowhere');

    await endChild(holder, 'SIGKILL');
    await untilStatus(service, (status) => status.mdns?.failure === null && status.http !== null);
    await until('the port to be announced', async () => (await browseOn(home, 1_000))[0]?.httpPort === 5001);
    t.strictSame((await statusOf(service)).faults, []);
  },
);

t.test('an avahi on the same machine, by the same name, is no rival', requires(...NEEDS_AVAHI), async (t) => {
  const [device, home] = [machine(t), machine(t)];
  connect([device, 'eth0', '10.77.1.1/24'], [home, 'eth0', '10.77.1.2/24']);
  const local = await avahi(t, device, 'beamer');
  await local.publish('printer', '_ipp._tcp', 631);
  const service = await announcedDevice(t, device, 'beamer');
  await untilAnnounced(service, 'beamer', ['eth0']);
  const remote = await avahi(t, home, 'home');
  const printers = remote.browse('_ipp._tcp');
  const devices = remote.browse('_usbip._tcp');
  await until('both to be seen', () => printers.present().length === 1 && devices.present().length === 1);
  t.match(printers.present(), [/^printer beamer\.local 10\.77\.1\.1 631/]);
  t.match(devices.present(), [/^beamer beamer\.local 10\.77\.1\.1 /]);
  t.equal(await local.resolve('beamer.local'), '10.77.1.1');
  t.match(await statusOf(service), { mdns: { name: 'beamer', renamed: false } });
});
