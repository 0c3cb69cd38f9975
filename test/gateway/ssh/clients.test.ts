import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { device, untilStatus } from '../../device/support.ts';
import { descendants } from '../../support/processes.ts';
import { requires } from '../../support/requires.ts';
import type { Service } from '../../support/service.ts';
import { startService } from '../../support/tcp-services.ts';
import { until } from '../../support/until.ts';
import { remotes, sshArgs, startProgram, startSsh } from './client.ts';
import { newToken, startGateway, type TestGateway } from './support.ts';

// The clients that devices really run, each with all of the gateway behind the entry.

async function named(t: Test, name: string): Promise<number> {
  const service = await startService((socket) => void socket.end(name));
  t.teardown(() => service.close());
  return service.port;
}

async function read(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const answer = Buffer.concat((await socket.toArray()) as Buffer[]).toString();
  socket.destroy();
  return answer;
}

t.test(
  'autossh brings a tunnel back at the same port, when its ssh dies and when the gateway does',
  requires('autossh'),
  async (t) => {
    const gateway = await startGateway(t);
    const token = await gateway.add('device-a');
    const options = ['-o', 'ServerAliveInterval=10', '-o', 'ServerAliveCountMax=2', '-o', 'ExitOnForwardFailure=yes'];
    const args = ['-M', '0', ...sshArgs(gateway.port, token, ['-N', ...options, ...remotes(await named(t, 'sshd'))])];
    const env = { ...process.env, AUTOSSH_GATETIME: '0', AUTOSSH_POLL: '10' };
    const autossh = startProgram(t, 'autossh', args, env);
    const [port = 0] = await autossh.ports(1);
    t.equal(await read(port), 'sshd');

    const [pid = 0] = descendants(autossh.child.pid ?? 0);
    process.kill(pid, 'SIGKILL');
    t.strictSame((await autossh.ports(2)).slice(1), [port]);
    t.equal(await read(port), 'sshd');

    await gateway.restart();
    t.strictSame((await autossh.ports(3)).slice(2), [port]);
    t.equal(await read(port), 'sshd');
    await autossh.stop();
  },
);

/** The settings of a device that belongs to this gateway. */
function settings(gateway: TestGateway, token: string, forwards: Record<string, number>): Record<string, string> {
  return {
    ZEROFORCE_TRANSPORT: 'ssh',
    ZEROFORCE_SSH_HOST: '127.0.0.1',
    ZEROFORCE_SSH_PORT: String(gateway.port),
    ZEROFORCE_SSH_TOKEN: token,
    ZEROFORCE_SSH_HOST_KEY: gateway.hostKey.publicKey,
    ZEROFORCE_SSH_FORWARDS: Object.entries(forwards)
      .map(([name, port]) => `${name}=${port}`)
      .join(','),
    ZEROFORCE_RECONNECT_MIN: '0.1',
    ZEROFORCE_RECONNECT_MAX: '1',
  };
}

const up = (service: Service) => untilStatus(service, ({ tunnel }) => tunnel?.state === 'up');
const failed = (service: Service, code: string) =>
  untilStatus(service, ({ tunnel }) => tunnel?.state !== 'up' && tunnel?.lastFailure?.code === code);

t.test(
  'our device comes in with ssh, and knows its ports; what the gateway does to it, it can tell',
  requires('ssh'),
  async (t) => {
    const gateway = await startGateway(t);
    const token = await gateway.add('device-a');
    const forwards = { ssh: await named(t, 'sshd'), http: await named(t, 'httpd') };
    const service = await device(t, settings(gateway, token, forwards));
    const { tunnel } = await up(service);
    const ports = [gateway.portOf('device-a', 'ssh'), gateway.portOf('device-a', 'http')];
    t.strictSame(
      tunnel?.forwards.map(({ remotePort }) => remotePort),
      ports,
    );
    t.strictSame([await read(ports[0] ?? 0), await read(ports[1] ?? 0)], ['sshd', 'httpd']);

    const { operations } = gateway.core;
    await operations.pause('device-a', Date.now() + 3600_000);
    const refused = /refused the session: the device is paused until/;
    const paused = await untilStatus(service, ({ tunnel }) => refused.test(tunnel?.lastFailure?.sentence ?? ''));
    t.match(paused.tunnel?.lastFailure, { code: 'operator.paused', remedy: /tunnel-gateway resume KEY/ });
    await operations.resume('device-a');
    await up(service);

    await operations.tunnelToken('device-a', { rotate: true });
    await failed(service, 'ssh.auth-refused');
    t.equal(await service.stop(), 0);
    t.notMatch(service.log(), token);
  },
);

t.test(
  'our device keeps its port over a restart of the gateway, and is back within seconds',
  requires('ssh'),
  async (t) => {
    const gateway = await startGateway(t);
    const token = await gateway.add('device-a');
    const service = await device(t, settings(gateway, token, { ssh: await named(t, 'sshd') }));
    await up(service);
    const port = gateway.portOf('device-a', 'ssh');
    await gateway.restart();
    const fromMs = performance.now();
    await until('it to be back', () => gateway.core.sessions.current('device-a'));
    t.ok(performance.now() - fromMs < 10_000);
    const { tunnel } = await up(service);
    t.equal(tunnel?.forwards[0]?.remotePort, port);
    t.equal(await read(port), 'sshd');
  },
);

t.test(
  'two devices with one token: ours reads session_replaced in the goodbye, and names the cause',
  requires('ssh'),
  async (t) => {
    const gateway = await startGateway(t);
    const token = await gateway.add('device-a');
    const target = await named(t, 'sshd');
    const service = await device(t, settings(gateway, token, { ssh: target }));
    const clone = async () => {
      const ssh = startSsh(t, gateway.port, token, ['-N', ...remotes(target)]);
      await ssh.ports(1);
      return ssh;
    };
    for (let round = 0; round < 3; round += 1) {
      await up(service);
      const other = await clone();
      await untilStatus(service, ({ tunnel }) => tunnel?.state !== 'up');
      await other.stop();
    }
    const { tunnel } = await untilStatus(service, ({ tunnel }) => tunnel?.lastFailure?.code === 'identity.duplicate');
    t.equal(tunnel?.lastFailure?.code, 'identity.duplicate');
  },
);

t.test('our device is told that a token is wrong, and asks nobody for a password', requires('ssh'), async (t) => {
  const gateway = await startGateway(t);
  await gateway.add('device-a');
  const service = await device(
    t,
    settings(gateway, newToken(), { ssh: await named(t, randomBytes(4).toString('hex')) }),
  );
  const { tunnel } = await failed(service, 'ssh.auth-refused');
  t.match(tunnel?.lastFailure?.sentence, /does not accept the token \(it offers: token-as-user\)/);
});
