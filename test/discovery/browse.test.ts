import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import t from 'tap';
import { end, statusOf } from '../device/support.ts';
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
  untilAnnounced,
} from './support.ts';

t.test('devices are found that avahi announces, and ours, on every link', requires(...NEEDS_AVAHI), async (t) => {
  const [home, device, other] = [machine(t), machine(t), machine(t)];
  connect([home, 'left', '10.74.1.1/24'], [device, 'eth0', '10.74.1.2/24']);
  connect([home, 'right', '10.74.2.1/24'], [other, 'eth0', '10.74.2.2/24']);
  const service = await announcedDevice(t, device, 'beamer');
  const tunnelPort = Number(service.settings.ZEROFORCE_TUNNEL_PORT);
  const neighbour = await avahi(t, other, 'box');
  await neighbour.publish(
    'Küche 2',
    '_beamerzf._tcp',
    8007,
    'txtvers=1',
    'http=5001',
    'path=/zeroforce',
    'model=RTSP-Recorder',
  );
  await untilAnnounced(service, 'beamer', ['eth0']);

  const [kitchen, beamer, ...others] = await browseOn(home, 2_500);
  t.strictSame(others, []);
  t.match(kitchen, {
    name: 'Küche 2',
    host: 'box.local',
    tunnelPort: 8007,
    httpPort: 5001,
    path: '/zeroforce',
    model: 'RTSP-Recorder',
    types: ['_beamerzf._tcp'],
  });
  t.equal(kitchen?.addresses[0], '10.74.2.2');
  t.match(beamer, {
    name: 'beamer',
    host: 'beamer.local',
    tunnelPort,
    httpPort: Number(service.settings.ZEROFORCE_HTTP_PORT),
    path: '/zeroforce',
    model: 'Beamer 2',
    types: ['_beamerzf._tcp', '_usbip._tcp'],
  });
  t.equal(beamer?.addresses[0], '10.74.1.2');
  t.match(beamer?.addresses[1], /^fe80::.*%left$/, 'an address that needs its link says which');

  const during = browseOn(home, 4_000);
  await until('it to have been found', async () => (await browseOn(home, 300)).length > 0);
  await end(service, 'SIGTERM');
  t.notOk(
    (await during).some(({ name }) => name === 'beamer'),
    'a goodbye ends it',
  );
});

t.test('without any network it says so', requires(...NEEDS_NETWORK), async (t) => {
  await t.rejects(browseOn(machine(t), 500), /mdns\.no-interface|there is no network to look for devices in/);
});

t.test('who shouts lies into the network does no harm', requires(...NEEDS_NETWORK), async (t) => {
  const [home, neighbour] = [machine(t), machine(t)];
  connect([home, 'eth0', '10.75.1.1/24'], [neighbour, 'eth0', '10.75.1.2/24']);
  const program = resolve(import.meta.dirname, 'hostile-child.js');
  const hostile = spawn('ip', ['netns', 'exec', neighbour.namespace, process.execPath, program], { stdio: 'inherit' });
  t.teardown(() => endChild(hostile, 'SIGKILL'));
  await until('the neighbour to shout', async () => (await browseOn(home, 500)).length > 0);
  const device = await announcedDevice(t, home, 'beamer');
  await untilAnnounced(device, 'beamer', ['eth0']);

  const found = await browseOn(home, 2_000);
  t.ok(found.length > 30 && found.length <= 64, `${found.length} are plenty`);
  for (const { name } of found) t.match(name, /^(flood\d+|beamer)$/);
  t.match(await statusOf(device), { mdns: { name: 'beamer', failure: null }, faults: [] }, 'the service stands');
});
