import t from 'tap';
import { freshKeyLine } from '../support/public-keys.ts';
import { requires } from '../support/requires.ts';
import { expectCause, expectHealthy, type Machine, machine, NEEDS_MACHINE } from './machine.ts';

const ALONE = ['--no-network'];
const FILE = '/root/.ssh/authorized_keys';
const QUIET = { mdns: { enabled: false } };

t.test('the key file', requires(...NEEDS_MACHINE, 'curl'), async (t) => {
  const device = await machine(t);
  await device.sshd('Port 22\nPort 8007');
  await device.configure(QUIET);
  const service = await device.service();

  await t.test('healthy: nobody has paired yet, and a file without a key', async (t) => {
    const found = await device.examine();
    expectHealthy(t, found);
    t.equal(found.check('keys.file').status, 'skip');
    await device.write(FILE, '# nobody yet\n\n', 0o600);
    expectHealthy(t, await device.examine());
  });

  await t.test('healthy: a key of a technician, and another one, on a device that was never paired', async (t) => {
    await device.write(FILE, `${freshKeyLine()}\n${freshKeyLine()}\n`, 0o600);
    const found = await device.examine();
    expectHealthy(t, found);
    t.match(found.check('keys.file').summary, '2 keys');
  });

  const key = freshKeyLine();
  await t.test('healthy: paired', async (t) => {
    await device.sh(`curl -sf --data-urlencode 'key=${key}' http://127.0.0.1:5000/zeroforce/setkey`);
    const found = await device.diagnose(ALONE);
    expectHealthy(t, found);
    t.match(found.check('keys.file'), { status: 'ok', summary: '1 key', evidence: /ssh-ed25519 SHA256:/ });
    t.match(found.check('keys.permissions').evidence, `${FILE}: mode 0600, owner 0:0`);
  });

  const changed: [name: string, content: string, summary: RegExp][] = [
    ['was emptied', '', /holds no key/],
    ['holds garbage alone', 'ssh-ed25519 AAAA\nhello\n', /holds no key/],
    ['holds a key that has expired', `expiry-time="20200101" ${key}\n`, /has expired/],
  ];
  for (const [name, content, summary] of changed) {
    await t.test(`after pairing it ${name}`, async (t) => {
      await device.write(FILE, content, 0o600);
      expectCause(t, await device.examine(), 'keys.file', summary);
    });
  }

  await t.test('after pairing a second key, or a broken line, is a warning', async (t) => {
    await device.write(FILE, `${key}\n${freshKeyLine()}\n`, 0o600);
    const several = await device.examine();
    t.ok(several.report.ok);
    t.match(several.check('keys.file'), { status: 'warn', summary: /holds 2 keys/ });
    await device.write(FILE, `${key}\nssh-ed25519 AAAAC3Nza\nC1lZDI1NTE5\n`, 0o600);
    const strange = await device.examine();
    t.ok(strange.report.ok);
    t.match(strange.check('keys.file'), { status: 'warn', summary: /line 2, 3$/ });
  });

  await t.test('after pairing it was removed, or is a link that leads nowhere', async (t) => {
    await device.sh(`rm ${FILE}`);
    expectCause(t, await device.examine(), 'keys.file', /there is no key file/);
    await device.sh(`ln -s /data/none ${FILE}`);
    const found = await device.examine();
    expectCause(t, found, 'keys.file', /there is no key file/);
    t.match(found.check('keys.file').evidence, '-> /data/none');
  });

  await t.test('it is a folder', async (t) => {
    await device.sh(`rm ${FILE}; mkdir ${FILE}`);
    expectCause(t, await device.examine(), 'keys.file', /cannot be read: it is not a regular file/);
    await device.sh(`rmdir ${FILE}`);
  });

  await t.test('a device that counts as paired and never was is a warning', async (t) => {
    await device.sh('rm /var/lib/zeroforce/audit.log');
    const found = await device.examine();
    t.ok(found.report.ok);
    t.match(found.check('keys.file'), { status: 'warn', remedy: /pairing reset/ });
  });
  await service.stop();
});

t.test('owner and mode of the key file', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  const sshd = await device.sshd();
  await device.configure(QUIET);
  const service = await device.service();
  await device.sh('ssh-keygen -q -t ed25519 -N "" -f /etc/client; cp /etc/client.pub /root/.ssh/authorized_keys');
  await device.sh('chmod 600 /root/.ssh/authorized_keys');

  const cases: [name: string, make: string, summary: RegExp][] = [
    ['the file can be written by everybody', 'chmod 666 /root/.ssh/authorized_keys', /authorized_keys: .*mode 0666/],
    [
      'the file belongs to somebody else',
      'chown 1500 /root/.ssh/authorized_keys',
      /authorized_keys: it belongs to user 1500/,
    ],
    ['its folder can be written by everybody', 'chmod 777 /root/.ssh', /\/root\/\.ssh: .*mode 0777/],
    ['its folder belongs to somebody else', 'chown 1500 /root/.ssh', /\/root\/\.ssh: it belongs to user 1500/],
    ['the home can be written by a group', 'chmod 770 /root; chgrp 1500 /root', /of \/root: .*mode 0770/],
  ];
  for (const [name, make, summary] of cases) {
    await t.test(`${name}, and the remedy helps`, async (t) => {
      await device.sh(make);
      t.notOk(await logsIn(device, 'root'), 'sshd refuses it');
      const found = await device.examine();
      expectCause(t, found, 'keys.permissions', summary);
      await device.sh(found.check('keys.permissions').remedy ?? 'false');
      t.ok(await logsIn(device, 'root'), 'sshd takes it');
      expectHealthy(t, await device.examine());
    });
  }

  await t.test('the user cannot read the file', async (t) => {
    await device.sh('cd /home/technician; mkdir .ssh; cp /etc/client.pub .ssh/authorized_keys; chmod 600 .ssh/*');
    await device.sh('chown 1500:1500 /home/technician/.ssh');
    await configureKey(device, '/home/technician/.ssh/authorized_keys');
    t.notOk(await logsIn(device, 'technician'));
    const found = await device.examine();
    expectCause(t, found, 'keys.permissions', /user technician cannot read/);
    await device.sh(found.check('keys.permissions').remedy ?? 'false');
    t.ok(await logsIn(device, 'technician'));
  });

  await t.test('a group of its own may write to the home (Debian), and a second one in it may not', async (t) => {
    await device.sh('chmod 775 /home/technician');
    const takes = await logsIn(device, 'technician');
    // The running service still has the other file.
    if (takes) expectHealthy(t, await device.examine(), ['service.running']);
    else expectCause(t, await device.examine(), 'keys.permissions', /mode 0775/);
    await device.sh('sed -i "s/^technician:x:1500:.*/technician:x:1500:games/" /etc/group');
    t.notOk(await logsIn(device, 'technician'));
    expectCause(t, await device.examine(), 'keys.permissions', /mode 0775/);
  });

  await t.test('with StrictModes off it is a warning', async (t) => {
    await sshd.stop();
    await device.sshd('StrictModes no');
    t.ok(await logsIn(device, 'technician'));
    const found = await device.examine();
    t.ok(found.report.ok);
    t.match(found.check('keys.permissions'), { status: 'warn', summary: /Others can exchange the key/ });
  });
  await service.stop();
});

t.test('who may pair', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.sshd();
  const pin = '/var/lib/zeroforce/pairing-pin.json';
  await device.configure({ ...QUIET, pairing: { policy: 'pin' } });
  const withService = async (test: () => Promise<void>) => {
    const service = await device.service();
    await test();
    await service.stop();
  };

  await t.test('the policy is pin, and there is none', () =>
    withService(async () => {
      expectCause(t, await device.examine(), 'pairing.state', /no PIN is set/);
      const { code, stderr } = await device.agent(['pairing', 'pin']);
      t.equal(code, 0, stderr);
      expectHealthy(t, await device.examine());
    }),
  );

  await t.test('the PIN is locked after too many wrong ones', async (t) => {
    await device.sh(`sed -i 's/"failures":0/"failures":20/' ${pin}`);
    await withService(async () => {
      expectCause(t, await device.examine(), 'pairing.state', /PIN is locked/);
    });
  });

  await t.test('the stored PIN is damaged', async (t) => {
    await device.write(pin, '{"salt":', 0o600);
    const service = await device.service();
    expectCause(t, await device.examine(), 'pairing.state', /stored PIN cannot be read/);

    await t.test('healthy: pairing is locked on purpose, and opened by somebody at the device', async (t) => {
      await device.reconfigure(service, { ...QUIET, pairing: { policy: 'locked' } });
      expectHealthy(t, await device.examine());
      await device.agent(['pairing', 'open']);
      const found = await device.examine();
      expectHealthy(t, found);
      t.match(found.check('pairing.state').summary, 'opened at the device');
    });
  });
});

function configureKey(device: Machine, authorizedKeysFile: string): Promise<void> {
  return device.configure({ ...QUIET, pairing: { authorizedKeysFile } });
}

/** Whether sshd lets this user in with the key of the test. */
async function logsIn(device: Machine, user: string): Promise<boolean> {
  const options =
    '-F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR';
  const { stdout } = await device.sh(`ssh ${options} -i /etc/client ${user}@127.0.0.1 echo in </dev/null 2>&1 || true`);
  return stdout.trim() === 'in';
}
