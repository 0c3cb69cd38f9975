// A DNS server at 127.0.0.1:53 of its own network: argv NAME=ADDRESS …; other names do not exist; with `silent` it says nothing.
import { createSocket } from 'node:dgram';

const words = process.argv.slice(2);
const known = new Map(words.filter((word) => word.includes('=')).map((word) => word.split('=') as [string, string]));
const TYPE_A = 1;

const server = createSocket('udp4');
server.on('message', (query, from) => {
  if (words.includes('silent')) return;
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const type = query.readUInt16BE(at + 1);
  const address = known.get(labels.join('.').toLowerCase());
  const answers = address !== undefined && type === TYPE_A;
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(address === undefined ? 0x8183 : 0x8180, 2); // NXDOMAIN, or no error
  header.writeUInt16BE(answers ? 1 : 0, 6);
  header.writeUInt32BE(0, 8);
  const record = Buffer.from([0xc0, 12, 0, TYPE_A, 0, 1, 0, 0, 0, 1, 0, 4, ...(address ?? '').split('.').map(Number)]);
  server.send(
    Buffer.concat([header, query.subarray(12, at + 5), ...(answers ? [record] : [])]),
    from.port,
    from.address,
  );
});
server.bind(53, '127.0.0.1', () => process.stdout.write('listening\n'));
