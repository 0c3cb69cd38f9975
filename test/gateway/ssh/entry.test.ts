import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import type { Place } from '../../../src/gateway/entry.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { until } from '../../support/until.ts';
import { scriptedDevice } from './client.ts';
import { newToken, startEntry, startGateway } from './support.ts';

const GREETING = 'SSH-2.0-zeroforce\r\n';

/** A raw connection, with what it was told and whether it is over. */
function knock(t: Test, port: number, host = '127.0.0.1'): { socket: Socket; said(): string; closed: Promise<void> } {
  const socket = connect(port, host);
  t.teardown(() => socket.destroy());
  let said = '';
  socket.on('error', () => undefined);
  socket.on('data', (bytes: Buffer) => {
    said += bytes.toString('latin1');
  });
  return { socket, said: () => said, closed: new Promise((resolve) => socket.once('close', () => resolve())) };
}

t.test('AC: it listens where it was told to, and says so when it cannot', async (t) => {
  const { entry, port } = await startEntry(t);
  t.strictSame(entry.address(), { host: '127.0.0.1', port });
  const { socket, said } = knock(t, port);
  await until('the greeting', () => said().startsWith(GREETING));
  socket.destroy();
  await t.rejects(startEntry(t, { listen: { host: '127.0.0.1', port } }), {
    code: 'gateway.cannot-listen',
    message: new RegExp(`127.0.0.1:${port}: EADDRINUSE`),
  });
});

t.test('on all addresses it knows an IPv4 client by its own address', async (t) => {
  const { host, port } = await startEntry(t, { listen: { host: '::', port: 0 } });
  await scriptedDevice(t, port, host.add('device-a'));
  await until('it to be online', () => host.sessions.has('device-a'));
  t.equal(host.sessions.get('device-a')?.address, '127.0.0.1');
});

t.test('nothing is said to a connection before it has a place, and what it says meanwhile is not lost', async (t) => {
  const { host, port } = await startEntry(t);
  let admit = (_: Place | null) => {};
  host.admitting = () => new Promise((resolve) => (admit = resolve));
  let left = 0;
  const { socket, said } = knock(t, port);
  socket.write('SSH-2.0-impatient\r\n');
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(said(), '');
  admit({ leave: () => (left += 1) });
  await until('the greeting and the first step', () => said().startsWith(GREETING) && said().length > 100);
  socket.destroy();
  await until('its place to be free', () => left > 0);
});

t.test('a connection without a place is closed without a word', async (t) => {
  const { host, port } = await startEntry(t);
  host.admitting = async () => null;
  const { said, closed } = knock(t, port);
  await closed;
  t.equal(said(), '');
  host.admitting = () => Promise.reject(new Error('out of order'));
  await knock(t, port).closed;
});

t.test('who leaves while waiting is told of, also after its first words; who floods is cut off', async (t) => {
  const { host, port } = await startEntry(t);
  const signals: AbortSignal[] = [];
  host.admitting = (signal) =>
    new Promise((resolve) => {
      signals.push(signal);
      signal.addEventListener('abort', () => resolve(null));
    });
  const { socket } = knock(t, port);
  socket.write('SSH-2.0-x\r\n');
  await until('it to wait', () => signals.length === 1);
  t.notOk(signals[0]?.aborted);
  socket.end();
  await until('the news', () => signals[0]?.aborted);
  const flood = knock(t, port);
  flood.socket.write(Buffer.alloc(1_000_000));
  await flood.closed;
  await until('the news', () => signals[1]?.aborted);
});

t.test('a place is free again when authentication ends, however long the session lasts', async (t) => {
  const { host, port } = await startEntry(t);
  const { client, closed } = await scriptedDevice(t, port, host.add('device-a'));
  await until('it to be online', () => host.sessions.has('device-a'));
  t.equal(host.pending, 0);
  client.end();
  await closed;
  t.equal(host.pending, 0);
  const refused = scriptedDevice(t, port, newToken());
  await t.rejects(refused, /authentication/);
  await until('its place to be free', () => host.pending === 0);
});

t.test('who does not authenticate in time is closed, and it is kept why', async (t) => {
  const clock = new FakeClock();
  const { host, port } = await startEntry(t, { clock });
  const quiet = knock(t, port);
  const slow = knock(t, port);
  slow.socket.write('SSH-2.0-slow\r\n');
  await until('both to be there', () => host.pending === 2);
  await until('the greeting', () => slow.said().length > 100 && quiet.said() === GREETING);
  clock.advance(9_900);
  t.equal(host.pending, 2);
  clock.advance(200);
  await Promise.all([quiet.closed, slow.closed]);
  t.strictSame(host.events, Array(2).fill('rejected: it did not authenticate within 10 s'));
  t.equal(host.pending, 0);
  clock.advance(2_000);
  t.equal(clock.pending, 0);
});

t.test('who does not close after a refusal is cut off a second later', async (t) => {
  const clock = new FakeClock();
  const { host, port } = await startEntry(t, { clock });
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined);
  socket.resume();
  await until('it to be there', () => host.pending === 1);
  const ended = once(socket, 'end');
  clock.advance(10_100);
  await ended;
  t.equal(clock.pending, 1, 'its last second');
  t.equal(socket.writable, true);
  clock.advance(1_000);
  await until('a write to fail', () => socket.destroyed || !socket.write('and now?'));
});

t.test('the user is the token, whatever its shape: others are not looked up, three attempts are all', async (t) => {
  const { host, port } = await startEntry(t);
  for (const user of ['root', '', newToken().toLowerCase(), `${newToken()}A`, '../../etc/passwd']) {
    await t.rejects(scriptedDevice(t, port, user));
  }
  t.notOk(
    host.claims.some((claim) => claim !== ''),
    'nothing but an empty claim came to the host',
  );
  const wrong = newToken();
  await t.rejects(scriptedDevice(t, port, wrong));
  t.equal(host.claims.filter((claim) => claim === wrong).length, 1);
});

t.test('a session that is no longer allowed when it would begin is ended', async (t) => {
  const { host, port } = await startEntry(t);
  const token = host.add('device-a');
  host.started = () => false;
  const { closed } = await scriptedDevice(t, port, token);
  await closed;
  t.strictSame(host.events, [], 'what did not begin does not end');
});

t.test('a stop ends all of them: those that wait, newcomers, sessions', async (t) => {
  const { host, port, entry } = await startEntry(t);
  const { closed } = await scriptedDevice(t, port, host.add('device-a'));
  const newcomer = knock(t, port);
  await until('the greeting', () => newcomer.said() !== '');
  host.admitting = (signal) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(null)));
  const waiting = knock(t, port);
  await once(waiting.socket, 'connect');
  const fromMs = performance.now();
  await entry.stop();
  t.ok(performance.now() - fromMs < 2_500);
  await Promise.all([closed, newcomer.closed, waiting.closed]);
  t.ok(host.events.includes('ended device-a: shutdown'));
  const [{ code }] = await once(connect(port, '127.0.0.1'), 'error').catch((error: unknown) => [
    error as { code: string },
  ]);
  t.equal(code, 'ECONNREFUSED');
  await entry.stop();
});

t.test('a stop that was told first to accept nobody leaves the sessions until then', async (t) => {
  const { host, port, entry } = await startEntry(t);
  const { forward } = await scriptedDevice(t, port, host.add('device-a'));
  entry.stopAccepting();
  t.equal(await forward(), host.ports.get('device-a ssh'));
  const [{ code }] = await once(connect(port, '127.0.0.1'), 'error').catch((error: unknown) => [
    error as { code: string },
  ]);
  t.equal(code, 'ECONNREFUSED');
});

t.test('AC: strangers are let in at a rate, and so many at a time; known devices pass', async (t) => {
  const gateway = await startGateway(t, { config: { connectionRate: 10, maxPending: 50 } });
  const token = await gateway.add('device-a');
  const known = await scriptedDevice(t, gateway.port, token); // its address is known from now on
  known.client.end();
  await known.closed;
  const strangers = Array.from({ length: 60 }, () => {
    const socket = connect({ port: gateway.port, host: '127.0.0.1', localAddress: '127.0.0.9' });
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
    return {
      socket,
      greeted: once(socket, 'data').then(
        () => true,
        () => false,
      ),
      closed: once(socket, 'close').then(() => false),
    };
  });
  const fates = await Promise.all(strangers.map(({ greeted, closed }) => Promise.race([greeted, closed])));
  const greeted = fates.filter((fate) => fate).length;
  t.ok(greeted >= 10 && greeted <= 16, `${greeted} of 60 strangers at once`);
  await scriptedDevice(t, gateway.port, token);
  t.ok(gateway.core.sessions.current('device-a'), 'while strangers are turned away the device comes in');

  const crowded = await startGateway(t, { config: { connectionRate: 1000, maxPending: 5 } });
  const crowd = Array.from({ length: 20 }, () => knock(t, crowded.port));
  await until(
    'all to be decided',
    () => crowd.filter(({ said, socket }) => said() !== '' || socket.destroyed).length === 20,
  );
  t.equal(crowd.filter(({ said }) => said() !== '').length, 5);
});

t.test('ssh2 has the inner parts that we use', async (t) => {
  const { host, port, log } = await startEntry(t);
  const { client, closed } = await scriptedDevice(t, port, host.add('device-a'));
  const reasons: unknown[] = [];
  const { _protocol } = client as unknown as { _protocol: { _handlers: { DISCONNECT: (...args: unknown[]) => void } } };
  const { DISCONNECT } = _protocol._handlers;
  _protocol._handlers.DISCONNECT = (...args) => {
    reasons.push(args.slice(1));
    DISCONNECT(...args);
  };
  await until('it to be online', () => host.sessions.has('device-a'));
  host.sessions.get('device-a')?.end('paused_by_operator');
  await closed;
  t.strictSame(reasons, [[11, 'paused_by_operator']]);
  t.strictSame(
    log.lines.filter(({ level }) => level === 'error'),
    [],
  );
});
