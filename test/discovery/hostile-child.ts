// A neighbour that means harm: says wrong things to everybody until it is ended. `LINK` is its interface.
import { createSocket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import Bonjour from 'bonjour-service';
import type { DnsRecord } from '../../src/discovery/packet.ts';
import { openMdns, presentLinks } from '../../src/discovery/socket.ts';
import { until } from '../support/until.ts';

// A cable that was just plugged in takes a moment to carry.
const link = await until('a link', () => presentLinks()[0]);
const own = link.ipv4[0]?.address ?? '';
const mdns = await openMdns(link, 'IPv4', {});
const otherPort = createSocket('udp4');
await new Promise<void>((resolve) => otherPort.bind(0, own, () => resolve()));
otherPort.setMulticastInterface(own);
const options = { socket: otherPort, bind: false, multicast: false, ip: '224.0.0.251', port: 5353 };
type Inside = { server: { mdns: { send(packet: object): void } } };
const fromOtherPort = (new Bonjour(options as object) as unknown as Inside).server.mdns;

function device(name: string, address = own, port = 8007): DnsRecord[] {
  const [type, host] = ['_beamerzf._tcp.local', `${name.replace(/[^a-z0-9]/g, 'x')}.local`];
  return [
    { name: type, type: 'PTR', ttl: 120, data: `${name}.${type}` },
    { name: `${name}.${type}`, type: 'SRV', ttl: 120, data: { port, target: host } },
    { name: `${name}.${type}`, type: 'TXT', ttl: 120, data: [Buffer.from('http=5000')] },
    { name: host, type: 'A', ttl: 120, data: address },
  ];
}

const answers = [
  ...[device('\u001b[2Jescape'), device('loopback', '127.0.0.1'), device('group', '224.0.0.1')],
  ...[device('elsewhere', '8.8.8.8'), device('broadcast', own.replace(/\d+$/, '255')), device('portless', own, 0)],
];
for (let round = 0; ; round += 1) {
  for (const records of answers) await mdns.send({ answers: records }, 'response');
  await mdns.send({ answers: Array.from({ length: 100 }, (_, n) => device(`oversized${n}`)).flat() }, 'response');
  for (const bytes of [Buffer.alloc(0), Buffer.from('garbage'), Buffer.alloc(1400, 0xff), Buffer.alloc(1400, 0xc0)]) {
    otherPort.send(bytes, 5353, '224.0.0.251');
  }
  fromOtherPort.send({ type: 'response', answers: device('wrongport') });
  for (let n = 0; n < 40; n += 1) await mdns.send({ answers: device(`flood${40 * round + n}`) }, 'response');
  await sleep(50);
}
