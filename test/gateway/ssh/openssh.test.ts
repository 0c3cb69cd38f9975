import { connect } from 'node:net';
import t from 'tap';
import { requires } from '../../support/requires.ts';
import { startEcho } from '../../support/tcp-services.ts';
import { until } from '../../support/until.ts';
import { remotes, startSsh } from './client.ts';
import { startEntry } from './support.ts';

const needs = requires('ssh');

t.test('AC: an OpenSSH client connects with TOKEN@gateway and no prompt, -R 0 gives a port', needs, async (t) => {
  const { host, port } = await startEntry(t);
  const token = host.add('device-a');
  const [echo, other] = [await startEcho(), await startEcho()];
  t.teardown(() => Promise.all([echo.close(), other.close()]));
  const ssh = startSsh(t, port, token, ['-N', ...remotes(echo.port, other.port)]);
  const [first = 0, second = 0] = await ssh.ports(2);
  t.strictSame([first, second], [host.ports.get('device-a ssh'), host.ports.get('device-a http')]);
  for (const one of [first, second]) {
    const socket = connect(one, '127.0.0.1');
    socket.end('hello');
    const [answer] = (await socket.toArray()) as Buffer[];
    t.equal(answer?.toString(), 'hello');
  }
  await ssh.stop();
  await until('the end', () => host.events.includes('ended device-a: connection_closed'));
});
