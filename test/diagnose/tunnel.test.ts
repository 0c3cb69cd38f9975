import t from 'tap';
import { requires } from '../support/requires.ts';
import { ADDRESS, expectCause, expectHealthy, LAN_PEER, machine, NEEDS_MACHINE } from './machine.ts';
import { deviceConfig, scriptedProxy, untilTunnel } from './proxy-bench.ts';

t.test('where the tunnel leads', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  const configure = (services: object) => device.configure(deviceConfig({ host: LAN_PEER }, { services }));
  await configure({ ssh: 22 });
  await device.sshd();
  await scriptedProxy(t, device);
  await device.service();
  await untilTunnel(device, ({ state }) => state === 'up');
  /** A server inside that does this with each connection. */
  const serve = (port: number, script: string, host = '127.0.0.1') => {
    const code = `require('node:net').createServer((s) => { s.on('error', () => 0); ${script} }).listen(${port}, '${host}', () => console.log('up'))`;
    return device.start([process.execPath, '-e', code], /up/);
  };

  await t.test('to a web server, which is the one of pairing', async (t) => {
    await configure({ ssh: 5000 });
    expectCause(t, await device.diagnose(), 'tunnel.target', /there is a web server \(HTTP\), not sshd/);
  });
  await t.test('to something that says nothing', async (t) => {
    await serve(2201, '');
    await configure({ ssh: 2201 });
    const found = await device.diagnose();
    expectCause(t, found, 'tunnel.target', /says nothing, as no sshd does/);
    t.match(found.check('tunnel.target').evidence, /sshd listens on: .*:22/);
  });
  await t.test('to something that closes without a word', async (t) => {
    await serve(2202, 's.end()');
    await configure({ ssh: 2202 });
    expectCause(t, await device.diagnose(), 'tunnel.target', /closes them without a word/);
  });
  await t.test('to something else that talks', async (t) => {
    await serve(2203, "s.write('220 mail.example ESMTP\\\\r\\\\n')");
    await configure({ ssh: 2203 });
    expectCause(t, await device.diagnose(), 'tunnel.target', /there is a mail server \(SMTP\)/);
  });
  await t.test('nowhere near sshd: it is not among the services', async (t) => {
    await configure({ http: 5000, vnc: 5900 });
    const found = await device.diagnose();
    expectCause(t, found, 'tunnel.target', /may not open an SSH server: ZEROFORCE_SERVICES is http=5000,vnc=5900/);
    t.match(found.check('tunnel.target').remedy, /ZEROFORCE_SERVICES=ssh=22,http=5000,vnc=5900/);
  });

  await t.test('to sshd by another name, and to services that no device needs: no alarm', async (t) => {
    await configure({ scp: 22, vnc: 5900, http: 5000 });
    const found = await device.diagnose();
    expectHealthy(t, found);
    t.match(found.check('tunnel.services'), { status: 'ok', summary: /nothing listens for vnc \(5900\)/ });
  });
  await t.test('to a web server that listens on another address only', async (t) => {
    await serve(8080, '', ADDRESS);
    await configure({ ssh: 22, http: 8080 });
    const found = await device.diagnose();
    expectHealthy(t, found, ['tunnel.services']);
    t.match(found.check('tunnel.services'), { status: 'warn', summary: /http \(port 8080 of 192\.168\.77\.10\)/ });
  });
  await t.test('for scp to a port where nothing listens', async (t) => {
    await configure({ ssh: 22, scp: 2222 });
    const found = await device.diagnose();
    expectHealthy(t, found, ['tunnel.services']);
    t.match(found.check('tunnel.services'), { status: 'warn', summary: /scp leads to port 2222/ });
  });
});
