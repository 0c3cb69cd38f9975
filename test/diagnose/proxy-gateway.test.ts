import t, { type Test } from 'tap';
import { startRawProxy } from '../support/raw-proxy.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { expectCause, expectHealthy, LAN_PEER, type Machine, machine, NEEDS_MACHINE } from './machine.ts';
import { deviceConfig, gatewayInLan, type LanGateway, reconfigure, untilTunnel } from './proxy-bench.ts';

/** A quick agent, for sessions that are taken and come back. */
const QUICK = { reconnect: { minSeconds: 0.2, maxSeconds: 1 } };

interface Added {
  devicekey: string;
  token_code: string;
}

/** A run of the diagnosis that leaves the session that stands alone, as the gateway saw it. */
async function expectUntouched(t: Test, device: Machine, gateway: LanGateway, key: string): Promise<void> {
  const before = await untilTunnel(device, ({ state }) => state === 'up');
  const events = await gateway.events(key);
  const found = await device.diagnose();
  expectHealthy(t, found);
  for (const id of ['dns.proxy', 'proxy.connect', 'proxy.tls', 'proxy.handshake', 'proxy.session', 'tunnel.target']) {
    t.equal(found.check(id).status, 'ok', id);
  }
  t.match(found.check('proxy.handshake').evidence, /holds a session.*nothing was dialled/);
  const after = await untilTunnel(device, ({ state }) => state === 'up');
  t.equal(after.sessions, before.sessions, 'the same session');
  t.ok(after.inStateMs > before.inStateMs, 'it stood all the time');
  t.strictSame(await gateway.events(key), events, 'the gateway saw nothing of the diagnosis');
}

/** With --dial the session is taken, and comes back. */
async function expectReplaced(t: Test, device: Machine, gateway: LanGateway, key: string): Promise<void> {
  const before = await untilTunnel(device, ({ state }) => state === 'up');
  const events = await gateway.events(key);
  const found = await device.diagnose(['--dial']);
  t.equal(found.report.cause, null);
  t.match(found.check('proxy.handshake').evidence, /dialled .*: accepted/);
  t.equal(found.check('proxy.session').status, 'ok');
  const after = await untilTunnel(device, ({ state, sessions }) => state === 'up' && sessions > before.sessions);
  t.ok(after.sessions > before.sessions, 'the service has its session again');
  t.ok((await gateway.events(key)).length > events.length, 'the gateway saw the dial');
}

t.test('a device of our gateway', requires(...NEEDS_MACHINE, 'ssh-keyscan'), async (t) => {
  const device = await machine(t);
  await device.sshd();
  const gateway = await gatewayInLan(t, device);
  const { devicekey: key, token_code: token } = (await gateway.json('device', 'add')) as Added;
  const config = (identity: object = {}) => {
    const base = deviceConfig({ host: LAN_PEER, port: gateway.ports.agent }, QUICK);
    return { ...base, meeting: { ...base.meeting, deviceKey: key, token, ...identity } };
  };
  await device.configure(config());
  const service = await device.service();

  await t.test('while the session stands it is never touched', (t) => expectUntouched(t, device, gateway, key));

  await t.test('the public port', async (t) => {
    const { port } = (await gateway.json('open', key, 'ssh')) as { port: number };
    const events = await gateway.events(key);
    const ask = (number: number) => device.diagnose(['--public-port', `${LAN_PEER}:${number}`]);
    await t.test('leads here', async (t) => {
      const found = await ask(port);
      expectHealthy(t, found);
      t.match(found.check('public.port'), { status: 'ok', summary: /greeting and host key are the same/ });
    });
    await t.test('was never opened', async (t) => {
      expectCause(t, await ask(9), 'public.port', /Nothing listens at 192\.168\.77\.1:9/);
    });
    await t.test('resets connections, because no live device is behind it', async (t) => {
      const proxy = await startRawProxy({ mode: 'legacy' });
      t.teardown(() => proxy.close());
      const dead = await proxy.openPublicPort(22);
      const exposed = await device.expose(dead.port, 9063, LAN_PEER);
      expectCause(t, await ask(9063), 'public.port', /no live device is connected/);
      await exposed.stop();
    });
    await t.test('says nothing', async (t) => {
      const where = device.inLan.slice(device.inside.length);
      const mute = `require('node:net').createServer((s) => s.on('error', () => 0)).listen(9064, '${LAN_PEER}', () => console.log('up'))`;
      const daemon = await device.start([...where, process.execPath, '-e', mute], /up/);
      expectCause(t, await ask(9064), 'public.port', /says nothing/);
      await daemon.stop();
    });
    await t.test('leads to another device', async (t) => {
      await device.sh("ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/other_key");
      await device.write('/etc/ssh/other', 'HostKey /etc/ssh/other_key\nPort 9065\nPidFile none\n', 0o600);
      const where = device.inLan.slice(device.inside.length);
      const other = await device.start(
        [...where, '/usr/sbin/sshd', '-D', '-e', '-f', '/etc/ssh/other'],
        /listening on/,
      );
      expectCause(t, await ask(9065), 'public.port', /Another device answers.*host keys/);
      await other.stop();
    });
    await t.test('cannot be reached from here: that is not known, and no failure', async (t) => {
      const found = await device.diagnose(['--public-port', 'nowhere.example:9063']);
      t.equal(found.report.cause, null);
      t.equal(found.check('public.port').status, 'unknown');
    });
    t.strictSame(await gateway.events(key), events, 'the session was never touched');
  });

  await t.test('with --dial the session is replaced, and comes back', (t) => expectReplaced(t, device, gateway, key));

  await t.test('with --no-network nothing is said of the way', async (t) => {
    const found = await device.diagnose(['--no-network']);
    t.equal(found.check('proxy.connect').status, 'skip');
    t.equal(found.check('tunnel.target').status, 'ok');
  });

  await t.test('the device is not authorised', async (t) => {
    await gateway.json('device', 'forbid', key);
    await untilTunnel(device, ({ lastFailure }) => lastFailure?.code === 'proxy.handshake-refused');
    expectCause(
      t,
      await device.diagnose(),
      'proxy.handshake',
      /refuses this device: auth_failed: the device is not authorized/,
    );
    await gateway.json('device', 'authorize', key);
  });

  await t.test('the device is paused', async (t) => {
    await gateway.json('pause', key, '5');
    await untilTunnel(device, ({ lastFailure }) => lastFailure?.code === 'proxy.handshake-refused');
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.handshake', /The operator has paused this device/);
    t.match(found.check('proxy.handshake').remedy, `tunnel-gateway resume ${key}`);
    await gateway.json('resume', key);
  });

  await t.test('the token is wrong', async (t) => {
    await reconfigure(device, config({ token: 'wrong-token' }));
    await untilTunnel(device, ({ state, lastFailure }) => state !== 'up' && lastFailure !== null);
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.handshake', /refuses this device/);
    t.notMatch(JSON.stringify(found.report), /wrong-token/);
    await reconfigure(device, config());
  });

  await t.test('two devices have one identity', async (t) => {
    await untilTunnel(device, ({ state }) => state === 'up');
    const twin = await device.start([PROGRAM, 'run'], /"the service is ready"/, {
      ZEROFORCE_RUN_DIR: '/run/twin',
      ZEROFORCE_STATE_DIR: '/var/lib/twin',
      ZEROFORCE_HTTP_PORT: '5001',
    });
    await untilTunnel(device, ({ lastFailure }) => lastFailure?.code === 'identity.duplicate');
    const found = await device.diagnose();
    expectCause(t, found, 'identity.duplicate', /Another device uses the same identity/);
    t.match(found.check('identity.duplicate').remedy, /MEETING_DEVICE_KEY/);
    await twin.stop();
  });

  await t.test('the service does not run: the gateway takes the device all the same', async (t) => {
    await service.stop();
    const found = await device.diagnose();
    expectCause(t, found, 'service.running');
    t.match(found.check('proxy.handshake'), { status: 'ok', evidence: /dialled .*accepted \(v1\)/ });
    t.equal(found.check('proxy.session').status, 'skip');
    t.equal(found.check('identity.duplicate').status, 'skip');
  });
});
