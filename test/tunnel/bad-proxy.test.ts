import { once } from 'node:events';
import t, { type Test } from 'tap';
import { frame, openPayload, type RawAgent, type RawStream, u32 } from '../support/raw-proxy.ts';
import { startEcho, startService } from '../support/tcp-services.ts';
import { type RunningAgent, startAgent, startProxy } from '../support/tunnel-bench.ts';
import { until } from '../support/until.ts';

const MIB = 1024 * 1024;

interface Session {
  peer: RawAgent;
  device: RunningAgent;
  echoPort: number;
}

/** A session that is up, with an echo service behind it. */
async function session(t: Test, mode: 'legacy' | 'v1', services: Record<string, number> = {}): Promise<Session> {
  const echo = await startEcho();
  t.teardown(() => echo.close());
  const proxy = await startProxy(t, { mode });
  const device = startAgent(t, proxy.port, { services: { echo: echo.port, ...services } });
  return { peer: await proxy.nextAgent(), device, echoPort: echo.port };
}

async function echoes(stream: RawStream, text: string): Promise<boolean> {
  stream.write(text);
  let got = '';
  while (got.length < text.length) got += String((await once(stream, 'data'))[0]);
  return got === text;
}

/** How the session ended, by the agent's own words. */
const ended = async ({ device }: Session) => (await device.until(({ state }) => state === 'waiting')).lastFailure;

for (const mode of ['legacy', 'v1'] as const) {
  t.test(`${mode}: frames that arrive byte by byte`, async (t) => {
    const { peer, echoPort } = await session(t, mode);
    const bytes = Buffer.concat([frame('N', 5, openPayload(echoPort)), frame('D', 5, Buffer.from('dribbled'))]);
    for (const byte of bytes) {
      peer.send(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    let got = '';
    while (got !== 'dribbled') got += (await peer.expect('D', 5)).payload.toString();
    t.equal(got, 'dribbled');
  });

  t.test(`${mode}: an N that claims two gigabytes ends the session when its header is read`, async (t) => {
    const it = await session(t, mode);
    it.peer.send(frame('N', 1, Buffer.alloc(0), 0x7fff_ffff));
    await it.peer.closed;
    t.match(await ended(it), { code: 'session.protocol-error', sentence: /2147483647 bytes/ });
  });

  t.test(`${mode}: a C that claims more than a kilobyte ends the session`, async (t) => {
    const it = await session(t, mode);
    it.peer.send(frame('C', 1, Buffer.alloc(1025)));
    await it.peer.closed;
    t.match(await ended(it), { code: 'session.protocol-error' });
  });

  t.test(`${mode}: frames for unknown ids and frames of unknown types are passed over`, async (t) => {
    const { peer, echoPort } = await session(t, mode);
    peer.sendFrame('D', 77, Buffer.from('nobody'));
    peer.sendFrame('C', 78);
    peer.sendFrame('?', 1, Buffer.alloc(5000));
    peer.sendFrame('N', 9, Buffer.from([1]));
    t.ok(await echoes(peer.open(echoPort), 'still there'));
    t.ok(await peer.expect('C', 9), 'an N under two bytes is answered by C');
  });

  t.test(`${mode}: a run of unknown types ends the session`, async (t) => {
    const it = await session(t, mode);
    for (let count = 0; count < 100; count++) it.peer.sendFrame('Z', count);
    await it.peer.closed;
    t.match(await ended(it), { code: 'session.protocol-error', sentence: /unknown types/ });
  });

  t.test(`${mode}: an id that is used again while it is live gets a new stream`, async (t) => {
    const service = await startService((socket) => void socket.on('data', (text) => socket.write(`new:${text}`)));
    t.teardown(() => service.close());
    const { peer, echoPort } = await session(t, mode, { second: service.port });
    const window = mode === 'v1' ? 65_536 : undefined;
    peer.sendFrame('N', 3, openPayload(echoPort, window));
    peer.sendFrame('D', 3, Buffer.from('old'));
    t.equal((await peer.expect('D', 3)).payload.toString(), 'old');
    peer.sendFrame('N', 3, openPayload(service.port, window));
    peer.sendFrame('D', 3, Buffer.from('x'));
    t.equal((await peer.expect('D', 3)).payload.toString(), 'new:x');
    peer.sendFrame('C', 3);
    peer.sendFrame('N', 3, openPayload(echoPort, window));
    peer.sendFrame('D', 3, Buffer.from('third'));
    t.equal((await peer.expect('D', 3)).payload.toString(), 'third');
  });

  t.test(`${mode}: a port that is not on the list is refused, with a line in the log`, async (t) => {
    const { peer, device } = await session(t, mode);
    const stream = peer.open(1);
    const [how] = (await once(stream, 'finishedByAgent')) as [string];
    t.equal(how, mode === 'v1' ? 'A3' : 'C');
    t.ok(device.logged.lines.some(({ code, level }) => code === 'target.not-allowed' && level === 'warn'));
  });

  t.test(`${mode}: a proxy that reads nothing holds up its own download, and nothing else`, async (t) => {
    const source = await startService((socket) => {
      const chunk = Buffer.alloc(MIB);
      const more = () => {
        if (!socket.destroyed) socket.write(chunk, more);
      };
      more();
    });
    const sink = await startService();
    t.teardown(() => Promise.all([source.close(), sink.close()]));
    const { peer } = await session(t, mode, { source: source.port, sink: sink.port });
    peer.open(source.port);
    const from = await source.next();
    peer.socket.pause();
    await until('the source to be held up', async () => {
      const before = from.bytesWritten;
      await new Promise((resolve) => setTimeout(resolve, 300));
      return from.bytesWritten === before;
    });
    t.ok(from.bytesWritten < 40 * MIB, `it was held up after ${from.bytesWritten} bytes`);
    const upload = peer.open(sink.port);
    upload.write(Buffer.alloc(100_000));
    const to = await sink.next();
    let bytes = 0;
    for await (const chunk of to) {
      bytes += (chunk as Buffer).length;
      if (bytes === 100_000) break;
    }
    t.equal(bytes, 100_000, 'the agent goes on reading');
  });

  t.test(`${mode}: one service of many that takes nothing does not hold up the others`, async (t) => {
    const stuck = await startService((socket) => void socket.pause());
    t.teardown(() => stuck.close());
    const { peer, device, echoPort } = await session(t, mode, { stuck: stuck.port });
    const others = Array.from({ length: 10 }, () => peer.open(echoPort));
    const stalled = peer.open(stuck.port);
    const cut = once(stalled, 'finishedByAgent');
    stalled.write(Buffer.alloc(24 * MIB));
    for (const [index, other] of others.entries()) t.ok(await echoes(other, `stream ${index}`));
    if (mode === 'legacy') {
      await cut;
      t.ok(device.logged.lines.some(({ code }) => code === 'target.stalled'));
    }
    t.ok(await echoes(others[0] as RawStream, 'afterwards'));
    t.equal(device.agent.status().state, 'up');
  });

  t.test(`${mode}: bytes that are no frames end the session, and the agent comes back`, async (t) => {
    const proxy = await startProxy(t, { mode });
    const device = startAgent(t, proxy.port, { reconnect: { minMs: 1, maxMs: 5 } });
    const first = await proxy.nextAgent();
    first.send('NNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNNN');
    await first.closed;
    t.match((await device.until(({ state }) => state === 'waiting')).lastFailure, { code: 'session.protocol-error' });
    t.ok(await proxy.nextAgent());
  });
}

t.test('legacy: a D that claims four gigabytes passes through as it arrives', async (t) => {
  const it = await session(t, 'legacy');
  it.peer.send(frame('N', 1, openPayload(it.echoPort)));
  it.peer.send(frame('D', 1, Buffer.from('the beginning'), 0xffff_ffff));
  t.equal((await it.peer.expect('D', 1)).payload.toString(), 'the beginning');
  it.peer.socket.end();
  t.match(await ended(it), { code: 'session.closed', sentence: /middle of a frame/ });
});

t.test('legacy: v1 frames mean nothing', async (t) => {
  const { peer, echoPort } = await session(t, 'legacy');
  const stream = peer.open(echoPort);
  t.ok(await echoes(stream, 'before'));
  for (const type of ['P', 'W', 'F', 'R', 'A', 'G', 'X']) peer.sendFrame(type, stream.id, u32(1));
  t.ok(await echoes(stream, 'after'));
  t.same(peer.frames, [], 'and are not answered');
});

t.test('v1: data beyond the credit, or too long, resets its stream alone', async (t) => {
  const stuck = await startService((socket) => void socket.pause());
  t.teardown(() => stuck.close());
  const { peer, echoPort } = await session(t, 'v1', { stuck: stuck.port });
  const good = peer.open(echoPort);
  peer.sendFrame('N', 900, openPayload(echoPort, 65_536));
  peer.sendFrame('D', 900, Buffer.alloc(16 * 1024 + 1));
  t.equal((await peer.expect('R', 900)).payload.readUInt16BE(), 4);
  peer.sendFrame('N', 901, openPayload(stuck.port, 65_536));
  for (let sent = 0; sent < 32 * MIB; sent += 16 * 1024) peer.sendFrame('D', 901, Buffer.alloc(16 * 1024));
  t.equal((await peer.expect('R', 901)).payload.readUInt16BE(), 2);
  t.ok(await echoes(good, 'unharmed'));
});

t.test('v1: an N of two bytes makes a legacy stream', async (t) => {
  const { peer, echoPort } = await session(t, 'v1');
  peer.sendFrame('N', 1000, openPayload(echoPort));
  peer.sendFrame('D', 1000, Buffer.alloc(20_000, 'x'));
  let bytes = 0;
  while (bytes < 20_000) bytes += (await peer.expect('D', 1000)).payload.length;
  peer.sendFrame('C', 1000);
  t.notOk(peer.frames.some(({ type, id }) => id === 1000 && 'AWFR'.includes(type)));
});
