import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { adopt } from '../../src/link/adopt.ts';
import { BufferPool } from '../../src/link/buffer-pool.ts';
import { listen } from '../support/tcp-services.ts';
import { until } from '../support/until.ts';

/** Both ends of a connection; the accepted one is paused. */
async function pair(t: Test, { privateWay = true } = {}) {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
  const port = await listen(server);
  const connection = once(server, 'connection') as Promise<[Socket]>;
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  client.on('error', () => {});
  const [accepted] = await connection;
  t.teardown(() => {
    client.destroy();
    accepted.destroy();
    server.close();
  });
  // As on a Node whose sockets look different inside.
  if (!privateWay) {
    const handle = (accepted as unknown as { _handle: { useUserBuffer: unknown } })._handle;
    Object.defineProperty(handle, 'useUserBuffer', { value: undefined });
  }
  return { server, client, accepted };
}

for (const privateWay of [true, false]) {
  t.test(privateWay ? 'with the pool' : 'by events, where Node has no such field', async (t) => {
    t.test('all bytes arrive, in order, those read before included', async (t) => {
      const { client, accepted } = await pair(t, { privateWay });
      client.write('early ');
      await once(accepted, 'readable');
      accepted.unshift(accepted.read() as Buffer);
      const pool = new BufferPool();
      const { socket, reader } = adopt(accepted, pool);
      t.equal(reader.inUse, privateWay);
      t.equal(socket !== accepted, privateWay);
      const bytes = Buffer.alloc(3_000_000);
      for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(at, at);
      client.write(bytes);
      await new Promise((resolve) => setTimeout(resolve, 50));
      let received: Buffer = Buffer.alloc(0);
      const chunks: Buffer[] = [];
      let length = 0;
      reader.deliverTo(({ bytes: lent }) => {
        chunks.push(Buffer.from(lent));
        length += lent.length;
      });
      await until('all bytes', () => length === bytes.length + 6);
      received = Buffer.concat(chunks);
      t.equal(received.toString('latin1', 0, 6), 'early ');
      t.ok(received.subarray(6).equals(bytes));
      socket.write('and back');
      const [back] = (await once(client, 'data')) as [Buffer];
      t.equal(back.toString(), 'and back');
    });

    t.test('nothing is read while it is held', async (t) => {
      const { client, accepted } = await pair(t, { privateWay });
      const { socket, reader } = adopt(accepted, new BufferPool());
      let length = 0;
      const count = ({ bytes }: { bytes: Buffer }) => {
        length += bytes.length;
      };
      reader.deliverTo(count);
      client.write('x');
      await until('a byte', () => length === 1);
      reader.hold();
      client.write(Buffer.alloc(20_000_000));
      let before = -1;
      await until('the kernel to be full', async () => {
        const same = before === socket.bytesRead;
        before = socket.bytesRead;
        await new Promise((resolve) => setTimeout(resolve, 100));
        return same;
      });
      t.ok(socket.bytesRead < 2_000_000, `${socket.bytesRead} bytes were read ahead`);
      t.equal(length, 1);
      reader.deliverTo(count);
      await until('all', () => length === 20_000_001);
    });

    t.test('each direction ends by itself, and the end reaches the accepted socket and its server', async (t) => {
      const { server, client, accepted } = await pair(t, { privateWay });
      const { socket, reader } = adopt(accepted, new BufferPool());
      reader.deliverTo(() => {});
      client.end('last');
      await once(socket, 'end');
      const [answer, closed] = [once(client, 'data'), once(accepted, 'close')];
      socket.end('answer');
      t.equal(String((await answer)[0]), 'answer');
      await closed;
      const connections = await new Promise((resolve) => server.getConnections((_error, count) => resolve(count)));
      t.equal(connections, 0);
      t.ok(socket.destroyed);
    });

    t.test('a reset is an error, and destroying the accepted socket ends the connection', async (t) => {
      const first = await pair(t, { privateWay });
      const { socket, reader } = adopt(first.accepted, new BufferPool());
      reader.deliverTo(() => {});
      const error = once(socket, 'error') as Promise<[NodeJS.ErrnoException]>;
      const closed = new Promise((resolve) => first.accepted.once('close', resolve));
      first.client.resetAndDestroy();
      t.equal((await error)[0].code, 'ECONNRESET');
      await closed;

      const second = await pair(t, { privateWay });
      const adopted = adopt(second.accepted, new BufferPool());
      adopted.reader.deliverTo(() => {});
      second.accepted.destroy();
      await once(second.client.resume(), 'end');
      await until('both', () => adopted.socket.destroyed);
    });
  });
}
