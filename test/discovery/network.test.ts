import { hostname } from 'node:os';
import t from 'tap';
import { end, statusOf, untilStatus } from '../device/support.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { announcedDevice, avahi, type Browser, connect, machine, NEEDS_AVAHI, untilAnnounced } from './support.ts';

t.test('a device is found on both of its networks, whatever happens to them', requires(...NEEDS_AVAHI), async (t) => {
  const [device, left, right] = [machine(t), machine(t), machine(t)];
  const service = await announcedDevice(t, device, 'beamer');
  const httpPort = service.settings.ZEROFORCE_HTTP_PORT;
  const tunnelPort = service.settings.ZEROFORCE_TUNNEL_PORT;
  const seenAs = (address: string) =>
    `beamer beamer.local ${address} ${tunnelPort} "model=Beamer 2" "http=${httpPort}" "path=/zeroforce" "txtvers=1"`;

  t.match(await statusOf(service), {
    mdns: { name: 'beamer', renamed: false, interfaces: [], failure: 'mdns.no-interface' },
    faults: [{ code: 'mdns.no-interface' }],
  });

  // No default route, here or later.
  connect([device, 'eth0', '10.71.1.1/24'], [left, 'peer', '10.71.1.2/24']);
  connect([device, 'eth1', '10.71.2.1/24'], [right, 'peer', '10.71.2.2/24']);
  const [avahiLeft, avahiRight] = await Promise.all([avahi(t, left, 'left'), avahi(t, right, 'right')]);
  const types = ['_beamerzf._tcp', '_usbip._tcp'];
  const onLeft = types.map((type) => avahiLeft.browse(type));
  let onRight = types.map((type) => avahiRight.browse(type));
  const untilSeen = (browsers: Browser[], expected: string[]) =>
    until(`${expected}`, () => browsers.every((browser) => String(browser.present()) === String(expected)));
  await untilSeen(onLeft, [seenAs('10.71.1.1')]);
  await untilSeen(onRight, [seenAs('10.71.2.1')]);
  t.match(await statusOf(service), {
    mdns: { failure: null, interfaces: [{ name: 'eth0' }, { name: 'eth1' }] },
    faults: [],
  });
  t.notSame(hostname(), 'beamer', 'the name is that of the device');

  device.ip('addr', 'del', '10.71.1.1/24', 'dev', 'eth0');
  device.ip('addr', 'add', '10.71.1.9/24', 'dev', 'eth0');
  await until('the new address to be known', async () => (await avahiLeft.resolve('beamer.local')) === '10.71.1.9');
  t.equal(await avahiRight.resolve('beamer.local'), '10.71.2.1', 'the other link has its own');

  device.ip('link', 'del', 'eth1');
  await untilStatus(service, ({ mdns }) => mdns?.interfaces.every(({ name }) => name !== 'eth1') === true);
  connect([device, 'eth1', '10.71.2.1/24'], [right, 'peer', '10.71.2.2/24']);
  onRight = types.map((type) => avahiRight.browse(type));
  await untilSeen(onRight, [seenAs('10.71.2.1')]);

  await untilAnnounced(service, 'beamer', ['eth0', 'eth1']);
  const endedAtMs = performance.now();
  t.equal((await end(service, 'SIGTERM')).code, 0);
  await untilSeen([...onLeft, ...onRight], []);
  t.ok(performance.now() - endedAtMs < 10_000, 'by a goodbye: long before anything expires');
});
