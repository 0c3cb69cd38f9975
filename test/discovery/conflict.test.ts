import t from 'tap';
import { statusOf, untilStatus } from '../device/support.ts';
import { requires } from '../support/requires.ts';
import type { Service } from '../support/service.ts';
import { until } from '../support/until.ts';
import {
  announcedDevice,
  avahi,
  bridge,
  browseOn,
  connect,
  machine,
  NEEDS_AVAHI,
  NEEDS_NETWORK,
  settled,
  untilAnnounced,
} from './support.ts';

t.test('a name that is taken, by a service or by a machine, gets a number', requires(...NEEDS_AVAHI), async (t) => {
  const [device, other] = [machine(t), machine(t)];
  connect([device, 'eth0'], [other, 'peer', '10.72.1.2/24']);
  const neighbour = await avahi(t, other, 'beamer-2');
  await neighbour.publish('beamer', '_usbip._tcp', 3240);
  await settled(other);
  const browser = neighbour.browse('_usbip._tcp');
  device.ip('addr', 'add', '10.72.1.1/24', 'dev', 'eth0');
  const service = await announcedDevice(t, device, 'beamer');

  t.match(await untilAnnounced(service, 'beamer-3', ['eth0']), {
    hostname: 'beamer',
    mdns: { renamed: true, failure: null },
    notices: [{ code: 'identity.missing' }, { code: 'mdns.name-conflict', sentence: /announced as beamer-3/ }],
    faults: [],
  });
  await until('the neighbour to see both', () => browser.present().length === 2);
  t.match(browser.present().sort(), [
    /^beamer beamer-2\.local 10\.72\.1\.2 3240/,
    /^beamer-3 beamer-3\.local 10\.72\.1\.1 /,
  ]);
});

t.test(
  'devices of one name agree, at the start and when their networks are joined',
  requires(...NEEDS_NETWORK),
  async (t) => {
    const [first, second, third, phone] = [machine(t), machine(t), machine(t), machine(t)];
    const left = bridge(
      t,
      'left',
      [first, 'eth0', '10.73.1.1/24'],
      [second, 'eth0', '10.73.1.2/24'],
      [phone, 'eth0', '10.73.1.4/24'],
    );
    const right = bridge(t, 'right', [third, 'eth0', '10.73.1.3/24']);
    const services = await Promise.all([first, second, third].map((each) => announcedDevice(t, each, 'beamer')));
    const [one, two, three] = services as [Service, Service, Service];
    const names = async (...of: Service[]) =>
      (
        await Promise.all(
          of.map((service) => untilStatus(service, ({ mdns }) => mdns?.interfaces[0]?.state === 'announced')),
        )
      )
        .map(({ mdns }) => mdns?.name)
        .sort();

    await until(
      'the two that started together to differ',
      async () => String(await names(one, two)) === 'beamer,beamer-2',
    );
    t.strictSame(await names(three), ['beamer'], 'the third is alone');
    const before = await statusOf(three);

    connect([left, 'trunk'], [right, 'trunk']);
    for (const hub of [left, right]) hub.ip('link', 'set', 'trunk', 'master', hub === left ? 'left' : 'right');
    // Nobody of them notices until somebody asks.
    await until('all three to differ', async () => {
      await browseOn(phone, 1_000);
      return String(await names(...services)) === 'beamer,beamer-2,beamer-3';
    });
    t.strictSame(before.mdns?.interfaces, (await statusOf(three)).mdns?.interfaces, 'no interface has changed');
    const found = await browseOn(phone, 2_000);
    t.strictSame(
      found.map(({ name }) => name),
      ['beamer', 'beamer-2', 'beamer-3'],
    );
    t.strictSame(found.map(({ addresses }) => addresses[0]).sort(), ['10.73.1.1', '10.73.1.2', '10.73.1.3']);
  },
);
