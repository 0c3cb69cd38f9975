import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { recordsOf } from '../../src/discovery/announcement.ts';
import { linksOf } from '../../src/discovery/links.ts';
import { readModel } from '../../src/discovery/model.ts';
import { labelOf, nextNumber, numbered } from '../../src/discovery/names.ts';
import { temporaryFolder } from '../device/support.ts';

t.test('the name of a machine becomes one label', async (t) => {
  for (const [hostname, label] of [
    ['beamer', 'beamer'],
    ['Beamer-1', 'Beamer-1'],
    ['beamer.lan.example', 'beamer'],
    ['my box_2', 'my-box-2'],
    ['--x--', 'x'],
    ['küche', 'k-che'],
    ['localhost', 'zeroforce'],
    ['localhost.localdomain', 'zeroforce'],
    ['(none)', 'zeroforce'],
    ['', 'zeroforce'],
    ['.', 'zeroforce'],
  ] as const) {
    t.equal(labelOf(hostname), label, hostname);
  }
  const longest = numbered(labelOf('x'.repeat(64)), 99);
  t.equal(longest.length, 63);
});

t.test('names are numbered from the second on, and start over', async (t) => {
  t.strictSame(
    [1, 2, 3].map((number) => numbered('beamer', number)),
    ['beamer', 'beamer-2', 'beamer-3'],
  );
  t.strictSame([nextNumber(1), nextNumber(98), nextNumber(99)], [2, 99, 1]);
});

t.test('links are interfaces with hardware, by name, each with its number and its networks', async (t) => {
  const info = (address: string, cidr: string | null, more = {}) => ({
    ...{ address, cidr, family: address.includes(':') ? 'IPv6' : 'IPv4', mac: 'b8:27:eb:00:00:01', internal: false },
    ...more,
  });
  const interfaces = {
    wlan0: [info('192.168.1.8', '192.168.1.8/24'), info('fe80::8', 'fe80::8/64')],
    lo: [info('127.0.0.1', '127.0.0.1/8', { internal: true, mac: '00:00:00:00:00:00' })],
    tun0: [info('10.8.0.2', '10.8.0.2/24', { mac: '00:00:00:00:00:00' })],
    eth0: [info('192.168.1.9', '192.168.1.9/24'), info('192.168.1.7', null)],
    none: undefined,
  };
  t.strictSame(
    linksOf(interfaces, (name) => (name === 'eth0' ? 2 : null)),
    [
      {
        name: 'eth0',
        index: 2,
        ipv4: [
          { address: '192.168.1.7', prefix: 32 },
          { address: '192.168.1.9', prefix: 24 },
        ],
        ipv6: [],
      },
      {
        name: 'wlan0',
        index: null,
        ipv4: [{ address: '192.168.1.8', prefix: 24 }],
        ipv6: [{ address: 'fe80::8', prefix: 64 }],
      },
    ],
  );
  const containers = Array.from({ length: 100 }, (_, n) => [`veth${n}`, [info('fe80::1', 'fe80::1/64')]] as const);
  const many = linksOf({ ...Object.fromEntries(containers), ...interfaces }, () => null);
  t.equal(many.length, 32);
  t.match(many, [{ name: 'eth0' }, { name: 'wlan0' }], 'what leads somewhere is not cut off');
});

t.test(
  'what is announced: both services on the port of the tunnel, their texts, the addresses of the link',
  async (t) => {
    const link = {
      ...{ name: 'eth0', index: 2, ipv4: [{ address: '192.168.1.7', prefix: 24 }] },
      ipv6: [{ address: 'fe80::7', prefix: 64 }],
    };
    const identity = { name: 'beamer', tunnelPort: 8007, httpPort: 5001, model: 'Raspberry Pi 4' };
    const records = recordsOf(identity, link);
    const lines = records.map(({ name, type, ttl, flush = false, data }) => {
      const { target, port } = data as { target?: string; port?: number };
      const shown = type === 'SRV' ? `${target}:${port}` : Array.isArray(data) ? data.join(' ') : String(data);
      return `${name} ${ttl}${flush ? ' unique' : ''} ${type} ${shown}`;
    });
    const text = 'TXT txtvers=1 path=/zeroforce http=5001 model=Raspberry Pi 4';
    t.strictSame(lines, [
      '_services._dns-sd._udp.local 4500 PTR _beamerzf._tcp.local',
      '_beamerzf._tcp.local 4500 PTR beamer._beamerzf._tcp.local',
      'beamer._beamerzf._tcp.local 120 unique SRV beamer.local:8007',
      `beamer._beamerzf._tcp.local 4500 unique ${text}`,
      '_services._dns-sd._udp.local 4500 PTR _usbip._tcp.local',
      '_usbip._tcp.local 4500 PTR beamer._usbip._tcp.local',
      'beamer._usbip._tcp.local 120 unique SRV beamer.local:8007',
      `beamer._usbip._tcp.local 4500 unique ${text}`,
      'beamer.local 120 unique A 192.168.1.7',
      'beamer.local 120 unique AAAA fe80::7',
    ]);
    t.notMatch(JSON.stringify(recordsOf({ ...identity, httpPort: null }, link)), /http=/);
    const crowded = { ...link, ipv4: Array.from({ length: 50 }, (_, n) => ({ address: `10.0.0.${n}`, prefix: 24 })) };
    t.equal(recordsOf(identity, crowded).length, 16);
  },
);

t.test('the model is as configured, else as the board says, else unknown', async (t) => {
  const file = join(temporaryFolder(t), 'model');
  t.equal(readModel(null, file), 'unknown');
  writeFileSync(file, 'Raspberry Pi 4 Model B Rev 1.5\0');
  t.equal(readModel(null, file), 'Raspberry Pi 4 Model B Rev 1.5');
  t.equal(readModel('Beamer', file), 'Beamer');
  for (const [text, model] of [
    ['\0', 'unknown'],
    ['a\u001b[2Jb\nc\0', 'a [2Jb c'],
    ['x'.repeat(500), 'x'.repeat(60)],
  ] as const) {
    writeFileSync(file, text);
    t.equal(readModel(null, file), model);
  }
});
