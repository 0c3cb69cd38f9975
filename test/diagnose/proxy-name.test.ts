import { resolve } from 'node:path';
import t from 'tap';
import { requires } from '../support/requires.ts';
import { ADDRESS, type Daemon, expectCause, expectHealthy, LAN_PEER, machine, NEEDS_MACHINE } from './machine.ts';
import { deviceConfig, nameProxy, PROXY_NAME, scriptedProxy, untilTunnel } from './proxy-bench.ts';

const DNS = resolve(import.meta.dirname, 'dns-child.js');
/** Of another machine in the home network, where no proxy is. */
const OTHER = '192.168.77.2';

t.test('the name of the proxy', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.configure(deviceConfig());
  await device.sshd();
  await device.service();
  let dns: Daemon | null = null;
  /** Lets the DNS server of the machine say this from now on. */
  const dnsSays = async (...words: string[]) => {
    await dns?.stop();
    dns = await device.start([process.execPath, DNS, ...words], /listening/);
  };

  await t.test('no DNS server is there', async (t) => {
    const found = await device.diagnose();
    expectCause(t, found, 'dns.proxy', /No DNS server gave an answer for proxy\.example/);
    t.match(found.check('dns.proxy').evidence, /nameserver 127\.0\.0\.1/);
    t.equal(found.check('proxy.connect').status, 'skip');
  });
  await t.test('the DNS server says nothing', async (t) => {
    await dnsSays('silent');
    const startMs = performance.now();
    expectCause(t, await device.diagnose(), 'dns.proxy', /No DNS server gave an answer/);
    t.ok(performance.now() - startMs < 25_000, 'nor does it hold up the end of the command');
  });
  await t.test('there is no such name', async (t) => {
    await dnsSays();
    expectCause(t, await device.diagnose(), 'dns.proxy', /does not exist, or has no address/);
  });
  await t.test('the DNS server gives an address of this device', async (t) => {
    await dnsSays(`${PROXY_NAME}=${ADDRESS}`);
    expectCause(t, await device.diagnose(), 'dns.proxy', /The DNS server sends proxy\.example to 192\.168\.77\.10/);
  });
  await t.test('the DNS server gives nobody', async (t) => {
    await dnsSays(`${PROXY_NAME}=0.0.0.0`);
    expectCause(t, await device.diagnose(), 'dns.proxy', /0\.0\.0\.0, which is no address of any machine/);
  });
  await t.test('a line that was left in /etc/hosts leads to this device', async (t) => {
    await dnsSays(`${PROXY_NAME}=${LAN_PEER}`);
    await nameProxy(device, '127.0.0.1');
    const found = await device.diagnose();
    expectCause(
      t,
      found,
      'dns.proxy',
      /\/etc\/hosts sends proxy\.example to 127\.0\.0\.1, which is this device itself/,
    );
    t.match(found.check('dns.proxy').remedy, /127\.0\.0\.1 proxy\.example/);
  });

  await t.test('a line that was left in /etc/hosts leads to another machine', async (t) => {
    const inLan = device.inLan.slice(device.inside.length).join(' ');
    await device.sh(`${inLan} ip addr add ${OTHER}/24 dev eth0`);
    await nameProxy(device, OTHER);
    await t.test('and the right one cannot be reached either: nobody knows what is wrong with the line', async (t) => {
      const found = await device.diagnose();
      expectCause(t, found, 'proxy.connect', /Nothing listens/);
      t.match(found.check('proxy.connect').evidence, /\/etc\/hosts: 192\.168\.77\.2 proxy\.example/);
    });
    await scriptedProxy(t, device);
    expectCause(
      t,
      await device.diagnose(),
      'dns.proxy',
      /where no Meeting proxy answers; the DNS server says 192\.168\.77\.1/,
    );
  });
});

t.test(
  'a name that leads to this device, where the proxy is, and that is lost later',
  requires(...NEEDS_MACHINE),
  async (t) => {
    const device = await machine(t);
    await device.configure(deviceConfig({}, { reconnect: { minSeconds: 0.2, maxSeconds: 1 } }));
    await device.sshd();
    await nameProxy(device, LAN_PEER);
    const { proxy } = await scriptedProxy(t, device);
    await device.expose(proxy.port, 9001);
    await nameProxy(device, '127.0.0.1');
    await device.service();
    await untilTunnel(device, ({ state }) => state === 'up');
    expectHealthy(t, await device.diagnose());

    await nameProxy(device, null);
    const { report, check } = await device.diagnose();
    t.equal(report.cause, null);
    t.match(check('dns.proxy'), { status: 'warn', summary: /cannot be looked up any more/ });
    t.equal(check('proxy.session').status, 'ok');
  },
);
