import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import {
  type Connection,
  cachedLines,
  connectionOf,
  lineIn,
  readPeerState,
  readTcpState,
} from '../../src/link/tcp-table.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { until } from '../support/until.ts';

// Lines of a little-endian machine, from a dead peer with data under way and from one with a closed window.
const TCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F47 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20971 1 0000000000000000 100 0 0 10 0
   1: 0100000A:9C40 0200000A:2329 01 000003E8:00000000 01:00000190 00000006     0        0 20980 3 0000000000000000 6400 4 30 1 7
   2: 0100000A:9C41 0200000A:2329 01 00012345:00000000 04:00000190 00000000     0        3 20981 3 0000000000000000 6400 4 30 1 7
   3: 0100000A:9C42 0200000A:2329 01 00000000:00000010 02:00000190 00000000     0        0 20982 3 0000000000000000 6400 4 30 1 7
   4: 0100000A:9C43 0200000A:2329 08 00000000:00000011 00:00000000 00000000     0        0 20983 3 0000000000000000 6400 4 30 1 7
`;
const TCP6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 000080FE00000000FF00000001000000:9C40 B80D0120000000000000000002000000:2329 01 0000000A:00000000 01:00000190 00000002     0        0 20980 3
`;

const findTcpState = (table: string, connection: Connection) =>
  readTcpState(connection, (_name, addresses) => lineIn(table, addresses));

t.test('finds the unacknowledged bytes and the unanswered tries of a connection', async (t) => {
  const find = (localPort: number) =>
    findTcpState(TCP, { localAddress: '10.0.0.1', localPort, remoteAddress: '10.0.0.2', remotePort: 9001 });
  t.same(find(40000), { unacknowledgedBytes: 1000, unreadBytes: 0, tries: 6, peerClosed: false }, 'retransmissions');
  t.same(
    find(40001),
    { unacknowledgedBytes: 0x12345, unreadBytes: 0, tries: 3, peerClosed: false },
    'probes of a closed window',
  );
  t.same(find(40002), { unacknowledgedBytes: 0, unreadBytes: 16, tries: 0, peerClosed: false });
  t.match(find(40003), { unreadBytes: 17, peerClosed: true });
  t.equal(find(40004), null);
});

t.test('finds IPv6 connections, whatever zone the address carries', async (t) => {
  const connection = { localPort: 40000, remoteAddress: '2001:db8::2', remotePort: 9001 };
  t.match(findTcpState(TCP6, { ...connection, localAddress: 'fe80::ff:0:1%eth0' }), {
    unacknowledgedBytes: 10,
    tries: 2,
  });
});

for (const host of ['127.0.0.1', '::']) {
  t.test(`reads both ends of a real connection to a program on ${host}`, async (t) => {
    const server = createServer((socket) => void socket.on('error', () => {}).pause());
    server.listen(0, host);
    await once(server, 'listening');
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const { port } = server.address() as { port: number };
    const socket = connect({ host: '127.0.0.1', port });
    t.teardown(async () => {
      socket.destroy();
      (await accepted)[0].destroy();
      server.close();
    });
    await once(socket, 'connect');
    const connection = connectionOf(socket);
    if (connection === null) throw new Error('a connected socket has its addresses');
    t.same(readTcpState(connection), { unacknowledgedBytes: 0, unreadBytes: 0, tries: 0, peerClosed: false });
    socket.write(Buffer.alloc(32 * 1024 * 1024));
    await until('a full send queue', () => (readTcpState(connection)?.unacknowledgedBytes ?? 0) > 0);
    const unread = () => readPeerState(connection)?.unreadBytes ?? 0;
    await until('a full receive queue', () => unread() > 0);
  });
}

t.test('a table that many look into is read once in a while', async (t) => {
  const clock = new FakeClock();
  let reads = 0;
  const find = cachedLines(clock, (name) => {
    reads += 1;
    return name === 'tcp' ? TCP : TCP6;
  });
  const state = (localPort: number) =>
    readTcpState({ localAddress: '10.0.0.1', localPort, remoteAddress: '10.0.0.2', remotePort: 9001 }, find);
  t.match(state(40000), { unacknowledgedBytes: 1000, tries: 6, peerClosed: false });
  t.match(state(40003), { unreadBytes: 17, peerClosed: true });
  t.equal(state(40004), null);
  t.equal(reads, 1);
  const connection = { localPort: 40000, remoteAddress: '2001:db8::2', remotePort: 9001 };
  t.match(readTcpState({ ...connection, localAddress: 'fe80::ff:0:1' }, find), { unacknowledgedBytes: 10, tries: 2 });
  t.equal(reads, 2, 'the other table');
  clock.advance(400);
  state(40000);
  t.equal(reads, 3);
});

t.test('an IPv4 device at a port that listens on :: is found in the table of IPv6', async (t) => {
  const asked: string[] = [];
  const connection = {
    localAddress: '::ffff:127.0.0.1',
    localPort: 9001,
    remoteAddress: '::ffff:10.0.0.2',
    remotePort: 5,
  };
  readTcpState(connection, (name, addresses) => {
    asked.push(`${name} ${addresses}`);
    return undefined;
  });
  t.same(asked, ['tcp6 0000000000000000FFFF00000100007F:2329 0000000000000000FFFF00000200000A:0005']);
});
