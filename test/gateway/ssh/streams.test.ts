import { once } from 'node:events';
import type { Readable } from 'node:stream';
import t from 'tap';
import { FakeClock } from '../../support/fake-clock.ts';
import { requires } from '../../support/requires.ts';
import { startEcho, startService } from '../../support/tcp-services.ts';
import { until } from '../../support/until.ts';
import { nextChannel, remotes, scriptedDevice, startSsh, visit } from './client.ts';
import { startEntry } from './support.ts';

const MIB = 1024 * 1024;

/** Reads until `bytes` came, or the end. */
async function readBytes(socket: Readable, bytes: number): Promise<string> {
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    if (text.length >= bytes) break;
  }
  return text;
}

t.test('the device is told who came, where, and under the address that it asked for', async (t) => {
  const { host, port } = await startEntry(t);
  for (const address of ['localhost', '', '127.0.0.1', '*', '0.0.0.0', '::']) {
    const { client, forward } = await scriptedDevice(t, port, host.add(`device ${address}`));
    const given = await forward(address);
    const opened = nextChannel(client);
    const socket = visit(t, given);
    const { info } = await opened;
    t.strictSame(info, { destIP: address, destPort: given, srcIP: '127.0.0.1', srcPort: socket.localPort });
  }
});

t.test('a client that speaks before the device answers loses nothing', async (t) => {
  const { host, port } = await startEntry(t);
  const { client, forward } = await scriptedDevice(t, port, host.add('device-a'));
  const socket = visit(t, await forward());
  socket.end('early');
  const [, accept] = await once(client, 'tcp connection');
  await until('all to be sent', () => socket.writableFinished);
  const channel = accept();
  t.equal(await readBytes(channel, 5), 'early');
});

t.test('a device that answers no open: the client is reset after 10 s, and a late answer does no harm', async (t) => {
  const clock = new FakeClock();
  const { host, port, entry, log } = await startEntry(t, { clock });
  const { client, forward } = await scriptedDevice(t, port, host.add('device-a'));
  const given = await forward();
  const socket = visit(t, given);
  const [, accept] = await once(client, 'tcp connection');
  clock.advance(9_900);
  t.equal(socket.readyState, 'open');
  const gone = new Promise((resolve) => socket.once('close', resolve));
  clock.advance(200);
  await gone;
  t.ok(log.has(/did not answer within 10 s/));
  const late = accept();
  late.resume();
  await once(late, 'close');
  const opened = nextChannel(client);
  const next = visit(t, given);
  (await opened).channel.end('still here');
  t.equal(await readBytes(next, 10), 'still here');
  await entry.stop();
});

t.test('a device that refuses an open: the client is reset', requires('ssh'), async (t) => {
  const { host, port, log } = await startEntry(t);
  const service = await startEcho();
  await service.close(); // nothing listens at its port now
  const [given = 0] = await startSsh(t, port, host.add('device-a'), ['-N', ...remotes(service.port)]).ports(1);
  const socket = visit(t, given);
  const [error] = await once(socket, 'error').catch((error: unknown) => [error]);
  t.match(error, { code: 'ECONNRESET' });
  t.ok(log.has(/the device refused a connection/));
});

for (const [what, first] of [
  ['the client', 'client'],
  ['the device', 'device'],
] as const) {
  t.test(`half closed by ${what} first: the other way goes on`, requires('ssh'), async (t) => {
    const { host, port } = await startEntry(t);
    const service = await startService();
    t.teardown(() => service.close());
    const [given = 0] = await startSsh(t, port, host.add('device-a'), ['-N', ...remotes(service.port)]).ports(1);
    const socket = visit(t, given);
    const far = await service.next();
    const [one, other] = first === 'client' ? [socket, far] : [far, socket];
    one.end('first');
    t.equal(await readBytes(other, Number.POSITIVE_INFINITY), 'first');
    t.equal(other.readableEnded, true, 'the end arrived');
    other.write('second');
    t.equal(await readBytes(one, 6), 'second');
    other.end('third');
    t.equal(await readBytes(one, Number.POSITIVE_INFINITY), 'third');
    await until('the stream to be over', () => host.sessions.get('device-a')?.facts().streams === 0);
    t.equal(host.sessions.get('device-a')?.facts().opened, 1);
  });
}

t.test('a reset at either end reaches the other', requires('ssh'), async (t) => {
  const { host, port } = await startEntry(t);
  const service = await startService();
  t.teardown(() => service.close());
  const [given = 0] = await startSsh(t, port, host.add('device-a'), ['-N', ...remotes(service.port)]).ports(1);
  for (const first of ['client', 'device'] as const) {
    const socket = visit(t, given);
    const far = await service.next();
    socket.write('x');
    await once(far, 'data');
    const [one, other] = first === 'client' ? [socket, far] : [far, socket];
    other.resume();
    const ended = once(other, 'end');
    one.resetAndDestroy();
    await ended;
    other.end();
    await until('the stream to be over', () => host.sessions.get('device-a')?.facts().streams === 0);
  }
});

t.test(
  'a client that never reads stops itself alone, and the device can send it no more than the window',
  async (t) => {
    const { host, port, log } = await startEntry(t);
    const { client, forward } = await scriptedDevice(t, port, host.add('device-a'));
    const given = await forward();
    const stalled = nextChannel(client);
    visit(t, given).pause();
    const { channel } = await stalled;
    let sent = 0;
    const chunk = Buffer.alloc(64 * 1024);
    const send = (): void => {
      while (sent < 64 * MIB) {
        sent += chunk.length;
        if (!channel.write(chunk)) return void channel.once('drain', send);
      }
    };
    send();
    let last = -1;
    await until('the sender to stand still', async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      const still = channel.writableLength === last && last > 0;
      last = channel.writableLength;
      return still;
    });
    const passed = sent - channel.writableLength;
    // 2 MiB stand in the gateway, the rest in the kernel's buffers of the two sockets.
    t.ok(passed < 16 * MIB, `${passed} bytes were taken`);
    t.ok((host.carried[0]?.writableLength ?? 0) <= 2 * MIB);
    t.notOk(log.has(/cut off/), 'a device that keeps to its credit is not cut off');

    const opened = nextChannel(client);
    const other = visit(t, given);
    (await opened).channel.pipe((await opened).channel);
    for (let i = 0; i < 20; i += 1) {
      other.write('ping');
      t.equal(await readBytes(other, 4), 'ping');
    }
  },
);

t.test('a device that takes nothing of one stream stops its client, and no other', async (t) => {
  const { host, port } = await startEntry(t);
  const { client, forward } = await scriptedDevice(t, port, host.add('device-a'));
  const given = await forward();
  const opening = nextChannel(client);
  const bulk = visit(t, given);
  const { channel } = await opening; // nobody reads it
  let sent = 0;
  const chunk = Buffer.alloc(64 * 1024, 1);
  const send = (): void => {
    while (sent < 32 * MIB) {
      sent += chunk.length;
      if (!bulk.write(chunk)) return void bulk.once('drain', send);
    }
    bulk.end();
  };
  send();
  let last = -1;
  await until('the sender to stand still', async () => {
    await new Promise((resolve) => setTimeout(resolve, 300));
    const still = bulk.bytesWritten - bulk.writableLength === last;
    last = bulk.bytesWritten - bulk.writableLength;
    return still;
  });
  t.ok(last < 24 * MIB, `${last} bytes were taken`);
  const opened = nextChannel(client);
  const other = visit(t, given);
  (await opened).channel.pipe((await opened).channel);
  other.write('ping');
  t.equal(await readBytes(other, 4), 'ping');
  let received = 0;
  for await (const bytes of channel) received += (bytes as Buffer).length;
  t.equal(received, 32 * MIB, 'when it reads again all of it arrives');
});

t.test('at most 64 connections of a device at once', async (t) => {
  const { host, port } = await startEntry(t);
  const { client, forward } = await scriptedDevice(t, port, host.add('device-a'));
  const given = await forward();
  client.on('tcp connection', (_, accept) => {
    const channel = accept();
    channel.on('error', () => undefined);
    channel.resume();
    channel.once('end', () => channel.end());
  });
  const http = await forward();
  const others = Array.from({ length: 56 }, () => visit(t, http));
  await until('56 streams', () => host.sessions.get('device-a')?.facts().streams === 56);
  const web = { name: 'http', localPort: 80 };
  t.equal(
    host.sessions.get('device-a')?.refusal(web),
    'the device has 56 connections open',
    'the rest is kept for ssh',
  );
  const sockets = [...Array.from({ length: 8 }, () => visit(t, given)), ...others];
  await until('64 streams', () => host.sessions.get('device-a')?.facts().streams === 64);
  const service = { name: 'ssh', localPort: 22 };
  t.equal(host.sessions.get('device-a')?.refusal(service), 'the device has 64 connections open');
  const [error] = await once(visit(t, given), 'error').catch((error: unknown) => [error]);
  t.match(error, { code: 'ECONNRESET' });
  sockets[0]?.destroy();
  await until('room', () => host.sessions.get('device-a')?.refusal(service) === null);
});

t.test('why a connection could not be carried', async (t) => {
  const { host, port } = await startEntry(t);
  const { forward } = await scriptedDevice(t, port, host.add('device-a'));
  await forward();
  const session = host.sessions.get('device-a');
  t.equal(session?.refusal({ name: 'ssh', localPort: 22 }), null);
  t.equal(session?.refusal({ name: 'http', localPort: 80 }), 'the device does not forward http');
  session?.end('operator_disconnect');
  t.equal(session?.refusal({ name: 'ssh', localPort: 22 }), 'the session is over');
});

t.test('a drain opens nothing more, lets what is open finish, and then ends the session', async (t) => {
  const { host, port } = await startEntry(t);
  const idle = await scriptedDevice(t, port, host.add('idle'));
  const busy = await scriptedDevice(t, port, host.add('busy'));
  await idle.forward();
  const given = await busy.forward();
  const opened = nextChannel(busy.client);
  const socket = visit(t, given);
  const { channel } = await opened;
  for (const session of host.sessions.values()) session.drain({ minMs: 0, maxMs: 0 });
  await idle.closed;
  await until('its end', () => host.events.includes('ended idle: shutdown'));
  await t.rejects(busy.forward(), 'no further forward');
  t.equal(host.sessions.get('busy')?.refusal({ name: 'ssh', localPort: 22 }), 'the gateway is about to stop');
  socket.write('still');
  t.equal(await readBytes(channel, 5), 'still');
  channel.end('bye');
  socket.resume();
  socket.end();
  await busy.closed;
  await until('its end', () => host.events.includes('ended busy: shutdown'));
});

t.test('the end of a session is the end of its connections, as a reset', async (t) => {
  const { host, port } = await startEntry(t);
  for (const end of ['gateway', 'device'] as const) {
    const { client, forward, closed } = await scriptedDevice(t, port, host.add(end));
    const given = await forward();
    const opened = nextChannel(client);
    const [open, waiting] = [visit(t, given), visit(t, given)];
    await opened;
    const resets = [open, waiting].map((socket) => once(socket, 'error').catch((error: unknown) => [error]));
    const fromMs = performance.now();
    if (end === 'device') client.destroy();
    else host.sessions.get(end)?.end('operator_disconnect');
    for (const [error] of await Promise.all(resets)) t.match(error, { code: 'ECONNRESET' }, `by the ${end}`);
    await closed;
    t.ok(performance.now() - fromMs < 2_000);
  }
  await until('both ends', () => host.events.filter((event) => event.startsWith('ended')).length === 2);
  t.ok(host.events.includes('ended gateway: operator_disconnect'));
  t.ok(host.events.includes('ended device: connection_closed'));
});

t.test('answers keep the order of the requests, also when the first takes longer', async (t) => {
  const { host, port } = await startEntry(t);
  const { forward } = await scriptedDevice(t, port, host.add('device-a'));
  let goOn = () => {};
  host.forwarding = ({ name }) => (name === 'ssh' ? new Promise((resolve) => (goOn = resolve)) : Promise.resolve());
  const both = Promise.all([forward(), forward()]);
  await until('the second', () => host.ports.has('device-a http'));
  goOn();
  t.strictSame(await both, [host.ports.get('device-a ssh'), host.ports.get('device-a http')]);
});

t.test('a forward that fails is refused, and those behind it still mean what they meant', async (t) => {
  const { host, port, log } = await startEntry(t);
  const { forward } = await scriptedDevice(t, port, host.add('device-a'));
  host.forwarding = ({ name }) => (name === 'ssh' ? Promise.reject(new Error('no port is free')) : Promise.resolve());
  await t.rejects(forward(), /Unable to bind/);
  t.equal(await forward(), host.ports.get('device-a http'));
  t.ok(log.has(/no port is free/));
});

t.test(
  'a port by number that another program has taken meanwhile is refused, since the service has another now',
  async (t) => {
    const { host, port, log } = await startEntry(t);
    const { client, forward } = await scriptedDevice(t, port, host.add('device-a'));
    host.assignedPort = (_, service) => (service === 'ssh' ? 40_000 : null);
    const cancelled: string[] = [];
    host.cancelForward = (_, { name }) => void cancelled.push(name);
    await t.rejects(new Promise((_, reject) => client.forwardIn('localhost', 40_000, (error) => reject(error))));
    t.strictSame(cancelled, ['ssh']);
    t.ok(log.has(/gateway.port-taken.*port 40000 is taken by another program; ssh has port/));
    t.equal(await forward(), host.ports.get('device-a http'), 'its place in the order is gone');
  },
);
