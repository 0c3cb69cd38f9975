import t from 'tap';
import { requires } from '../support/requires.ts';
import { expectCause, expectHealthy, LAN_PEER, machine, NEEDS_MACHINE } from './machine.ts';
import { gatewayInLan, reconfigure, untilTunnel } from './proxy-bench.ts';

t.test('a device with an SSH gateway', requires(...NEEDS_MACHINE, 'ssh'), async (t) => {
  const device = await machine(t);
  await device.sshd();
  const gateway = await gatewayInLan(t, device);
  const { devicekey: key } = (await gateway.json('device', 'add')) as { devicekey: string };
  const tokenOf = async (command: string) => ((await gateway.json('token', command, key)) as { token: string }).token;
  const token = await tokenOf('show');
  const { hostKey, ports } = gateway;
  const config = (ssh: object = {}) => ({
    transport: 'ssh',
    ssh: { host: LAN_PEER, port: ports.ssh, token, hostKey, forwards: { ssh: 22, http: 80 }, ...ssh },
    mdns: { enabled: false },
    reconnect: { minSeconds: 0.2, maxSeconds: 1 },
  });
  const change = (ssh: object = {}) => reconfigure(device, config(ssh));
  const failsWith = (code: string) => untilTunnel(device, ({ lastFailure }) => lastFailure?.code === code);
  await device.configure(config());
  let service = await device.service();

  await t.test('while the session stands it is never touched', async (t) => {
    const before = await untilTunnel(device, ({ state }) => state === 'up');
    const events = await gateway.events(key);
    const found = await device.diagnose();
    expectHealthy(t, found);
    t.match(found.check('proxy.handshake').evidence, /holds a session.*\(ssh\).*nothing was dialled/);
    const after = await untilTunnel(device, ({ state }) => state === 'up');
    t.equal(after.sessions, before.sessions);
    t.ok(after.inStateMs > before.inStateMs);
    t.strictSame(await gateway.events(key), events);
  });

  await t.test('with --dial the session is replaced, and comes back', async (t) => {
    const before = await untilTunnel(device, ({ state }) => state === 'up');
    const found = await device.diagnose(['--dial']);
    t.equal(found.report.cause, null);
    t.match(found.check('proxy.handshake').evidence, /dialled .*: accepted \(ssh\)/);
    await untilTunnel(device, ({ state, sessions }) => state === 'up' && sessions > before.sessions);
  });

  await t.test('the tunnel does not forward ssh', async (t) => {
    await device.configure(config({ forwards: { http: 80 } }));
    expectCause(t, await device.diagnose(), 'tunnel.target', /may not open an SSH server: ZEROFORCE_SSH_FORWARDS/);
  });

  await t.test('it asks for more forwards than the gateway has services', async (t) => {
    await service.stop(); // the new configuration would wait for the end of the session
    await device.configure(config({ forwards: { ssh: 22, http: 80, more: 81 } }));
    service = await device.service();
    await failsWith('ssh.forward-refused');
    expectCause(t, await device.diagnose(), 'proxy.handshake', /refuses to listen/);
  });

  await t.test('the gateway shows another host key', async (t) => {
    await change({ hostKey: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO9N5NQ8pXkUQ9JcEtmNTBvX6QH3vXo9cXhbQb3XoKfM' });
    await failsWith('ssh.host-key-changed');
    expectCause(t, await device.diagnose(), 'proxy.handshake', /another host key/);
  });

  await t.test('what answers is not SSH', async (t) => {
    await change({ port: ports.agent });
    await untilTunnel(device, ({ state, lastFailure }) => state !== 'up' && lastFailure !== null);
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.handshake');
  });

  await t.test('nothing listens there', async (t) => {
    await change({ port: 9 });
    await failsWith('ssh.refused');
    expectCause(t, await device.diagnose(), 'proxy.connect', /Nothing listens at 192\.168\.77\.1:9/);
  });

  await t.test('the ssh program is missing', async (t) => {
    await change({ program: '/usr/bin/no-ssh' });
    await failsWith('ssh.missing');
    expectCause(t, await device.diagnose(), 'proxy.connect', /needs the OpenSSH client/);
  });

  await t.test('the token was changed at the gateway', async (t) => {
    await change();
    await untilTunnel(device, ({ state }) => state === 'up');
    await tokenOf('rotate');
    await failsWith('ssh.auth-refused');
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.handshake', /does not accept the token/);
    t.notMatch(JSON.stringify(found.report), token);
  });

  await t.test('the service does not run, and a dial writes nothing of its', async (t) => {
    await service.stop();
    await device.configure(config({ token: await tokenOf('show'), hostKey: '', trustFirst: true }));
    const before = await device.sh('ls -R /var/lib/zeroforce /run/zeroforce 2>&1 || true');
    const found = await device.diagnose();
    expectCause(t, found, 'service.running');
    t.match(found.check('proxy.handshake'), { status: 'ok', evidence: /accepted \(ssh\)/ });
    t.strictSame(await device.sh('ls -R /var/lib/zeroforce /run/zeroforce 2>&1 || true'), before);
  });
});
