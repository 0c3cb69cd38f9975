import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t from 'tap';
import { frame } from '../../support/raw-proxy.ts';
import { startGatewayChild } from './gateway-child.ts';
import { helloOf } from './support.ts';

const SESSIONS = 1_000;
/** The goal is 40 KiB of memory in all; this is what our own objects take, without the allocator's slack. */
const GOAL_BYTES = 16 * 1024;

t.test('an idle session costs little memory, and holds no read buffer', async (t) => {
  const gateway = startGatewayChild(t, '127.0.0.1', 0);
  const listening = await gateway.until(({ what }) => what === 'listening');
  const port = listening.what === 'listening' ? listening.port : 0;
  const sockets: Socket[] = [];
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  const settings = frame('X', 0, Buffer.from('{"v":1,"maxStreams":64,"window":262144}'));
  const arrive = async (index: number) => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      localAddress: `127.2.${Math.floor(index / 250)}.${(index % 250) + 1}`,
    });
    sockets.push(socket);
    socket.write(helloOf(`device-${index}`));
    await once(socket, 'data');
    if (index % 2 === 0) socket.write(settings);
  };
  await arrive(SESSIONS); // what the first session loads is no cost of the others
  const before = await gateway.memory();
  for (let index = 0; index < SESSIONS; index += 50) {
    await Promise.all(Array.from({ length: 50 }, (_, offset) => arrive(index + offset)));
  }
  const after = await gateway.memory();
  t.equal(after.sessions, SESSIONS + 1);
  const bytes = (after.heap + after.external - before.heap - before.external) / SESSIONS;
  t.ok(bytes < GOAL_BYTES, `${Math.round(bytes)} bytes a session`);
});
