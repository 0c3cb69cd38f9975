import fc from 'fast-check';
import t from 'tap';
import type { Link } from '../../src/discovery/links.ts';
import type { DnsRecord, Packet } from '../../src/discovery/packet.ts';
import { Findings } from '../../src/discovery/records.ts';

const LINK: Link = {
  name: 'eth0',
  index: 2,
  ipv4: [{ address: '192.168.1.2', prefix: 24 }],
  ipv6: [
    { address: 'fe80::2', prefix: 64 },
    { address: '2a00:1:2:3::2', prefix: 64 },
  ],
};
const SOURCE = '192.168.1.7';
const TYPE = '_beamerzf._tcp.local';

const ptr = (name: string, type = TYPE, ttl = 120): DnsRecord => ({
  name: type,
  type: 'PTR',
  ttl,
  data: `${name}.${type}`,
});
const srv = (
  name: string,
  data: unknown = { port: 8007, target: 'beamer.local' },
  type = TYPE,
  ttl = 120,
): DnsRecord => ({
  name: `${name}.${type}`,
  type: 'SRV',
  ttl,
  data,
});
const txt = (name: string, texts: string[], type = TYPE): DnsRecord => ({
  name: `${name}.${type}`,
  type: 'TXT',
  ttl: 4500,
  data: texts.map((text) => Buffer.from(text)),
});
const address = (data: string, ttl = 120, name = 'beamer.local'): DnsRecord => ({
  name,
  type: data.includes(':') ? 'AAAA' : 'A',
  ttl,
  data,
});
const BEAMER = [ptr('beamer'), srv('beamer'), txt('beamer', ['http=5000', 'model=Pi']), address(SOURCE)];

function learned(...packets: (Packet | DnsRecord[])[]): Findings {
  const findings = new Findings();
  for (const packet of packets) findings.learn(Array.isArray(packet) ? { answers: packet } : packet, LINK, SOURCE);
  return findings;
}
const devices = (...packets: Parameters<typeof learned>) => learned(...packets).devices();

t.test('a device in one packet, in several, in any case of letters', async (t) => {
  const expected = {
    name: 'beamer',
    host: 'beamer.local',
    addresses: [SOURCE],
    tunnelPort: 8007,
    httpPort: 5000,
    path: '/zeroforce',
    model: 'Pi',
    types: ['_beamerzf._tcp'],
  };
  t.strictSame(devices(BEAMER), [expected]);
  t.strictSame(devices({ answers: BEAMER.slice(0, 1), additionals: BEAMER.slice(1) }), [expected]);
  t.strictSame(devices(...BEAMER.map((record) => [record])), [expected]);
  const upper = BEAMER.map((record) => ({ ...record, name: record.name.toUpperCase() }));
  t.strictSame(devices(upper), [expected]);
});

t.test('both types of one device are one; the same name on another host is another', async (t) => {
  const usbip = '_usbip._tcp.local';
  t.match(devices(BEAMER, [ptr('beamer', usbip), srv('beamer', undefined, usbip)]), [
    { httpPort: 5000, types: ['_beamerzf._tcp', '_usbip._tcp'] },
  ]);
  t.match(devices([srv('beamer', undefined, usbip)], BEAMER), [{ httpPort: 5000, model: 'Pi' }], 'in any order');
  const other = [
    srv('beamer', { port: 8007, target: 'other.local' }, usbip),
    address('192.168.1.9', 120, 'other.local'),
  ];
  t.match(devices(BEAMER, other), [{ host: 'beamer.local' }, { host: 'other.local' }]);
});

t.test('asks for what did not come along', async (t) => {
  t.strictSame(learned([ptr('beamer')]).questions(), [
    { name: `beamer.${TYPE}`, type: 'SRV' },
    { name: `beamer.${TYPE}`, type: 'TXT' },
  ]);
  t.strictSame(learned([ptr('beamer'), srv('beamer'), txt('beamer', [])]).questions(), [
    { name: 'beamer.local', type: 'A' },
    { name: 'beamer.local', type: 'AAAA' },
  ]);
  t.strictSame(learned(BEAMER).questions(), []);
});

t.test('a goodbye removes a service, the last one the device; one of an address removes that', async (t) => {
  t.strictSame(devices(BEAMER, [ptr('beamer', TYPE, 0)]), []);
  t.strictSame(devices(BEAMER, [srv('beamer', undefined, TYPE, 0)]), []);
  t.match(devices(BEAMER, [address('192.168.1.8')], [address(SOURCE, 0)]), [{ addresses: ['192.168.1.8'] }]);
});

t.test('older devices give a host without .local and no texts', async (t) => {
  const records = [srv('beamer', { port: 8007, target: 'beamer' }), address(SOURCE, 120, 'beamer')];
  t.match(devices(records), [{ host: 'beamer', httpPort: null, path: '/zeroforce', model: null }]);
});

t.test('addresses that no device of this link can have are refused', async (t) => {
  for (const wrong of [
    ...['127.0.0.1', '0.0.0.0', '0.1.2.3', '224.0.0.251', '239.1.2.3', '255.255.255.255', '240.0.0.1', '192.0.2.7'],
    ...['192.168.1.255', '192.168.1.0', '8.8.8.8', '1.2.3', 'beamer', '', '192.168.1.7 ', '192.168.1.7:22'],
    ...['::', '::1', 'ff02::fb', '::ffff:8.8.8.8', '::ffff:127.0.0.1', '::7f00:1', '2001:db8::1', '2606:4700::1'],
    ...['fe80::7%lo', 'fe80::7%eth0'],
  ]) {
    t.strictSame(devices([srv('beamer'), address(wrong)]), [], wrong);
  }
  for (const right of [
    '192.168.1.7',
    '192.168.7.255',
    '10.0.0.1',
    '172.16.3.4',
    '169.254.9.9',
    '100.64.0.1',
    'fd00::7',
    '2a00:1:2:3::7',
  ])
    t.match(devices([srv('beamer'), address(right)]), [{ addresses: [right] }], right);
});

t.test('the address that the answer came from stands first, those that need their link say which', async (t) => {
  const all = ['fe80::7', 'fd00::7', '10.0.0.7', SOURCE].map((data) => address(data));
  t.match(devices([srv('beamer'), ...all]), [{ addresses: [SOURCE, '10.0.0.7', 'fd00::7', 'fe80::7%eth0'] }]);
});

t.test('names that could deceive, ports and hosts that are none are refused', async (t) => {
  for (const name of [
    '\u001b[2J',
    'a\nb',
    'a\u0000',
    '\u202ereve',
    'a\u200bb',
    ' ',
    '',
    '\ufffd',
    '\u{e0041}',
    '\ud800',
    'x'.repeat(64),
    'ü'.repeat(32),
  ])
    t.strictSame(devices([srv(name), address(SOURCE)]), [], JSON.stringify(name));
  for (const name of ['Küche', 'Beamer 2', 'ビーマー', '🎥 Saal', 'a.b'])
    t.match(devices([srv(name), address(SOURCE)]), [{ name }], name);
  for (const data of [
    ...[null, 7, 'beamer.local', {}, { port: 0, target: 'beamer.local' }, { port: 65_536, target: 'beamer.local' }],
    ...[
      { port: 80.5, target: 'beamer.local' },
      { port: '8007', target: 'beamer.local' },
      { port: 8007, target: '-o' },
    ],
    ...[{ port: 8007, target: 'a b' }, { port: 8007, target: '../x' }, { port: 8007, target: '' }, { port: 8007 }],
  ])
    t.strictSame(devices([srv('beamer', data), address(SOURCE)]), [], JSON.stringify(data));
  t.strictSame(
    devices([
      { ...ptr('x'), data: 'x._other._tcp.local' },
      { ...ptr('x'), data: 7 },
    ]),
    [],
    'other services',
  );
});

t.test('texts that are not as they must be count as absent', async (t) => {
  const facts = (...texts: string[]) => devices([srv('beamer'), address(SOURCE), txt('beamer', texts)])[0];
  t.match(facts('HTTP=81', 'http=82'), { httpPort: 81 }, 'keys in any case, the first counts');
  for (const http of ['0', '65536', '-1', '80 ', '0x50', '8e1', ''])
    t.match(facts(`http=${http}`), { httpPort: null }, `http=${http}`);
  for (const path of ['zeroforce', '//evil', '/../x', '/a b', '/a?b', '/a\r\nHost: x', `/${'a'.repeat(64)}`, ''])
    t.match(facts(`path=${path}`), { path: '/zeroforce' }, `path=${path}`);
  t.match(facts('path=/other/place'), { path: '/other/place' });
  for (const model of ['\u001b[31m', 'x'.repeat(61), '']) t.match(facts(`model=${model}`), { model: null }, model);
  t.match(devices([srv('beamer'), address(SOURCE), { ...txt('beamer', []), data: 'http=5000' }]), [{ httpPort: null }]);
});

t.test('thousands of answers are kept within bounds', async (t) => {
  const findings = new Findings();
  for (let n = 0; n < 5_000; n += 1)
    findings.learn(
      { answers: [srv(`b${n}`, { port: 8007, target: `b${n}.local` }), address(SOURCE, 120, `b${n}.local`)] },
      LINK,
      SOURCE,
    );
  t.equal(findings.devices().length, 64);
  for (let n = 1; n < 250; n += 1) findings.learn({ answers: [address(`10.0.0.${n}`, 120, 'b1.local')] }, LINK, SOURCE);
  t.equal(findings.devices().find(({ name }) => name === 'b1')?.addresses.length, 16);
  t.ok(findings.questions().length < 1_000);
});

t.test('whatever comes, nothing is thrown, and what is found is safe to print and to use', async (t) => {
  const names = fc.oneof(
    fc.constantFrom('beamer', `beamer.${TYPE}`, TYPE, 'beamer.local', '.', ''),
    fc.string({ unit: 'binary' }),
  );
  const records = fc.array(
    fc.record({
      name: names,
      type: fc.constantFrom('PTR', 'SRV', 'TXT', 'A', 'AAAA', 'ANY', 'UNKNOWN_7'),
      ttl: fc.constantFrom(0, 120),
      data: fc.oneof(
        names,
        fc.ipV4(),
        fc.ipV6(),
        fc.record({ port: fc.integer({ min: -1, max: 70_000 }), target: names }),
        fc.array(fc.oneof(fc.string(), fc.uint8Array().map(Buffer.from))),
        fc.anything(),
      ),
    }),
  );
  fc.assert(
    fc.property(fc.array(records, { maxLength: 5 }), (packets) => {
      for (const { name, host, addresses, tunnelPort, path, model } of devices(BEAMER, ...packets)) {
        if (/[\u0000-\u001f\u007f-\u009f\u202e]/.test(`${name}${host}${addresses}${path}${model}`)) return false;
        if (!(tunnelPort > 0 && tunnelPort < 65_536) || addresses.length === 0) return false;
      }
      return true;
    }),
    { numRuns: 500 },
  );
  t.pass();
});
