import t, { type Test } from 'tap';
import type { RawAgent } from '../support/raw-proxy.ts';
import { requires } from '../support/requires.ts';
import { ADDRESS, expectCause, expectHealthy, LAN_PEER, machine, NEEDS_MACHINE } from './machine.ts';
import { deviceConfig, nameProxy, scriptedProxy, untilTunnel } from './proxy-bench.ts';

t.test('a proxy that does not take the device, one way after the other', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await nameProxy(device, LAN_PEER);
  await device.configure(deviceConfig());
  await device.sshd();
  await device.service();

  await t.test('it is down: the connection is refused', async (t) => {
    expectCause(t, await device.diagnose(), 'proxy.connect', /Nothing listens at proxy\.example:9001/);
  });

  const { proxy, scripted } = await scriptedProxy(t, device);
  const answers = (t: Test, script: (agent: RawAgent) => void, summary: RegExp) => {
    scripted.script = script;
    return device.diagnose().then((found) => {
      expectCause(t, found, 'proxy.handshake', summary);
      return found;
    });
  };
  const says = (words: string | Buffer) => (agent: RawAgent) => agent.send(words);
  const refusals = [
    ['{"status":"error","message":"unknown device"}\n', /refuses this device: unknown device/],
    ['{"status":"error","error":"token is wrong"}\n', /refuses this device: token is wrong/],
    ['{"error":"auth_failed","reason":"not authorised"}\n', /refuses this device: auth_failed: not authorised/],
  ] as const;
  for (const [words, summary] of refusals) {
    await t.test(`it refuses with ${words.trim()}`, (t) => answers(t, says(words), summary));
  }
  await t.test('it says that the device is paused', (t) =>
    answers(t, says('{"status":"error","message":"the device is paused until noon"}\n'), /operator has paused/),
  );
  await t.test('it closes without a word', async (t) => {
    const { check } = await answers(t, ({ socket }) => socket.end(), /closed without a word/);
    t.match(check('proxy.handshake').remedy, /MEETING_DEVICE_KEY.*3316a52eb08837267bf6bd3e2b2e8dc7/);
    t.equal(check('proxy.session').status, 'skip');
  });
  await t.test('it repeats the token, which is masked', async (t) => {
    const { report } = await answers(t, says('{"error":"no such token: 5ec2e7"}\n'), /no such token/);
    t.notMatch(JSON.stringify(report), /5ec2e7/);
  });
  await t.test('it accepts the connection and says nothing', async (t) => {
    const { report } = await answers(t, () => undefined, /accepts the connection and does not answer/);
    t.ok(report.durationMs < 13_000, `${report.durationMs} ms`);
  });
  await t.test('it says what is not the protocol', (t) => answers(t, says('hello there\n'), /not JSON/));
  await t.test('it says what is JSON and not an answer', (t) => answers(t, says('[1,2]\n'), /not an object/));
  await t.test('it sends frames at once', (t) =>
    answers(t, says(Buffer.from([0x44, 0, 0, 0, 1, 0, 0, 0, 0])), /frames without answering/),
  );

  await t.test('it takes the device, and the service has not noticed yet', async (t) => {
    scripted.script = (agent) => agent.accept('v1');
    const { check, report } = await device.diagnose();
    t.equal(report.cause, null);
    t.equal(check('proxy.handshake').status, 'ok');
    t.match(check('proxy.session'), { status: 'warn', summary: /the service has not tried it yet/ });
    t.equal((await proxy.nextAgent()).hello.includes('3316'), true);
  });
  await t.test('it takes the device for another one', async (t) => {
    scripted.script = (agent) => {
      agent.send('{"status":"ok","device_key":"0000000000000000000000000000abcd"}\n');
    };
    expectCause(t, await device.diagnose(), 'proxy.session', /takes this device for 0{28}abcd/);
  });
  await t.test('it takes the device by its key in capitals', async (t) => {
    scripted.script = (agent) => {
      agent.send('{"status":"ok","device_key":"3316A52EB08837267BF6BD3E2B2E8DC7"}\n');
    };
    t.equal((await device.diagnose()).report.cause, null);
  });
});

t.test('what answers is something else than the proxy', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.configure(deviceConfig({ host: ADDRESS, port: 22 }));
  await device.sshd();
  await device.service();

  await t.test('an SSH server', async (t) => {
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.handshake', /An SSH server answers at 192\.168\.77\.10:22/);
    t.match(found.check('proxy.handshake').remedy, /ZEROFORCE_TRANSPORT=ssh/);
  });
  await t.test('a web server', async (t) => {
    await device.configure(deviceConfig({ host: ADDRESS, port: 5000 }));
    expectCause(t, await device.diagnose(), 'proxy.handshake', /A web server answers at 192\.168\.77\.10:5000/);
  });
  await t.test('something that resets the connection at the first word', async (t) => {
    const rude = `require('node:net').createServer((socket) => {
      socket.on('error', () => 0).once('data', () => socket.resetAndDestroy());
    }).listen(9003, () => console.log('up'));`;
    const daemon = await device.start([process.execPath, '-e', rude], /up/);
    await device.configure(deviceConfig({ host: ADDRESS, port: 9003 }));
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.handshake', /closed without a word/);
    t.match(found.check('proxy.handshake').evidence, /connection reset/);
    await daemon.stop();
  });
});

t.test('the network on the way', requires(...NEEDS_MACHINE, 'nft'), async (t) => {
  const device = await machine(t);
  await device.configure(deviceConfig({ host: LAN_PEER }));
  await device.sshd();
  await device.service();
  const inLan = device.inLan.slice(device.inside.length).join(' ');

  await t.test('a firewall of the site drops what goes to the proxy', async (t) => {
    await scriptedProxy(t, device);
    await device.sh(`${inLan} nft 'add table ip site; add chain ip site in { type filter hook input priority 0; }'`);
    await device.sh(`${inLan} nft add rule ip site in tcp dport 9001 drop`);
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.connect', /192\.168\.77\.1:9001 does not answer/);
    t.match(found.check('proxy.connect').evidence, /default route: via 192\.168\.77\.1 dev eth0/);
    t.ok(found.report.durationMs < 13_000);
    await device.sh(`${inLan} nft delete table ip site`);
  });
  await t.test('nobody has the address of the proxy', async (t) => {
    await device.configure(deviceConfig({ host: '192.168.77.99' }));
    expectCause(t, await device.diagnose(), 'proxy.connect', /cannot be reached from here|does not answer/);
  });
  await t.test('there is no default route', async (t) => {
    await device.configure(deviceConfig({ host: '203.0.113.1' }));
    await device.sh('ip route del default');
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.connect', /This device has no default route/);
    t.match(found.check('proxy.connect').evidence, /default route: none/);
  });
});

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
