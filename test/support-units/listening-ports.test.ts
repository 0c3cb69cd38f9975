import { once } from 'node:events';
import { createServer } from 'node:net';
import t from 'tap';
import { isListening, listeningPorts } from '../../src/support/listening-ports.ts';

t.test('the ports that are listened on, and no others', async (t) => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 100 0 0 10 0
   1: 0100007F:1F47 0100007F:C3A2 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000 20 4 30 10 -1
   2: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
`;
  t.strictSame([...listeningPorts(table)], [5000, 22]);
  t.strictSame([...listeningPorts('')], []);
});

t.test('a server of this machine is seen while it listens', async (t) => {
  for (const host of ['127.0.0.1', '0.0.0.0']) {
    const server = createServer().listen(0, host);
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    t.ok(isListening(port), host);
    server.close();
    await once(server, 'close');
    t.notOk(isListening(port));
  }
});
