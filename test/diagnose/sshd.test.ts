import t from 'tap';
import type { Report } from '../../src/diagnose/report.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { expectCause, expectHealthy, NEEDS_MACHINE } from './machine.ts';
import { sshMachine } from './ssh-machine.ts';

const NEEDS = requires(...NEEDS_MACHINE);
const node = (script: string) => [process.execPath, '-e', script];

t.test('an sshd that does not run, or not where the tunnel ends', NEEDS, async (t) => {
  const device = await sshMachine(t);

  await t.test('stopped', async (t) => {
    const found = await device.diagnose();
    expectCause(t, found, 'sshd.running', /No SSH server runs for port 22/);
    t.match(found.check('sshd.running').remedy, /\/etc\/init\.d\/ssh start/);
    t.match(found.check('sshd.banner').status, 'skip');
  });

  await t.test('stopped, with the port in the way of another program in the log', async (t) => {
    await device.write('/var/log/auth.log', 'Aug 1 sshd[7]: error: Bind to port 22 on 0.0.0.0 failed: in use.\n');
    const { check } = await device.diagnose(['--only', 'sshd.running']);
    t.match(check('sshd.running').evidence, /log: .*Bind to port 22 on 0\.0\.0\.0 failed/);
    await device.sh('rm /var/log/auth.log');
  });

  await t.test('listens only on the address of the home network', async (t) => {
    const sshd = await device.sshd('ListenAddress 192.168.77.10');
    const found = await device.diagnose();
    expectCause(t, found, 'sshd.listens', /listens only on 192\.168\.77\.10:22 .*the tunnel ends at 127\.0\.0\.1:22/);
    t.match(found.check('sshd.listens').remedy, /ListenAddress 127\.0\.0\.1/);
    await sshd.stop();
  });

  await t.test('listens only on IPv6', async (t) => {
    const sshd = await device.sshd('AddressFamily inet6');
    expectCause(t, await device.diagnose(), 'sshd.listens', /listens only on \[::\]:22/);
    await sshd.stop();
  });

  await t.test('listens on another port', async (t) => {
    const sshd = await device.sshd('Port 2222');
    const found = await device.diagnose();
    expectCause(t, found, 'sshd.listens', /listens on port 2222, and not on port 22/);
    t.match(found.check('sshd.listens').remedy, /ZEROFORCE_SERVICES=ssh=2222,http=5000,vnc=5900/);
    expectHealthy(t, await device.diagnose(['--ssh-port', '2222']));
    await sshd.stop();
  });

  await t.test('a web server in its place', async (t) => {
    const web = await device.start(
      node('require("http").createServer().listen(22, "0.0.0.0", () => console.log("up"))'),
      /up/,
    );
    expectCause(t, await device.diagnose(), 'sshd.banner', /127\.0\.0\.1:22 is not an SSH server but a web server/);
    await web.stop();
  });

  await t.test('a program in its place that ends each connection', async (t) => {
    const rude = await device.start(
      node('require("net").createServer((s) => s.destroy()).listen(22, "0.0.0.0", () => console.log("up"))'),
      /up/,
    );
    expectCause(t, await device.diagnose(), 'sshd.banner', /ends it before it greets/);
    await rude.stop();
  });

  await t.test('a program in its place that says nothing', async (t) => {
    const mute = await device.start(
      node('require("net").createServer().listen(22, "0.0.0.0", () => console.log("up"))'),
      /up/,
    );
    const found = await device.diagnose();
    expectCause(t, found, 'sshd.banner', /accepts a connection and says nothing/);
    t.ok(found.report.durationMs < 13_000);
    await mute.stop();
  });

  await t.test('another SSH server in its place is fine', async (t) => {
    const other = await device.start(
      node(
        'require("net").createServer((s) => { s.on("error", () => 0); s.write("hello\\r\\nSSH-2.0-other\\r\\n"); }).listen(22, "0.0.0.0", () => console.log("up"))',
      ),
      /up/,
    );
    const strange = await device.diagnose();
    expectHealthy(t, strange);
    t.match(strange.check('sshd.banner'), { status: 'ok', summary: /SSH-2\.0-other/, evidence: /after: hello/ });
    await other.stop();
  });
});

t.test('healthy machines, and somebody who is not root', NEEDS, async (t) => {
  const device = await sshMachine(t);

  const kinds: Record<string, string> = {
    'as OpenSSH is by default': '',
    'with PAM, as Debian has it': 'UsePAM yes\nKbdInteractiveAuthentication no\nX11Forwarding yes',
    'on both families by name': 'ListenAddress ::\nListenAddress 0.0.0.0',
    'on two ports': 'Port 22\nPort 2222',
    'on loopback alone, where the tunnel ends': 'ListenAddress 127.0.0.1',
    'with lists that name the user': 'AllowUsers tech* root@127.0.0.* \nDenyUsers mallory tech?\nAllowGroups *',
    'with Match blocks that look like it and are for others':
      'Match Address 192.168.0.0/16\nAllowUsers nobody\nMatch User mallory\nPasswordAuthentication no\nDenyUsers *',
    'with forwarding off for a login': 'AllowTcpForwarding no',
  };
  for (const [name, lines] of Object.entries(kinds)) {
    await t.test(name, async (t) => {
      const sshd = await device.sshd(lines);
      expectHealthy(t, await device.diagnose());
      await sshd.stop();
    });
  }

  await t.test('somebody who is not root gets no false alarm, and hears what is not known', async (t) => {
    const sshd = await device.sshd();
    const as = 'setpriv --reuid 1500 --regid 1500 --clear-groups';
    const { stdout } = await device.sh(`${as} ${PROGRAM} diagnose --json || true`);
    const report = JSON.parse(stdout) as Report;
    t.strictSame(
      report.checks.filter(({ id, status }) => id.startsWith('sshd.') && (status === 'fail' || status === 'warn')),
      [],
    );
    const statusOf = (id: string) => report.checks.find((check) => check.id === id)?.status;
    t.equal(statusOf('sshd.running'), 'ok');
    t.equal(statusOf('sshd.banner'), 'ok');
    for (const id of ['sshd.config', 'sshd.users', 'sshd.keys']) t.equal(statusOf(id), 'unknown', id);
    await sshd.stop();
  });

  await t.test('started by systemd for a connection', requires('systemd-socket-activate'), async (t) => {
    await device.write('/etc/ssh/sshd_config', 'HostKey /etc/ssh/machine_host_key\n', 0o600);
    const socket = await device.start(
      ['systemd-socket-activate', '-l', '0.0.0.0:22', '-a', '--inetd', '/usr/sbin/sshd', '-i'],
      /Listening on/,
    );
    const found = await device.diagnose();
    expectHealthy(t, found);
    t.match(found.check('sshd.banner'), { status: 'ok', summary: /SSH-2\.0-OpenSSH/ });
    t.equal(found.check('sshd.running').status, 'ok');
    await socket.stop();
  });

  await t.test('dropbear', requires('dropbear'), async (t) => {
    await device.sh(
      'dropbearkey -t ed25519 -f /run/dropbear_key >/dev/null 2>&1 || dropbearkey -t ecdsa -f /run/dropbear_key',
    );
    const dropbear = await device.start(
      ['dropbear', '-F', '-E', '-r', '/run/dropbear_key', '-p', '22'],
      /Not backgrounding/,
    );
    const found = await device.diagnose();
    expectHealthy(t, found);
    t.match(found.check('sshd.banner').summary, /SSH-2\.0-dropbear/);
    t.equal(found.check('sshd.config').status, 'skip');
    await dropbear.stop();
  });
});
