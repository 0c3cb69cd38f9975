import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { AgentSession } from '../../../src/gateway/agents/session.ts';
import { adopt } from '../../../src/link/adopt.ts';
import { BufferPool } from '../../../src/link/buffer-pool.ts';
import { SocketLink } from '../../../src/link/socket-link.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { frame } from '../../support/raw-proxy.ts';
import { listen } from '../../support/tcp-services.ts';
import { testLog } from '../../support/test-log.ts';

/** Both ends of a connection; the accepted one is paused. */
async function pair(t: Test): Promise<{ dialled: Socket; accepted: Socket }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  const connection = once(server, 'connection') as Promise<[Socket]>;
  const dialled = connect(await listen(server), '127.0.0.1');
  const [accepted] = await connection;
  dialled.on('error', () => {});
  t.teardown(() => {
    dialled.destroy();
    accepted.destroy();
    server.close();
  });
  return { dialled, accepted };
}

const line = (unacknowledged: number) =>
  ` A B 01 ${unacknowledged.toString(16).padStart(8, '0')}:00000000 00:00000000 00000000 0 0 1 1`;

t.test('a legacy agent that goes while slow clients keep its session from being read is noticed', async (t) => {
  const clock = new FakeClock();
  const [agent, client] = [await pair(t), await pair(t)];
  const agentPort = `:${agent.dialled.localPort?.toString(16).toUpperCase().padStart(4, '0')}`;
  let agentThere = true;
  let clientBytes = 1_000_000;
  let heldUp = () => {};
  const isHeldUp = new Promise<void>((resolve) => {
    heldUp = resolve;
  });
  const ended = new Promise<unknown[]>((resolve) => {
    const session = new AgentSession({
      deviceKey: 'k',
      address: '127.0.0.1',
      connectedAtMs: 0,
      link: new SocketLink(adopt(agent.accepted, new BufferPool())),
      rest: Buffer.alloc(0),
      pool: new BufferPool(),
      // What the kernel would tell: the agent is there or not, and the client takes a byte between two looks.
      findLine: (_table, addresses) => {
        if (!addresses.includes(agentPort)) return line(clientBytes--);
        heldUp();
        return agentThere ? line(0) : undefined;
      },
      clock,
      log: testLog().log,
      ended: (_session, reason, detail) => resolve([reason, detail]),
    });
    session.start();
    session.carry({ name: 'ssh', localPort: 22 }, client.accepted);
  });
  client.dialled.pause();
  agent.dialled.write(frame('D', 1, Buffer.alloc(30_000_000)));
  await isHeldUp;
  clock.advance(30_000);
  t.equal(agent.accepted.destroyed, false, 'slow clients may take their time');
  agentThere = false;
  clock.advance(5_000);
  t.same(await ended, ['connection_closed', 'the device closed the connection while slow clients held it up']);
});
