import t from 'tap';
import { requires } from '../support/requires.ts';
import { expectCause, expectHealthy, NEEDS_MACHINE } from './machine.ts';
import { sshMachine } from './ssh-machine.ts';

const NEEDS = requires(...NEEDS_MACHINE);
const CONFIG = '/etc/ssh/sshd_config';
const KEY = 'HostKey /etc/ssh/machine_host_key';
const node = (script: string) => [process.execPath, '-e', script];

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
    // Not in the foreground: nsenter would be stopped with it.
    await device.write(CONFIG, `${KEY}\nPidFile /run/sshd.pid\n`);
    await device.sh('/usr/sbin/sshd; until [ -s /run/sshd.pid ]; do sleep 0.02; done; kill -STOP $(cat /run/sshd.pid)');
    const found = await device.diagnose();
    expectCause(t, found, 'sshd.banner', /is stopped by a signal/);
    t.match(found.check('sshd.banner').remedy, /kill -CONT \d+/);
    t.ok(found.report.durationMs < 13_000);
    await device.sh(
      'kill -CONT $(cat /run/sshd.pid); kill $(cat /run/sshd.pid); until [ ! -e /run/sshd.pid ]; do sleep 0.02; done',
    );
  });

  await t.test('too many strangers (MaxStartups)', async (t) => {
    const sshd = await device.sshd('MaxStartups 1');
    expectHealthy(t, await device.diagnose()); // its own connections are not too many
    const stranger = await device.start(
      node('require("net").connect(22, "127.0.0.1").on("data", () => console.log("greeted"))'),
      /greeted/,
    );
    expectCause(t, await device.diagnose(), 'sshd.banner', /takes no more strangers.*Exceeded MaxStartups/);
    await stranger.stop();
    await sshd.stop();
  });

  await t.test('it shuts the tunnel out (PerSourcePenalties)', async (t) => {
    // The words of OpenSSH 9.8 and later; the one of this machine has no penalties.
    await device.write(CONFIG, `${KEY}\n`);
    const sshd = await device.start(
      node(
        'require("net").createServer((s) => { s.on("error", () => 0); s.end("Not allowed at this time\\r\\n"); }).listen(22, "0.0.0.0", () => console.log("up"))',
      ),
      /up/,
    );
    expectCause(t, await device.diagnose(), 'sshd.penalties', /sshd shuts out 127\.0\.0\.1/);
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
