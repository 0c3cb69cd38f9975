import t from 'tap';
import { requires } from '../support/requires.ts';
import { expectCause, expectHealthy, type Machine, NEEDS_MACHINE } from './machine.ts';
import { sshMachine } from './ssh-machine.ts';

const NEEDS = requires(...NEEDS_MACHINE);
const HOME = '/home/technician';
const KEYS = `${HOME}/.ssh/authorized_keys`;

/** A fresh key of the technician, as a line. */
async function publicKey(device: Machine): Promise<string> {
  const { stdout } = await device.sh('rm -f /run/key*; ssh-keygen -q -t ed25519 -N "" -f /run/key; cat /run/key.pub');
  return stdout.trim();
}

/** Installs it as it should be. */
async function install(device: Machine, line: string): Promise<void> {
  await device.write(KEYS, `${line}\n`, 0o600);
  await device.sh(`chmod 755 ${HOME}; chmod 700 ${HOME}/.ssh; chown -R 1500:1500 ${HOME}`);
}

t.test('whom sshd lets in', NEEDS, async (t) => {
  const device = await sshMachine(t);
  /** Whether the real sshd lets the technician in with its key: what is said of it here is to be true. */
  const comesIn = async () => {
    const { stdout } = await device.sh(
      'ssh -F /dev/null -i /run/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -b 127.0.0.77 technician@127.0.0.1 echo in || true',
    );
    return stdout.includes('in');
  };
  await install(device, await publicKey(device));

  const causes: Record<string, { lines: string; args?: string[]; summary: RegExp; evidence: RegExp }> = {
    'AllowUsers names somebody else': {
      lines: 'AllowUsers device',
      summary: /AllowUsers does not name root, .*technician/,
      evidence: /allowusers device/,
    },
    'AllowUsers names the user for another address': {
      lines: 'AllowUsers *@192.168.77.*',
      summary: /AllowUsers does not name/,
      evidence: /allowusers \*@192\.168\.77\.\*/,
    },
    DenyUsers: { lines: 'DenyUsers *', summary: /DenyUsers keeps root, .*technician out/, evidence: /denyusers \*/ },
    AllowGroups: {
      lines: 'AllowGroups wheel',
      summary: /AllowGroups names none of the groups of root, .*technician/,
      evidence: /technician is in: technician/,
    },
    DenyGroups: {
      lines: 'DenyGroups tech*',
      args: ['--user', 'technician'],
      summary: /DenyGroups keeps technician out/,
      evidence: /denygroups tech\*/,
    },
    'a Match block for the address of the tunnel and of loopback': {
      lines: 'Match Address 127.0.0.0/8\nDenyUsers *',
      summary: /DenyUsers keeps/,
      evidence: /sshd -T -f \/etc\/ssh\/sshd_config -C user=\w+,addr=127\.0\.0\.1/,
    },
    'a Match block for the user': {
      lines: 'Match User technician\nAllowUsers root',
      args: ['--user', 'technician'],
      summary: /AllowUsers does not name technician/,
      evidence: /allowusers root/,
    },
    'every method is switched off in a Match block': {
      lines:
        'Match User technician\nPubkeyAuthentication no\nPasswordAuthentication no\nKbdInteractiveAuthentication no',
      args: ['--user', 'technician'],
      summary: /No way to log in is left for technician/,
      evidence: /pubkeyauthentication no/,
    },
  };
  for (const [name, { lines, args = [], summary, evidence }] of Object.entries(causes)) {
    await t.test(name, async (t) => {
      const sshd = await device.sshd(lines);
      const found = await device.diagnose(args);
      expectCause(t, found, 'sshd.users', summary);
      t.match(found.check('sshd.users').evidence, evidence);
      if (!lines.includes('77.')) t.notOk(await comesIn(), 'and so it is');
      await sshd.stop();
    });
  }

  await t.test('PermitRootLogin no', async (t) => {
    const sshd = await device.sshd('PermitRootLogin no');
    const found = await device.diagnose(['--user', 'root']);
    expectCause(t, found, 'sshd.users', /PermitRootLogin no keeps root out/);
    expectHealthy(t, await device.diagnose()); // the technician comes in
    await sshd.stop();
  });

  await t.test('nobody of that name', async (t) => {
    const sshd = await device.sshd();
    expectCause(t, await device.diagnose(['--user', 'device']), 'sshd.users', /There is no user device/);
    await sshd.stop();
  });

  await t.test('a locked account, without PAM', async (t) => {
    const sshd = await device.sshd();
    await device.sh('cp /etc/shadow /run/shadow; usermod -L technician');
    expectCause(t, await device.diagnose(['--user', 'technician']), 'sshd.users', /The account technician is locked/);
    t.notOk(await comesIn(), 'and so it is');
    await device.sh('usermod -p "*" technician');
    expectHealthy(t, await device.diagnose(['--user', 'technician']));
    t.ok(await comesIn(), 'a star in place of the password is not a lock');
    await device.sh('cp /run/shadow /etc/shadow');
    await sshd.stop();
  });

  await t.test('an expired account', async (t) => {
    const sshd = await device.sshd();
    await device.sh('usermod -e 2020-01-01 technician');
    expectCause(t, await device.diagnose(['--user', 'technician']), 'sshd.users', /The account technician has expired/);
    t.notOk(await comesIn(), 'and so it is');
    await device.sh('usermod -e "" technician');
    await sshd.stop();
  });

  await t.test('a shell that is not there, and one that cannot be run', async (t) => {
    const sshd = await device.sshd();
    await device.sh('usermod -s /bin/zsh-not-there technician');
    expectCause(
      t,
      await device.diagnose(['--user', 'technician']),
      'sshd.users',
      /The shell of technician does not exist/,
    );
    t.notOk(await comesIn(), 'and so it is');
    await device.sh('usermod -s /etc/passwd technician');
    expectCause(t, await device.diagnose(['--user', 'technician']), 'sshd.users', /is no program/);
    await device.sh('usermod -s /bin/sh technician');
    await sshd.stop();
  });

  await t.test('/etc/nologin', async (t) => {
    const sshd = await device.sshd();
    await device.sh('touch /etc/nologin');
    expectCause(t, await device.diagnose(['--user', 'technician']), 'sshd.users', /nologin/);
    t.notOk(await comesIn(), 'and so it is');
    await device.sh('rm /etc/nologin');
    await sshd.stop();
  });
});

t.test('whose key and whose password sshd accepts', NEEDS, async (t) => {
  const device = await sshMachine(t);
  const key = await publicKey(device);
  const comesIn = async () => {
    const { stdout } = await device.sh(
      'ssh -F /dev/null -i /run/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null technician@127.0.0.1 echo in || true',
    );
    return stdout.includes('in');
  };
  let sshd = await device.sshd('PasswordAuthentication no');
  await install(device, key);

  await t.test('a key as it should be', async (t) => {
    expectHealthy(t, await device.diagnose(['--user', 'technician']));
    t.ok(await comesIn());
  });

  const modes: Record<string, { break: string; at: string; fix: RegExp }> = {
    'the key file is writable by its group': {
      break: `chown :users ${KEYS}; chmod 664 ${KEYS}`,
      at: KEYS,
      fix: /chmod go-w \/home\/technician\/\.ssh\/authorized_keys/,
    },
    'its folder is writable by others': { break: `chmod 777 ${HOME}/.ssh`, at: `${HOME}/.ssh`, fix: /chmod go-w/ },
    'the home folder is writable by its group': {
      break: `chown :users ${HOME}; chmod 775 ${HOME}`,
      at: HOME,
      fix: /chmod go-w \/home\/technician$/,
    },
    'the key file belongs to another user': {
      break: `chown 1234 ${KEYS}; chmod 644 ${KEYS}`,
      at: KEYS,
      fix: /chown 1500/,
    },
    'the key file belongs to root, and only root may read it': {
      break: `chown 0:0 ${KEYS}`,
      at: KEYS,
      fix: /chown 1500/,
    },
    'the home folder belongs to another user': {
      break: `chown 1234 ${HOME}`,
      at: HOME,
      fix: /chown 1500 \/home\/technician$/,
    },
  };
  for (const [name, { break: script, at, fix }] of Object.entries(modes)) {
    await t.test(name, async (t) => {
      await device.sh(script);
      const found = await device.diagnose();
      expectCause(
        t,
        found,
        'sshd.keys',
        new RegExp(`passes over the keys of technician in ${KEYS}, because of ${at}:`),
      );
      t.match(found.check('sshd.keys').remedy, fix);
      t.notOk(await comesIn(), 'and so it is');
      await install(device, key);
    });
  }

  await t.test('a group of its own may write: Debian lets that pass', async (t) => {
    await device.sh(`chmod 664 ${KEYS}; chmod 775 ${HOME}`);
    const found = await device.diagnose(['--user', 'technician']);
    t.equal(found.check('sshd.keys').status === 'ok', await comesIn(), 'as the sshd of this machine has it');
    await install(device, key);
  });

  await t.test('with a password left, a key that is passed over is no more than a warning', async (t) => {
    await sshd.stop();
    sshd = await device.sshd();
    await device.sh(`chmod 666 ${KEYS}`);
    const { check, code } = await device.diagnose();
    t.match(check('sshd.keys'), { status: 'warn', summary: /passes over the keys of technician/ });
    t.equal(code, 0);
    await install(device, key);
    await sshd.stop();
  });

  await t.test('nobody has a key or a password', async (t) => {
    sshd = await device.sshd('PasswordAuthentication no');
    await device.sh(`rm ${KEYS}`);
    expectCause(t, await device.diagnose(), 'sshd.keys', /has no key where sshd looks for it/);
    t.notOk(await comesIn(), 'and so it is');
    await sshd.stop();
  });

  await t.test('a key that is in another file than the one that sshd reads', async (t) => {
    await install(device, key);
    sshd = await device.sshd('PasswordAuthentication no\nAuthorizedKeysFile /etc/ssh/keys/%u');
    const found = await device.diagnose(['--user', 'technician']);
    expectCause(t, found, 'sshd.keys', /technician has no key where sshd looks for it/);
    t.match(found.check('sshd.keys').remedy, /\/etc\/ssh\/keys\/technician/);
    t.notOk(await comesIn(), 'and so it is');
    await sshd.stop();
  });

  await t.test('a key that may be used from elsewhere only', async (t) => {
    await install(device, `from="192.168.0.0/16" ${key}`);
    sshd = await device.sshd('PasswordAuthentication no');
    expectCause(t, await device.diagnose(), 'sshd.keys', /No key of technician may be used from 127\.0\.0\.1/);
    t.notOk(await comesIn(), 'and so it is');
    await sshd.stop();
  });

  await t.test('PubkeyAuthentication no, and no password', async (t) => {
    await install(device, key);
    sshd = await device.sshd('PubkeyAuthentication no');
    const found = await device.diagnose(['--user', 'root']);
    expectCause(t, found, 'sshd.keys', /sshd takes neither a key nor a password of root/);
    await sshd.stop();
  });

  await t.test('StrictModes no, and keys by another program: nothing is said against them', async (t) => {
    await device.sh(`chmod 666 ${KEYS}`);
    sshd = await device.sshd('PasswordAuthentication no\nStrictModes no');
    expectHealthy(t, await device.diagnose());
    t.ok(await comesIn());
    await sshd.stop();
    await device.sh(`rm ${KEYS}`);
    sshd = await device.sshd(
      'PasswordAuthentication no\nAuthorizedKeysCommand /bin/cat /run/key.pub\nAuthorizedKeysCommandUser nobody',
    );
    const found = await device.diagnose();
    t.equal(found.code, 0);
    t.match(found.check('sshd.keys'), { status: 'unknown', evidence: /./ });
    t.ok(await comesIn());
    await sshd.stop();
  });

  await t.test('forwarding off: a login does not need it, unless somebody says which sshd is meant', async (t) => {
    await install(device, key);
    sshd = await device.sshd('AllowTcpForwarding no');
    expectHealthy(t, await device.diagnose());
    const found = await device.diagnose(['--user', 'technician']);
    expectCause(t, found, 'sshd.forwarding', /sshd forwards no connection for technician: allowtcpforwarding no/);
    await sshd.stop();
  });
});
