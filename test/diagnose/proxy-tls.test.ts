import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { makeCertificate, makeSignedCertificate } from '../support/certificates.ts';
import { requires } from '../support/requires.ts';
import { expectCause, expectHealthy, LAN_PEER, machine, NEEDS_MACHINE } from './machine.ts';
import { deviceConfig, nameProxy, PROXY_NAME, reconfigure, scriptedProxy, untilTunnel } from './proxy-bench.ts';

t.test('TLS between the device and the proxy', requires(...NEEDS_MACHINE, 'openssl', 'faketime'), async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'zeroforce-certificates-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const own = makeCertificate(folder, PROXY_NAME);
  const inFolder = (name: string) => {
    mkdirSync(join(folder, name));
    return join(folder, name);
  };
  const device = await machine(t);
  await nameProxy(device, LAN_PEER);
  await device.configure(deviceConfig());
  await device.sshd();
  await device.service();
  const configure = (port: number, proxy: object = {}) => device.configure(deviceConfig({ port, tls: true, ...proxy }));

  const good = await scriptedProxy(t, device, 9100, own);
  await t.test('the certificate is signed by itself, and nothing says that it is trusted', async (t) => {
    await configure(9100);
    expectCause(t, await device.diagnose(), 'proxy.tls', /has a self-signed certificate/);
  });
  await t.test('the key is another than the pinned one', async (t) => {
    await configure(9100, { pin: 'ab'.repeat(32) });
    expectCause(t, await device.diagnose(), 'proxy.tls', /holds another key than the pinned one/);
  });
  await t.test('the file of the authority is not there', async (t) => {
    await configure(9100, { ca: '/etc/no-such.pem' });
    expectCause(t, await device.diagnose(), 'proxy.tls', /\/etc\/no-such\.pem cannot be used/);
  });
  await t.test('the certificate has expired', async (t) => {
    const expired = makeCertificate(inFolder('expired'), PROXY_NAME, -1);
    await scriptedProxy(t, device, 9101, expired);
    await configure(9101, { ca: expired.path });
    expectCause(t, await device.diagnose(), 'proxy.tls', /has expired, by the clock of this device/);
  });
  await t.test('the certificate is not valid yet', async (t) => {
    const to = inFolder('future');
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    const subject = ['-subj', `/CN=${PROXY_NAME}`, '-addext', `subjectAltName=DNS:${PROXY_NAME}`];
    const files = ['-keyout', join(to, 'key'), '-out', join(to, 'crt')];
    execFileSync('faketime', ['-f', '+3d', 'openssl', 'req', '-x509', ...kind, ...files, ...subject], {
      stdio: 'ignore',
    });
    await scriptedProxy(t, device, 9102, { key: readFileSync(join(to, 'key')), cert: readFileSync(join(to, 'crt')) });
    await configure(9102, { ca: join(to, 'crt') });
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.tls', /is not valid yet/);
    t.match(found.check('proxy.tls').remedy, /Set the clock/);
  });
  await t.test('the certificate has another name', async (t) => {
    const other = makeCertificate(inFolder('other'), 'other.example');
    await scriptedProxy(t, device, 9103, other);
    await configure(9103, { ca: other.path });
    expectCause(t, await device.diagnose(), 'proxy.tls', /was made for another name/);
  });
  await t.test('nobody knows the authority', async (t) => {
    const signed = makeSignedCertificate(inFolder('signed'), PROXY_NAME, makeCertificate(inFolder('ca'), 'ca.example'));
    await scriptedProxy(t, device, 9104, signed);
    await configure(9104);
    expectCause(t, await device.diagnose(), 'proxy.tls', /signed by an authority that this device does not know/);
  });

  await t.test('TLS is on here, and the proxy is a plain one', async (t) => {
    const { scripted } = await scriptedProxy(t, device);
    scripted.script = (agent) => agent.send('{"error":"no JSON"}\n'); // where the greeting has a line end in it
    await configure(9001);
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.tls', /speaks TLS to proxy\.example:9001, which does not/);
    t.match(found.check('proxy.tls').remedy, /MEETING_PROXY_TLS=0/);
  });
  await t.test('TLS is off here, and the proxy demands it', async (t) => {
    await configure(9100, { tls: false });
    const found = await device.diagnose();
    expectCause(t, found, 'proxy.handshake', /speaks TLS on this port, and TLS is off/);
    t.match(found.check('proxy.handshake'), { remedy: /MEETING_PROXY_TLS=1/, evidence: /a TLS greeting was answered/ });
  });

  await t.test('all is well: a dial says so, and a session that stands', async (t) => {
    await configure(9100, { ca: own.path, pin: own.pin });
    await reconfigure(device, deviceConfig({ port: 9100, tls: true, ca: own.path, pin: own.pin }));
    await untilTunnel(device, ({ state }) => state === 'up');
    const before = good.proxy.connections;
    const found = await device.diagnose();
    expectHealthy(t, found);
    t.match(found.check('proxy.tls').evidence, /over TLS/);
    t.equal(good.proxy.connections, before, 'nothing was dialled');
  });
});
