import t from 'tap';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { until } from '../support/until.ts';
import { expectCause, expectHealthy, machine, NEEDS_MACHINE } from './machine.ts';

const HTTP = ['--no-network'];
const QUIET = { mdns: { enabled: false } };

t.test('the pairing routes', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.sshd();
  const squatter = (port: number) =>
    device.start(['node', '-e', `require('http').createServer().listen(${port}, () => console.log('up'))`], /up/);

  await device.configure(QUIET);
  let other = await squatter(5000);
  const service = await device.service();
  const at = (http: object) => device.reconfigure(service, { ...QUIET, http });

  await t.test('another program has the port; when it ends, the service takes it', async (t) => {
    expectCause(t, await device.diagnose(HTTP), 'http.listening', /has port 5000: node -e require.*\(process \d+\)/);
    await other.stop();
    await until('the service to listen', () => service.log().includes('HTTP listens'));
    expectHealthy(t, await device.examine());
  });

  await t.test('the address is not one of this machine', async (t) => {
    await at({ host: '192.168.77.99' });
    expectCause(t, await device.examine(), 'http.listening', /192\.168\.77\.99, which is not an address/);
  });

  await t.test('this machine cannot reach itself', async (t) => {
    await at({});
    await device.sh('ip link set lo down');
    const found = await device.diagnose([...HTTP, '--only', 'service.running,http.listening']);
    t.match(found.check('http.listening'), { status: 'fail', summary: /give no answer/ });
    await device.sh('ip link set lo up');
  });

  await t.test('listening for this machine alone is a warning', async (t) => {
    await at({ host: '127.0.0.1' });
    const found = await device.examine();
    t.ok(found.report.ok);
    t.match(found.check('http.listening'), { status: 'warn', summary: /127\.0\.0\.1:5000 only/ });
  });

  await t.test('healthy: an older program owns port 5000, ours is elsewhere, and that is told', async (t) => {
    await at({ port: 5001 });
    other = await squatter(5000);
    const found = await device.examine();
    expectHealthy(t, found);
    t.match(found.check('http.listening').summary, /5001; node -e .* has port 5000/);
  });
});

t.test('mDNS', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.sshd();
  await device.configure({});
  const only = ['--only', 'service.running,http.listening,mdns.visible'];
  const examine = () => device.examine({}, { network: true });

  await t.test('another program keeps UDP port 5353 to itself', async (t) => {
    const code = `require('dgram').createSocket('udp4').bind(5353, () => console.log('up'))`;
    const other = await device.start(['node', '-e', code], /up/);
    await device.sh('sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1');
    const service = await device.service();
    await until('the service to report it', () => service.log().includes('mdns.socket'));
    expectCause(t, await device.diagnose(only), 'mdns.visible', /to itself: node -e .*\(process \d+\)/);
    await other.stop();
    await service.stop();
  });

  const service = await device.service();
  await t.test('healthy: it is found, right after its start', async (t) => {
    const found = await examine();
    expectHealthy(t, found);
    t.match(found.check('mdns.visible'), { status: 'ok', evidence: /found at 192\.168\.77\.10/ });
  });

  await t.test('a firewall that keeps mDNS out is a warning', requires('nft'), async (t) => {
    await device.sh(
      'nft "add table ip z; add chain ip z i { type filter hook input priority 0; }; add rule ip z i udp dport 5353 drop"',
    );
    const found = await examine();
    t.ok(found.report.ok);
    t.match(found.check('mdns.visible'), { status: 'warn', summary: /is not heard/ });
    await device.sh('nft delete table ip z');
  });

  await t.test('left out, and switched off', async (t) => {
    t.match((await device.diagnose([...only, '--no-network'])).check('mdns.visible').summary, 'announced as raspi');
    const off = await device.diagnose(only, { ZEROFORCE_MDNS: '0' });
    t.equal(off.check('mdns.visible').status, 'skip');
  });

  await t.test('no network at all', async (t) => {
    await device.sh('ip link set eth0 down; ip addr flush dev eth0');
    // Every half second: it looks every five, and tells nobody.
    await device.sh(`until ${PROGRAM} status --json | grep -q mdns.no-interface; do sleep 0.5; done`);
    expectCause(t, await examine(), 'mdns.visible', /No interface that is up has an address/);
  });
  await service.stop();
});

t.test('another machine in the network has the name', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.sshd();
  await device.configure({});
  const only = ['--only', 'service.running,http.listening,mdns.visible'];
  const there = { ZEROFORCE_RUN_DIR: '/run/other', ZEROFORCE_STATE_DIR: '/var/lib/other' };
  const inLan = device.inLan.slice(device.inside.length);
  const other = await device.start([...inLan, PROGRAM, 'run'], /"the service is ready"/, there);
  await device.sh(
    `until ZEROFORCE_RUN_DIR=/run/other ${PROGRAM} status --json | grep -q '"announced"'; do sleep 0.3; done`,
  );
  const service = await device.service();
  await until('the service to take another name', () => service.log().includes('takes the next one'));
  const found = await device.diagnose(only);
  t.ok(found.report.ok);
  t.match(found.check('mdns.visible'), { status: 'warn', summary: /announced as raspi-2/ });
  await service.stop();
  await other.stop();
});
