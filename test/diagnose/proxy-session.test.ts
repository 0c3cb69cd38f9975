import t from 'tap';
import type { Report } from '../../src/diagnose/report.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { ADDRESS, expectCause, expectHealthy, LAN_PEER, machine, NEEDS_MACHINE } from './machine.ts';
import { deviceConfig, nameProxy, scriptedProxy, untilTunnel } from './proxy-bench.ts';

for (const mode of ['legacy', 'v1'] as const) {
  t.test(`a healthy device at a ${mode} proxy, whose session is left alone`, requires(...NEEDS_MACHINE), async (t) => {
    const device = await machine(t);
    await nameProxy(device, LAN_PEER);
    await device.configure(deviceConfig());
    await device.sshd();
    const { proxy, scripted } = await scriptedProxy(t, device);
    scripted.script = (agent) => agent.accept(mode);
    await device.service();
    const before = await untilTunnel(device, ({ state }) => state === 'up');
    const found = await device.diagnose();
    expectHealthy(t, found);
    t.match(found.check('proxy.session'), {
      status: 'ok',
      evidence: new RegExp(`${mode}, no TLS.*nothing was dialled`),
    });
    t.match(found.check('tunnel.target').summary, /port 22: SSH-2\.0-OpenSSH/);
    t.equal(proxy.connections, 1, 'nothing but the service has connected');
    t.equal((await untilTunnel(device, () => true)).sessions, before.sessions);
  });
}

t.test(
  'a device just started: the diagnosis waits a moment for its own attempt',
  requires(...NEEDS_MACHINE),
  async (t) => {
    const device = await machine(t);
    await nameProxy(device, LAN_PEER);
    await device.configure(deviceConfig());
    await device.sshd();
    const { proxy, scripted } = await scriptedProxy(t, device);
    scripted.script = (agent) => void setTimeout(() => agent.accept('v1'), 500);
    await device.service();
    expectHealthy(t, await device.diagnose());
    t.equal(proxy.connections, 1);
  },
);

t.test('sessions come about and are lost at once', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await nameProxy(device, LAN_PEER);
  await device.configure(deviceConfig({}, { reconnect: { minSeconds: 1.5, maxSeconds: 1.6 } }));
  await device.sshd();
  const { scripted } = await scriptedProxy(t, device);
  scripted.script = (agent) => {
    agent.accept('legacy');
    agent.socket.end();
  };
  await device.service();
  await untilTunnel(device, ({ sessions, state }) => sessions >= 3 && state === 'waiting');
  expectCause(t, await device.diagnose(), 'proxy.session', /Sessions come about and do not last: \d+ in \d+ s/);
});

t.test('nothing is dialled where somebody may hold the session', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await nameProxy(device, LAN_PEER);
  await device.configure(deviceConfig());
  await device.sshd();
  const { proxy } = await scriptedProxy(t, device);
  const hold = `const s = require('node:net').connect(9001, '${LAN_PEER}', () => s.write('{"name":"old agent"}\\n'));
    s.on('data', () => console.log('held'));`;
  await t.test('an agent of another kind, while the service does not run', async (t) => {
    const old = await device.start([process.execPath, '-e', hold], /held/);
    const found = await device.diagnose();
    expectCause(t, found, 'service.running');
    t.match(found.check('proxy.connect'), {
      status: 'unknown',
      summary: /a connection to the other end stands, and no service answers/,
      evidence: /netstat: .* to 192\.168\.77\.1:9001 ESTABLISHED/,
    });
    t.equal(proxy.connections, 1, 'nobody but the other agent has connected');
    await old.stop();
  });
  await t.test('the service, which this user may not ask', async (t) => {
    await device.service();
    await untilTunnel(device, ({ state }) => state === 'up');
    const before = proxy.connections;
    await device.sh('chmod 700 /run/zeroforce');
    await device.sh('chmod 644 /etc/zeroforce/config.json');
    const [program = '', ...args] = [...device.inside, 'setpriv', '--reuid=65534', '--clear-groups', PROGRAM];
    const { stdout } = await run(program, [...args, 'diagnose', '--json'], { env: { PATH: process.env.PATH } });
    const { checks } = JSON.parse(stdout) as Report;
    const connect = checks.find(({ id }) => id === 'proxy.connect');
    t.match(connect, { status: 'unknown', remedy: /Run it as root/ });
    t.equal(proxy.connections, before);
  });
});

t.test('everything hangs, and the command ends all the same', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  const mute = `for (const port of [9001, 443, 9063, 2201]) require('node:net').createServer((s) => s.on('error', () => 0))
    .listen(port, '0.0.0.0', () => console.log('up' + port));`;
  await device.start([process.execPath, '-e', mute], /up2201/);
  const base = deviceConfig({ host: ADDRESS, tls: true }, { services: { ssh: 2201 } });
  await device.configure({ ...base, meeting: { ...base.meeting, api: { url: `https://${ADDRESS}` } } });
  await device.service();
  const startMs = performance.now();
  const { report, check } = await device.diagnose(['--public-port', `${ADDRESS}:9063`]);
  t.ok(performance.now() - startMs < 15_000, `${performance.now() - startMs} ms`);
  t.ok(report.durationMs < 13_500);
  t.match(check('proxy.tls'), { status: 'fail', summary: /speaks TLS to .*, which does not/ });
  t.equal(check('tunnel.target').status === 'ok', false);
});

t.test('the service dials another address than the configuration says', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await nameProxy(device, LAN_PEER);
  await device.configure(deviceConfig());
  await device.sshd();
  await scriptedProxy(t, device);
  await device.service({ MEETING_PROXY_PORT: '9' });
  await untilTunnel(device, ({ state }) => state === 'waiting');
  expectCause(
    t,
    await device.diagnose(),
    'proxy.session',
    /The service dials proxy\.example:9, the configuration says/,
  );
});
