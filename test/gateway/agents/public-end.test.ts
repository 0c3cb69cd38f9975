import { once } from 'node:events';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { startEcho, startService, type TcpService } from '../../support/tcp-services.ts';
import { startAgent } from '../../support/tunnel-bench.ts';
import { until } from '../../support/until.ts';
import { type Entry, Peer, publicPort, startEntry } from './support.ts';

/** Entry, the device's own agent, a service on the device, and a public port for it. */
async function chain(t: Test, service: TcpService): Promise<Entry & { publicPort: number }> {
  t.teardown(() => service.close());
  const entry = await startEntry(t);
  startAgent(t, entry.port, { services: { test: service.port } });
  const session = await entry.host.session();
  await until('v1', () => session.facts().client === 'v1');
  const { port } = await publicPort(t, entry.host, service.port);
  return { ...entry, publicPort: port };
}

t.test('bytes go both ways, those sent before the device answers included', async (t) => {
  const { publicPort } = await chain(t, await startEcho());
  const client = await Peer.connect(t, publicPort, { allowHalfOpen: true });
  const bytes = Buffer.alloc(5_000_000);
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(at, at);
  client.socket.end(bytes);
  await client.closed;
  t.ok(client.received.equals(bytes));
  t.same(client.events, ['end']);
});

t.test('each direction ends by itself', async (t) => {
  const service = await startService();
  const { publicPort } = await chain(t, service);
  const client = await Peer.connect(t, publicPort, { allowHalfOpen: true });
  client.socket.end('all of the request');
  const inside = new Peer(await service.next());
  await once(inside.socket, 'end');
  t.equal(inside.received.toString(), 'all of the request');
  inside.socket.end('the answer');
  await client.closed;
  t.equal(client.received.toString(), 'the answer');
});

t.test('a reset by the client reaches the service, and one by the service the client', async (t) => {
  const service = await startService();
  const { publicPort } = await chain(t, service);
  const client = await Peer.connect(t, publicPort);
  const inside = new Peer(await service.next());
  const ended = Promise.race([once(inside.socket, 'end'), inside.closed]);
  client.socket.resetAndDestroy();
  await ended;

  const second = await Peer.connect(t, publicPort);
  (await service.next()).resetAndDestroy();
  await second.closed;
  t.pass();
});

t.test('a client that does not read stops its service, and nobody else', async (t) => {
  const service = await startService((socket) => {
    socket.once('data', (first: Buffer) => {
      if (first.toString() !== 'flood') {
        socket.write(first);
        return;
      }
      const more = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(64 * 1024)));
      };
      socket.on('drain', more);
      more();
    });
  });
  const { publicPort, host } = await chain(t, service);
  const lazy = connect(publicPort, '127.0.0.1');
  t.teardown(() => lazy.destroy());
  lazy.pause();
  lazy.write('flood');
  const flooding = await service.next();
  let sent = -1;
  await until('the service to be stopped', async () => {
    const before = sent;
    sent = flooding.bytesWritten - flooding.writableLength;
    await new Promise((resolve) => setTimeout(resolve, 300));
    return sent > 0 && before === sent;
  });
  const other = await Peer.connect(t, publicPort);
  other.socket.write('hello');
  await other.until((received) => received.toString() === 'hello');
  t.equal((await host.session()).facts().streams, 2);
});

t.test('a service that is not there ends the connection, and says so in the log', async (t) => {
  const service = await startService();
  const { host, logged } = await chain(t, service);
  const { port } = await publicPort(t, host, 1);
  const client = await Peer.connect(t, port);
  await client.closed;
  t.ok(logged.has(/stream \d+ to port 1 was not opened: not-allowed/));
});
