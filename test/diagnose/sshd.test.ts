import t from 'tap';
import type { Report } from '../../src/diagnose/report.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { until } from '../support/until.ts';
import { expectCause, expectHealthy, NEEDS_MACHINE } from './machine.ts';
import { sshMachine } from './ssh-machine.ts';

const NEEDS = requires(...NEEDS_MACHINE);
const CONFIG = '/etc/ssh/sshd_config';
const KEY = 'HostKey /etc/ssh/machine_host_key';
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

  await t.test('another SSH server in its place is fine, and so is dropbear', async (t) => {
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

t.test('an sshd that listens and serves nobody', NEEDS, async (t) => {
  const device = await sshMachine(t);

  await t.test('an invalid configuration, so that it does not start', async (t) => {
    await device.write(CONFIG, `${KEY}\nPermitRootLogin maybe\n`);
    expectCause(t, await device.diagnose(), 'sshd.config', /sshd_config line 2: unsupported option "maybe"/);
  });

  await t.test('an option that this version does not know', async (t) => {
    await device.write(CONFIG, `${KEY}\nPerSourcePenaltyExemptList 127.0.0.0/8\n`);
    expectCause(t, await device.diagnose(), 'sshd.config', /does not know: .*PerSourcePenaltyExemptList/);
  });

  await t.test('no host key', async (t) => {
    await device.write(CONFIG, 'HostKey /etc/ssh/not_there\n');
    expectCause(t, await device.diagnose(), 'sshd.config', /no host key: .*\/etc\/ssh\/not_there/);
  });

  await t.test('a host key that others may read', async (t) => {
    await device.write(CONFIG, `${KEY}\n`);
    await device.sh('chmod 644 /etc/ssh/machine_host_key');
    const found = await device.diagnose();
    expectCause(t, found, 'sshd.config', /others may read \/etc\/ssh\/machine_host_key/);
    t.match(found.check('sshd.config').remedy, /chmod 600 \/etc\/ssh\/machine_host_key/);
    await device.sh('chmod 600 /etc/ssh/machine_host_key');
  });

  await t.test('no configuration file', async (t) => {
    await device.sh(`rm ${CONFIG}`);
    expectCause(t, await device.diagnose(), 'sshd.config', /sshd_config: No such file/);
  });

  await t.test('its folder in /run is missing, while it runs', async (t) => {
    const sshd = await device.sshd();
    await device.sh('rmdir /run/sshd');
    const found = await device.diagnose();
    expectCause(t, found, 'sshd.config', /its folder \/run\/sshd is missing/);
    t.match(found.check('sshd.config').remedy, /mkdir -p -m 755 \/run\/sshd/);
    t.match(found.check('sshd.banner').status, 'skip');
    await device.sh('mkdir -m 755 /run/sshd');
    await sshd.stop();
  });

  await t.test('others may write to its folder in /run', async (t) => {
    await device.sh('chmod 777 /run/sshd');
    expectCause(t, await device.diagnose(), 'sshd.config', /others may write to its folder \/run\/sshd/);
    await device.sh('chmod 755 /run/sshd');
  });

  await t.test('stopped by a signal, it says nothing', async (t) => {
    const sshd = await device.sshd('PidFile /run/sshd.pid');
    await device.sh('kill -STOP $(cat /run/sshd.pid)');
    const found = await device.diagnose();
    expectCause(t, found, 'sshd.banner', /is stopped by a signal/);
    t.match(found.check('sshd.banner').remedy, /kill -CONT \d+/);
    t.ok(found.report.durationMs < 13_000);
    await device.sh('kill -CONT $(cat /run/sshd.pid)');
    await sshd.stop();
  });

  await t.test('too many strangers (MaxStartups)', async (t) => {
    const sshd = await device.sshd('MaxStartups 1');
    const stranger = await device.start(
      node('require("net").connect(22, "127.0.0.1").on("data", () => console.log("greeted"))'),
      /greeted/,
    );
    await until('sshd to count it', () => device.diagnose(['--only', 'sshd.banner']).then(({ code }) => code === 1));
    expectCause(t, await device.diagnose(), 'sshd.banner', /takes no more strangers.*Exceeded MaxStartups/);
    await stranger.stop();
    await sshd.stop();
  });

  await t.test('its configuration was changed after it had started', async (t) => {
    const sshd = await device.sshd('PidFile /run/sshd.pid');
    await device.sh(`touch -d '1 hour ago' ${CONFIG}`);
    expectHealthy(t, await device.diagnose());
    await device.sh(`touch -d '1 hour' ${CONFIG}`);
    const { check, code } = await device.diagnose();
    t.match(check('sshd.config'), { status: 'warn', summary: /was changed after the running sshd had read it/ });
    t.equal(code, 0);
    await sshd.stop();
  });
});

t.test('healthy machines, and somebody who is not root', NEEDS, async (t) => {
  const device = await sshMachine(t);

  const kinds: Record<string, string> = {
    'as OpenSSH is by default': '',
    'with PAM and a banner, as Debian has it': 'UsePAM yes\nKbdInteractiveAuthentication no\nX11Forwarding yes',
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
