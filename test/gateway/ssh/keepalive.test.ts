import { once } from 'node:events';
import { connect } from 'node:net';
import type { Client } from 'ssh2';
import t from 'tap';
import { FakeClock } from '../../support/fake-clock.ts';
import { requires } from '../../support/requires.ts';
import { startEcho } from '../../support/tcp-services.ts';
import { until } from '../../support/until.ts';
import { remotes, scriptedDevice, startSsh } from './client.ts';
import { startEntry } from './support.ts';

/** What a client of ssh2 is asked, and answers by itself as OpenSSH does: with a refusal. */
const asked = (client: Client) => {
  const { _protocol } = client as unknown as {
    _protocol: { _handlers: { GLOBAL_REQUEST: (...args: unknown[]) => void } };
  };
  const requests: string[] = [];
  const { GLOBAL_REQUEST } = _protocol._handlers;
  _protocol._handlers.GLOBAL_REQUEST = (...args: unknown[]) => {
    requests.push(String(args[1]));
    GLOBAL_REQUEST(...args);
  };
  return requests;
};

t.test('every 30 s each device is asked for a sign of life, and any answer will do', async (t) => {
  const clock = new FakeClock();
  const { host, port } = await startEntry(t, { clock });
  const { client } = await scriptedDevice(t, port, host.add('device-a'));
  const requests = asked(client);
  await until('it to be online', () => host.sessions.has('device-a'));
  for (let round = 1; round <= 20; round += 1) {
    clock.advance(15_000);
    await until('the question', () => requests.length >= Math.ceil(round / 2));
    await new Promise((resolve) => setTimeout(resolve, 20)); // the answer is on its way
  }
  t.strictSame(requests, Array(10).fill('keepalive@openssh.com'), 'ten in five minutes');
  t.ok(host.sessions.has('device-a'));
});

t.test('a device that does not answer is gone within 45 s, and one timer is all that a session costs', async (t) => {
  const clock = new FakeClock();
  const { host, port } = await startEntry(t, { clock });
  const { client, closed } = await scriptedDevice(t, port, host.add('device-a'));
  await until('it to be online', () => host.sessions.has('device-a'));
  t.equal(clock.pending, 1);
  const { _sock } = client as unknown as { _sock: { pause(): void; resume(): void } };
  clock.advance(15_000); // just asked, and answered
  await new Promise((resolve) => setTimeout(resolve, 50));
  _sock.pause();
  clock.advance(44_900);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.ok(host.sessions.has('device-a'), 'not before');
  clock.advance(200);
  clock.advance(1_100); // the time for the goodbye
  await until('its end', () => host.events.includes('ended device-a: keepalive_timeout'));
  _sock.resume();
  await closed;
  t.equal(clock.pending, 0);
});

t.test(
  'a real client that was stopped (SIGSTOP) loses its place, and another can take its ports',
  requires('ssh'),
  async (t) => {
    const { host, port } = await startEntry(t, { keepalive: { intervalMs: 1_000, timeoutMs: 500 } });
    const echo = await startEcho();
    t.teardown(() => echo.close());
    const token = host.add('device-a');
    const ssh = startSsh(t, port, token, ['-N', ...remotes(echo.port)]);
    const ports = await ssh.ports(1);
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    t.ok(host.sessions.has('device-a'), 'as long as it answers it stays');
    ssh.child.kill('SIGSTOP');
    const fromMs = performance.now();
    await until('its end', () => host.events.includes('ended device-a: keepalive_timeout'));
    t.ok(performance.now() - fromMs < 4_000);
    const socket = connect(ports[0] ?? 0, '127.0.0.1');
    const [{ code }] = await once(socket, 'error').catch((error: unknown) => [error as { code: string }]);
    t.equal(code, 'ECONNREFUSED', 'nothing listens that leads nowhere');
    t.strictSame(await startSsh(t, port, token, ['-N', ...remotes(echo.port)]).ports(1), ports);
    ssh.child.kill('SIGCONT');
    t.equal(await ssh.end, 255);
  },
);

t.test('a slow answer of ours is no silence of the device', async (t) => {
  const clock = new FakeClock();
  const { host, port } = await startEntry(t, { clock });
  const { forward } = await scriptedDevice(t, port, host.add('device-a'));
  let goOn = () => {};
  host.forwarding = () => new Promise((resolve) => (goOn = resolve));
  const given = forward();
  await until('the request', () => goOn.length === 0 && host.sessions.has('device-a'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  clock.advance(60_000);
  goOn();
  t.equal(await given, host.ports.get('device-a ssh'));
});
