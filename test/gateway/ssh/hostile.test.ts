import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import ssh2, { type Client } from 'ssh2';
import t, { type Test } from 'tap';
import { FakeClock } from '../../support/fake-clock.ts';
import { until } from '../../support/until.ts';
import { nextChannel, scriptedDevice, visit } from './client.ts';
import { newToken, startEntry, type TestEntry } from './support.ts';

const MIB = 1024 * 1024;

/** What a client of ssh2 keeps to itself, and a hostile one needs. */
interface Inner {
  _sock: Socket;
  _protocol: {
    rekey(): void;
    _handlers: { CHANNEL_OPEN: (protocol: unknown, info: { sender: number }) => void };
    _cipher: { encrypt(packet: Buffer): void };
    _packetRW: { write: { allocStart: number; alloc(length: number): Buffer; finalize(packet: Buffer): Buffer } };
  };
}
const inner = (client: Client) => client as unknown as Inner;

/** Sends a message as it is, against all rules. */
function send(client: Client, message: Buffer): void {
  const { _cipher, _packetRW } = inner(client)._protocol;
  const packet = _packetRW.write.alloc(message.length);
  message.copy(packet, _packetRW.write.allocStart);
  _cipher.encrypt(_packetRW.write.finalize(packet));
}

const u32 = (...values: number[]) => {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index);
  return bytes;
};
const text = (value: string) => Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(value)]);
const message = (type: number, ...parts: Buffer[]) => Buffer.concat([Buffer.from([type]), ...parts]);
const data = (channel: number, bytes: Buffer) => message(94, u32(channel, bytes.length), bytes);

/** The number that the gateway gave to the channel that it opens next; the device confirms with these of its own. */
function confirm(client: Client, window: number, packetSize: number): Promise<number> {
  return new Promise((resolve) => {
    inner(client)._protocol._handlers.CHANNEL_OPEN = (_, { sender }) => {
      send(client, message(91, u32(sender, 7, window, packetSize)));
      resolve(sender);
    };
  });
}

/** That a new device gets in, and one of its connections through. */
async function works(t: Test, { host, port }: TestEntry): Promise<void> {
  const { client, forward } = await scriptedDevice(t, port, host.add(`well-behaved-${randomBytes(4).toString('hex')}`));
  const given = await forward();
  const opened = nextChannel(client);
  const socket = visit(t, given);
  (await opened).channel.end('works');
  const [answer] = await once(socket, 'data');
  t.equal(String(answer), 'works');
  client.destroy();
}

/** The end, by whatever: a client that was not reading when the reset came may take it for an end (libuv before 1.51). */
const gone = (socket: Socket) =>
  new Promise<void>((resolve) => {
    for (const event of ['end', 'error', 'close']) socket.once(event, () => resolve());
  });

/** Writes as much as is taken, and gives what was taken until nothing moved any more. */
async function pour(socket: Socket, bytes: number): Promise<number> {
  const chunk = Buffer.alloc(64 * 1024, 1);
  let sent = 0;
  const write = (): void => {
    while (sent < bytes) {
      sent += chunk.length;
      if (!socket.write(chunk)) return void socket.once('drain', write);
    }
  };
  write();
  let last = -1;
  await until('it to stand still', async () => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const taken = socket.bytesWritten - socket.writableLength;
    const still = taken === last;
    last = taken;
    return still;
  });
  return last;
}

t.test('a device that sends more than it was given credit for: its stream is cut off, the others go on', async (t) => {
  const entry = await startEntry(t);
  const { client, forward } = await scriptedDevice(t, entry.port, entry.host.add('device-a'));
  const given = await forward();
  const opening = nextChannel(client);
  const socket = visit(t, given);
  socket.pause(); // what arrives stays in the gateway
  const { channel } = await opening;
  const cut = gone(socket);
  const { id } = (channel as unknown as { outgoing: { id: number } }).outgoing;
  for (let i = 0; i < 1_500; i += 1) send(client, data(id, Buffer.alloc(32_000)));
  await until('the cut', () => entry.log.has(/more than it was given credit for/));
  socket.resume();
  await cut;
  const opened = nextChannel(client);
  const next = visit(t, given);
  (await opened).channel.end('still here');
  t.equal(String((await once(next, 'data'))[0]), 'still here');
});

t.test('small pieces for a client that does not read are put together, not queued one by one', async (t) => {
  const { host, port } = await startEntry(t);
  const { client, forward } = await scriptedDevice(t, port, host.add('device-a'));
  const given = await forward();
  const opening = nextChannel(client);
  const socket = visit(t, given);
  socket.pause();
  const { channel } = await opening;
  const { id } = (channel as unknown as { outgoing: { id: number } }).outgoing;
  const [near] = host.carried as [Socket];
  let bytes = 0;
  while (near.writableLength === 0) {
    channel.write(Buffer.alloc(64 * 1024, 'x'));
    bytes += 64 * 1024;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await until('all of it to be there', () => channel.writableLength === 0);
  const writes = { count: 0 };
  const { write } = near;
  near.write = ((...args: Parameters<typeof write>) => {
    writes.count += 1;
    return write.apply(near, args);
  }) as typeof write;
  for (let i = 0; i < 5_000; i += 1) send(client, data(id, Buffer.from('y')));
  let received = 0;
  let small = '';
  await new Promise((resolve) => setTimeout(resolve, 300)); // for the gateway to have them
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
    small = (small + String(chunk)).slice(-6_000);
  });
  socket.resume();
  await until('all of it', () => received === bytes + 5_000);
  t.equal(small.slice(-5_000), 'y'.repeat(5_000), 'in order');
  t.ok(writes.count < 500, `${writes.count} writes`);
});

t.test('a device that takes no bytes in a packet, or a few only, does not make us work for it', async (t) => {
  const entry = await startEntry(t);
  for (const packetSize of [0, 1, 1023]) {
    const { client, forward } = await scriptedDevice(t, entry.port, entry.host.add(`takes-${packetSize}`));
    const given = await forward();
    const confirmed = confirm(client, 2 ** 32 - 1, packetSize);
    const socket = visit(t, given);
    socket.write('hello');
    const cut = gone(socket);
    await confirmed;
    await cut;
  }
  t.ok(entry.log.has(/packets of a few bytes only/));
  await works(t, entry);
});

t.test('a device that gives endless credit and reads nothing: its public client has to wait', async (t) => {
  const entry = await startEntry(t);
  const { client, forward } = await scriptedDevice(t, entry.port, entry.host.add('device-a'));
  const given = await forward();
  const confirmed = confirm(client, 2 ** 32 - 1, 32_768);
  const socket = visit(t, given);
  const channel = await confirmed;
  for (let i = 0; i < 5; i += 1) send(client, message(93, u32(channel, 2 ** 32 - 1)));
  inner(client)._sock.pause();
  const taken = await pour(socket, 128 * MIB);
  t.ok(taken < 32 * MIB, `${taken} bytes were taken, most by the kernel`);
  await works(t, entry);
});

t.test('a device that begins to change keys and does not go on with it: its public client has to wait', async (t) => {
  const entry = await startEntry(t);
  const { client, forward } = await scriptedDevice(t, entry.port, entry.host.add('device-a'));
  const given = await forward();
  const confirmed = confirm(client, 2 ** 32 - 1, 32_768);
  const socket = visit(t, given);
  await confirmed;
  inner(client)._protocol.rekey();
  inner(client)._sock.pause();
  await new Promise((resolve) => setTimeout(resolve, 100)); // ours answers, and waits for the next step
  const taken = await pour(socket, 128 * MIB);
  t.ok(taken < 16 * MIB, `${taken} bytes were taken, most by the kernel`);
  inner(client)._sock.resume();
  await until('the rest', () => socket.writableLength === 0, 60_000);
});

t.test('a device that answers no opens is sent away in the end', async (t) => {
  const clock = new FakeClock();
  const entry = await startEntry(t, { clock });
  const { client, forward, closed } = await scriptedDevice(t, entry.port, entry.host.add('device-a'));
  const given = await forward();
  inner(client)._protocol._handlers.CHANNEL_OPEN = () => undefined;
  let over = false;
  void closed.then(() => (over = true));
  for (let round = 1; round <= 9 && !over; round += 1) {
    const sockets = Array.from({ length: 64 }, () => visit(t, given));
    await until('all of them', () => over || entry.host.carried.length >= round * 64);
    clock.advance(10_000);
    await until('their end', () => sockets.every(({ closed }) => closed));
  }
  await until('the end', () => entry.host.events.some((event) => /connection_error \(it answers no opens/.test(event)));
  await works(t, entry);
});

t.test('messages that make no sense end at most the session that sent them', async (t) => {
  const entry = await startEntry(t);
  const far = 2 ** 32 - 1;
  const cases: Record<string, (channel: number) => Buffer[]> = {
    'data for a channel that is not there': () => [data(99, Buffer.from('x'))],
    'data for the last channel that there can be': () => [data(far, Buffer.from('x'))],
    'data after the end': (id) => [message(96, u32(id)), data(id, Buffer.from('x'))],
    'data after the close': (id) => [message(97, u32(id)), data(id, Buffer.from('x'))],
    'the end twice': (id) => [message(96, u32(id)), message(96, u32(id))],
    'the close twice': (id) => [message(97, u32(id)), message(97, u32(id))],
    'extended data': (id) => [message(95, u32(id, 1), text('x'))],
    'a confirmation of an open channel': (id) => [message(91, u32(id, 7, 1, 1))],
    'a confirmation of none': () => [message(91, u32(3, 7, 1, 1)), message(91, u32(far, 7, 1, 1))],
    'a failure of an open channel': (id) => [message(92, u32(id, 1), text('no'), text(''))],
    'credit without end': (id) => Array.from({ length: 9 }, () => message(93, u32(id, far))),
    'requests on our channel': (id) => [message(98, u32(id), text('exec'), Buffer.from([1]), text('id'))],
    'requests that are cut off': (id) => [message(98, u32(id), text('pty-req'), Buffer.from([1]))],
    'answers to nothing': (id) => [message(99, u32(id)), message(100, u32(id)), message(81), message(82)],
    'a forward that is cut off': () => [message(80, text('tcpip-forward'), Buffer.from([1]), text('localhost'))],
    'a forward at a port beyond all': () => [message(80, text('tcpip-forward'), Buffer.from([1]), text(''), u32(far))],
    'a cancel of nothing': () => [message(80, text('cancel-tcpip-forward'), Buffer.from([1]), text(''), u32(1))],
    'forwards without an answer': () => [message(80, text('tcpip-forward'), Buffer.from([0]), text('a'), u32(0))],
    'a socket on the gateway': () => [
      message(80, text('streamlocal-forward@openssh.com'), Buffer.from([1]), text('/x')),
    ],
    'no more sessions, with an answer': () => [message(80, text('no-more-sessions@openssh.com'), Buffer.from([1]))],
    'an unknown request': () => [message(80, text('x'.repeat(30_000)), Buffer.from([1]))],
    'an empty request': () => [message(80)],
    'a session after no more': () => [
      message(80, text('no-more-sessions@openssh.com'), Buffer.from([0])),
      message(90, text('session'), u32(1, 1, 1)),
    ],
    'channels of every kind': () =>
      ['session', 'x11', 'auth-agent@openssh.com', 'tun@openssh.com', ''].map((kind) =>
        message(90, text(kind), u32(1, 1, 1)),
      ),
    'authentication again': () => [message(50, text('x'), text('ssh-connection'), text('none'))],
    'the service again': () => [message(5, text('ssh-userauth'))],
    'answers of a keyboard': () => [message(61, u32(far))],
    'messages for clients': () => [message(51, text('none'), Buffer.from([0])), message(52), message(53), message(60)],
    'a key exchange of nonsense': () => [message(20, randomBytes(40))],
    'new keys from nowhere': () => [message(21)],
    'steps of a key exchange': () => [message(30, text('x')), message(31), message(34)],
    'unknown messages': () => [message(0), message(63), message(127), message(192), message(255)],
    'a goodbye in bad words': () => [message(1, u32(2), text('\u001b[31m\n\u0000')), message(1)],
  };
  for (const [what, messages] of Object.entries(cases)) {
    const key = `device-${what}`;
    const { client, forward } = await scriptedDevice(t, entry.port, entry.host.add(key));
    const given = await forward();
    const opened = nextChannel(client);
    const socket = visit(t, given);
    const { channel } = await opened;
    socket.write('x');
    const { id } = (channel as unknown as { outgoing: { id: number } }).outgoing;
    for (const one of messages(id)) send(client, one);
    send(client, message(80, text('are-you-there'), Buffer.from([1])));
    socket.write('y');
    await new Promise((resolve) => setTimeout(resolve, 30));
    client.destroy();
    await until('its end', () => entry.host.events.some((event) => event.startsWith(`ended ${key}: connection_`)));
  }
  await works(t, entry);
  t.notMatch(entry.host.events.join(''), /[\u0000-\u001f]/, 'nothing unsafe is kept');
});

t.test('random messages, after authentication', async (t) => {
  const entry = await startEntry(t);
  for (let round = 0; round < 40; round += 1) {
    const { client, forward, closed } = await scriptedDevice(t, entry.port, entry.host.add(`fuzz-${round}`));
    const given = await forward();
    client.on('tcp connection', (_, accept) => void accept().on('error', () => undefined));
    visit(t, given).write('x');
    for (let i = 0; i < 30; i += 1) {
      const type = Math.floor(Math.random() * 130);
      const head = Math.random() < 0.5 ? u32(Math.floor(Math.random() * 3)) : Buffer.alloc(0);
      if (type !== 20) send(client, message(type, head, randomBytes(Math.floor(Math.random() * 60))));
    }
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 20))]);
    client.destroy();
  }
  await until('all of them to be gone', () => entry.host.sessions.size === 0);
  await works(t, entry);
});

t.test('strangers with nonsense, before authentication', async (t) => {
  const entry = await startEntry(t, { handshakeTimeoutMs: 400 });
  const ident = 'SSH-2.0-x\r\n';
  const packet = (payload: Buffer) => {
    const padding = 8 - ((payload.length + 5) % 8) + 8;
    return Buffer.concat([u32(payload.length + padding + 1), Buffer.from([padding]), payload, Buffer.alloc(padding)]);
  };
  const kexinit = (lists: string[]) => packet(message(20, randomBytes(16), ...lists.map(text), Buffer.alloc(5)));
  const good = ['curve25519-sha256', 'ssh-ed25519', 'aes128-ctr', 'aes128-ctr', 'hmac-sha2-256', 'hmac-sha2-256'];
  const cases: Record<string, (string | Buffer)[]> = {
    nothing: [],
    'half a greeting': ['SSH-2.0'],
    HTTP: ['GET / HTTP/1.1\r\n\r\n'],
    TLS: [Buffer.from('160301020001000001fc0303', 'hex'), randomBytes(200)],
    'a greeting without end': ['SSH-2.0-', 'x'.repeat(200_000)],
    'an old version': ['SSH-1.5-x\r\n'],
    'random bytes after the greeting': [ident, randomBytes(5_000)],
    'a packet of 4 GiB': [ident, u32(2 ** 32 - 1), randomBytes(100)],
    'a packet of nothing': [ident, u32(0), randomBytes(100)],
    'many packets that are to be ignored': [
      ident,
      ...Array.from({ length: 4_000 }, () => packet(message(2, text('x'.repeat(50))))),
    ],
    'a key exchange of nothing': [ident, kexinit(Array(10).fill(''))],
    'nothing in common': [ident, kexinit(['a', 'b', 'c', 'd', 'e', 'f', 'none', 'none', '', ''])],
    'lists that are too short': [ident, packet(message(20, randomBytes(16), text('a')))],
    'a key exchange that stops': [ident, kexinit([...good, 'none', 'none', '', ''])],
    'a point that is none': [ident, kexinit([...good, 'none', 'none', '', '']), packet(message(30, text('short')))],
    'a point of zeros': [
      ident,
      kexinit([...good, 'none', 'none', '', '']),
      packet(message(30, u32(32), Buffer.alloc(32))),
    ],
    'authentication before the keys': [ident, packet(message(50, text('a'), text('ssh-connection'), text('none')))],
  };
  await Promise.all(
    Object.entries(cases).map(async ([what, pieces]) => {
      const socket = connect(entry.port, '127.0.0.1');
      socket.on('error', () => undefined);
      const gone = new Promise((resolve) => socket.once('close', resolve));
      socket.resume();
      for (const piece of pieces) socket.write(piece);
      await gone;
      t.pass(what);
    }),
  );
  await until('every place to be free', () => entry.host.pending === 0);
  t.strictSame(entry.host.claims, [], 'none of them came as far as a token');
  t.ok(entry.host.events.filter((event) => event.startsWith('rejected: ')).length >= 14);
  t.notMatch(entry.host.events.join(''), /[\u0000-\u001f]/, 'nothing unsafe is kept');
  const calm = await startEntry(t);
  await works(t, calm);
});

t.test('while an answer is due nothing more is read: a flood of requests waits in front of the gateway', async (t) => {
  const { host, port } = await startEntry(t);
  const { client, forward } = await scriptedDevice(t, port, host.add('device-a'));
  let goOn = () => {};
  host.forwarding = () => new Promise((resolve) => (goOn = resolve));
  const given = forward();
  const flood = message(80, text('x'.repeat(30_000)), Buffer.from([1]));
  for (let i = 0; i < 1_000; i += 1) send(client, flood);
  const { _sock } = inner(client);
  let last = -1;
  await until('it to stand still', async () => {
    await new Promise((resolve) => setTimeout(resolve, 300));
    const still = _sock.writableLength === last;
    last = _sock.writableLength;
    return still;
  });
  t.ok(last > 10 * MIB, `${last} bytes of 30 million wait`);
  goOn();
  t.equal(await given, host.ports.get('device-a ssh'));
  await until('the rest to be read', () => _sock.writableLength === 0);
});

t.test('a stranger that changes keys again and again, which costs us more than it', async (t) => {
  const { host, port } = await startEntry(t);
  const client = new ssh2.Client();
  client.on('error', () => undefined);
  client.once('handshake', () => inner(client)._protocol.rekey());
  const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
  client.connect({ host: '127.0.0.1', port, username: newToken(), authHandler: () => undefined });
  await closed;
  t.strictSame(host.events, ['rejected: it changes keys before it authenticates']);
});
