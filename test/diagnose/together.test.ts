import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { makeCertificate } from '../support/certificates.ts';
import { requires } from '../support/requires.ts';
import { expectCause, LAN_PEER, machine, NEEDS_MACHINE } from './machine.ts';
import { deviceConfig, nameProxy, PROXY_NAME, scriptedProxy, untilTunnel } from './proxy-bench.ts';
import { wallClock } from './wall-clock.ts';

// What comes together in the field: one cause that shows in many places, and several causes at once.

t.test('a clock in 1970', requires(...NEEDS_MACHINE, 'openssl', 'faketime'), async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-clock-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const certificate = makeCertificate(folder, PROXY_NAME);
  const device = await machine(t);
  await nameProxy(device, LAN_PEER);
  const sshd = await device.sshd();
  await scriptedProxy(t, device);
  await scriptedProxy(t, device, 9443, certificate);
  const wrong = (await wallClock())('1970-01-01 00:10:00');

  await t.test('keeps a device off a proxy over TLS', async (t) => {
    await device.configure(deviceConfig({ port: 9443, tls: true, ca: certificate.path }));
    const service = await device.service(wrong);
    await untilTunnel(device, ({ lastFailure }) => lastFailure !== null);
    const found = await device.diagnose([], wrong);
    expectCause(t, found, 'clock.sane', /no certificate is valid then/);
    t.match(found.check('proxy.tls'), { status: 'skip', summary: /^because of clock\.sane: .*not valid yet/ });
    await service.stop();
  });
  await t.test('is the cause on a device whose tunnel stands without TLS, too', async (t) => {
    await device.configure(deviceConfig());
    await device.service(wrong);
    await untilTunnel(device, ({ state }) => state === 'up');
    expectCause(t, await device.diagnose([], wrong), 'clock.sane', /1970-01-01/);
  });
  await t.test('comes after what certificates do not explain: sshd is stopped', async (t) => {
    await sshd.stop();
    const { report } = await device.diagnose([], wrong);
    t.equal(report.cause, 'sshd.running');
    t.match(
      report.checks.filter(({ status }) => status === 'fail').map(({ id }) => id),
      ['sshd.running', 'clock.sane'],
    );
  });
});

t.test('two causes at once are told both, the nearer one first', requires(...NEEDS_MACHINE, 'iptables'), async (t) => {
  const device = await machine(t);
  await nameProxy(device, LAN_PEER);
  const sshd = await device.sshd();
  await scriptedProxy(t, device);
  await device.configure(deviceConfig());
  const service = await device.service();
  await untilTunnel(device, ({ state }) => state === 'up');
  await service.stop();
  await sshd.stop();
  const lan = device.inLan.slice(device.inside.length).join(' ');
  await device.sh(`${lan} iptables -A INPUT -p tcp --dport 9001 -j REJECT --reject-with tcp-reset`);
  await device.service();
  await untilTunnel(device, ({ lastFailure }) => lastFailure !== null);
  const { report } = await device.examine({}, { network: true });
  const failed = report.checks.filter(({ status }) => status === 'fail');
  t.strictSame(
    failed.map(({ id }) => id),
    ['sshd.running', 'proxy.connect'],
  );
  t.equal(report.cause, 'sshd.running');
  for (const { id, remedy } of failed) t.type(remedy, 'string', `${id} says what to do`);
  t.match(report.checks.find(({ id }) => id === 'tunnel.target')?.summary, /^because of sshd\.running/);
});
