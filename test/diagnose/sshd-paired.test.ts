import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import t from 'tap';
import { requires } from '../support/requires.ts';
import { expectCause, expectHealthy, NEEDS_MACHINE } from './machine.ts';
import { sshMachine } from './ssh-machine.ts';

const NEEDS = requires(...NEEDS_MACHINE);
const FILE = '/opt/beamer/beamer-ssh-tunnel';
const SHIPPED = readFileSync(
  resolve(import.meta.dirname, '../../../board/package/zeroforce-agent/beamer-ssh-tunnel'),
  'utf8',
).replace(/^HostKey .*\n/gm, '');

/** What ships, with some of its lines exchanged. */
function shipped(lines: Record<string, string> = {}): string {
  let text = SHIPPED;
  for (const [keyword, line] of Object.entries(lines)) text = text.replace(new RegExp(`^${keyword} .*$`, 'm'), line);
  return text;
}

t.test('the dedicated sshd of the paired tunnel', NEEDS, async (t) => {
  const device = await sshMachine(t);
  await device.sshd();
  const start = (lines: Record<string, string> = {}) => device.sshd(shipped(lines), FILE);
  /** Whether a client of the home network gets through to a port as it names it. */
  const getsThrough = async (target: string) => {
    const { stdout } = await device.sh(
      `ssh -F /dev/null -i /run/key -p 8007 -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -W ${target} root@192.168.77.10 </dev/null 2>&1 || true`,
    );
    return !/administratively prohibited|Permission denied/.test(stdout);
  };

  await t.test('there is none: nothing is said of it', async (t) => {
    const found = await device.diagnose();
    expectHealthy(t, found);
    for (const name of ['config', 'running', 'listens', 'banner', 'users', 'keys', 'forwarding']) {
      t.equal(found.check(`paired.${name}`).status, 'skip', name);
    }
  });

  await t.test('it is there, and not started', async (t) => {
    await device.write(FILE, `HostKey /etc/ssh/machine_host_key\n${shipped()}`);
    const found = await device.diagnose();
    expectCause(t, found, 'paired.running', /No SSH server runs for port 8007/);
    t.match(found.check('paired.running').remedy, /sshd -f \/opt\/beamer\/beamer-ssh-tunnel/);
  });

  await t.test('as it ships, before a key is paired and after', async (t) => {
    const sshd = await start();
    const before = await device.diagnose();
    expectHealthy(t, before);
    t.equal(before.check('paired.keys').status, 'skip');
    await device.sh(
      'ssh-keygen -q -t ed25519 -N "" -f /run/key; cp /run/key.pub /root/.ssh/authorized_keys; chmod 600 /root/.ssh/authorized_keys',
    );
    const after = await device.diagnose();
    expectHealthy(t, after);
    for (const name of ['config', 'running', 'listens', 'banner', 'users', 'keys', 'forwarding']) {
      t.equal(after.check(`paired.${name}`).status, 'ok', name);
    }
    t.ok(await getsThrough('localhost:3240'));
    await sshd.stop();
  });

  const causes: Record<string, { lines: Record<string, string>; id: string; summary: RegExp; refuses?: string }> = {
    'its configuration is invalid': {
      lines: { PermitListen: 'PermitListen nowhere:x' },
      id: 'paired.config',
      summary: /invalid: .*PermitListen|PermitListen/i,
    },
    'it listens for this machine alone': {
      lines: { Port: 'Port 8007\nListenAddress 127.0.0.1' },
      id: 'paired.listens',
      summary: /listens only on 127\.0\.0\.1:8007 .*come in at 192\.168\.77\.10:8007/,
    },
    'it listens on another port': {
      lines: { Port: 'Port 8008' },
      id: 'paired.listens',
      summary: /listens on port 8008, and not on port 8007/,
    },
    'it lets somebody else in': {
      lines: { AllowUsers: 'AllowUsers technician' },
      id: 'paired.users',
      summary: /AllowUsers does not name root/,
      refuses: 'localhost:3240',
    },
    'PermitRootLogin no': {
      lines: { PermitRootLogin: 'PermitRootLogin no' },
      id: 'paired.users',
      summary: /PermitRootLogin no keeps root out/,
      refuses: 'localhost:3240',
    },
    'the key is installed for another user': {
      lines: { AuthorizedKeysFile: 'AuthorizedKeysFile /home/technician/.ssh/authorized_keys' },
      id: 'paired.keys',
      summary: /paired key is in \/root\/\.ssh\/authorized_keys, where this sshd does not look for the keys of root/,
      refuses: 'localhost:3240',
    },
    'forwarding is off': {
      lines: { AllowTcpForwarding: 'AllowTcpForwarding no' },
      id: 'paired.forwarding',
      summary: /forwards no connection for root: allowtcpforwarding no/,
      refuses: 'localhost:3240',
    },
    'forwarding in the other direction only': {
      lines: { AllowTcpForwarding: 'AllowTcpForwarding remote' },
      id: 'paired.forwarding',
      summary: /forwards no connection for root: allowtcpforwarding remote/,
      refuses: 'localhost:3240',
    },
    DisableForwarding: {
      lines: { AllowTcpForwarding: 'DisableForwarding yes' },
      id: 'paired.forwarding',
      summary: /disableforwarding yes/,
      refuses: 'localhost:3240',
    },
    'the list of targets leaves USB out': {
      lines: { PermitOpen: 'PermitOpen localhost:5000 127.0.0.1:5000' },
      id: 'paired.forwarding',
      summary: /forwards nothing to localhost:3240: its list in .*beamer-ssh-tunnel leaves that out/,
      refuses: 'localhost:3240',
    },
    'the list of targets has it under its other name': {
      lines: { PermitOpen: 'PermitOpen 127.0.0.1:3240 127.0.0.1:5000' },
      id: 'paired.forwarding',
      summary: /localhost:3240: the list in .*beamer-ssh-tunnel has it under another name/,
      refuses: 'localhost:3240',
    },
  };
  for (const [name, { lines, id, summary, refuses }] of Object.entries(causes)) {
    await t.test(name, async (t) => {
      const invalid = id === 'paired.config';
      if (invalid) await device.write(FILE, `HostKey /etc/ssh/machine_host_key\n${shipped(lines)}`);
      const sshd = invalid ? null : await start(lines);
      expectCause(t, await device.diagnose(), id, summary);
      if (refuses !== undefined) t.notOk(await getsThrough(refuses), 'and so it is');
      await sshd?.stop();
    });
  }

  const options: Record<string, { options: string; summary: RegExp }> = {
    'the options of the key forbid forwarding': {
      options: 'restrict,permitopen="localhost:3240"',
      summary: /The options of the paired key in \/root\/\.ssh\/authorized_keys forbid forwarding/,
    },
    'the list of the key has the target under its other name, and both lists apply': {
      options: 'restrict,port-forwarding,permitopen="127.0.0.1:3240"',
      summary: /localhost:3240: the list in \/root\/\.ssh\/authorized_keys has it under another name/,
    },
  };
  for (const [name, { options: words, summary }] of Object.entries(options)) {
    await t.test(name, async (t) => {
      const sshd = await start();
      await device.sh(`echo '${words}' "$(cat /run/key.pub)" >/root/.ssh/authorized_keys`);
      expectCause(t, await device.diagnose(), 'paired.forwarding', summary);
      t.notOk(await getsThrough('localhost:3240'), 'and so it is');
      await sshd.stop();
    });
  }

  await t.test('the list leaves out the local API: a warning', async (t) => {
    await device.sh('cp /run/key.pub /root/.ssh/authorized_keys');
    const sshd = await start({ PermitOpen: 'PermitOpen localhost:3240' });
    const found = await device.diagnose();
    t.equal(found.code, 0);
    t.match(found.check('paired.forwarding'), { status: 'warn', summary: /nothing to localhost:5000, the local API/ });
    await sshd.stop();
  });
});

t.test('one sshd for the technician and for the paired tunnel: sshd.* says it all', NEEDS, async (t) => {
  const device = await sshMachine(t);
  await device.sh(
    'ssh-keygen -q -t ed25519 -N "" -f /run/key; cp /run/key.pub /root/.ssh/authorized_keys; chmod 600 /root/.ssh/authorized_keys',
  );
  const sshd = await device.sshd('Port 22\nPort 8007\nAllowTcpForwarding no');
  const found = await device.diagnose();
  expectCause(t, found, 'sshd.forwarding', /allowtcpforwarding no/);
  t.equal(found.check('paired.forwarding').status, 'skip');
  await sshd.stop();
  await device.sshd('Port 22\nPort 8007');
  expectHealthy(t, await device.diagnose());
});
