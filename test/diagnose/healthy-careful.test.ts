import t from 'tap';
import type { Report } from '../../src/diagnose/report.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { bench, expectWell, look, PI } from './healthy-bench.ts';
import { machine, NEEDS_MACHINE } from './machine.ts';

// Devices that somebody has made as safe as can be.

t.test('SSH servers that are set up with care', requires(...NEEDS_MACHINE), async (t) => {
  const { device, meeting, serve } = await bench(t, 'hardened');
  await device.sh(`${PI}\ncp /run/key-of-pi.pub /root/.ssh/authorized_keys`);
  const open = { 'hosts.deny': '', 'hosts.allow': '' };
  const machines: Record<string, { lines: string; port?: number; wrappers?: typeof open }> = {
    'AllowUsers with an address, keys alone, no forwarding, Match blocks, hosts.deny for all but some': {
      lines: `UsePAM yes\nAllowUsers pi@127.0.0.0/8 root\nPermitRootLogin prohibit-password\nPasswordAuthentication no
        KbdInteractiveAuthentication no\nAllowTcpForwarding no\nMaxAuthTries 3\nLoginGraceTime 20\nMatch User root
        X11Forwarding no\nMatch Address 192.168.0.0/16\nPubkeyAuthentication no`,
      wrappers: { 'hosts.deny': 'ALL: ALL\n', 'hosts.allow': 'sshd: 127. 192.168.77.\n' },
    },
    'for the loopback alone': { lines: 'ListenAddress 127.0.0.1' },
    'on another port, which the tunnel leads to': { lines: 'Port 2222', port: 2222 },
    'on two ports': { lines: 'Port 22\nPort 2222\nMaxStartups 10:30:60\nUseDNS yes' },
  };
  for (const [name, { lines, port = 22, wrappers = open }] of Object.entries(machines)) {
    await t.test(name, async (t) => {
      for (const [file, text] of Object.entries(wrappers)) await device.write(`/etc/${file}`, text);
      const sshd = await device.sshd(lines);
      const service = await serve({ meeting, services: { ssh: port } });
      expectWell(t, await look(device));
      await service.stop();
      await sshd.stop();
    });
  }

  await t.test('everything but state and run folder is read-only, and pairing is locked', async (t) => {
    await device.sshd();
    await device.sh('mkdir -p /var/lib/zeroforce; mount -t tmpfs -o size=1m,mode=700 tmpfs /var/lib/zeroforce');
    await device.configure({ meeting, pairing: { policy: 'locked' } });
    await device.sh('for each in etc root home opt boot var; do mount -o remount,ro /$each; done');
    await serve(null);
    expectWell(t, await look(device));
  });
});

t.test(
  'who may not read the configuration concludes nothing from the defaults',
  requires(...NEEDS_MACHINE, 'setpriv'),
  async (t) => {
    const device = await machine(t);
    const settings = { transport: 'none', runDir: '/run/ours', stateDir: '/opt/state', tunnel: { port: 8107 } };
    await device.configure({ ...settings, services: { ssh: 2222 }, http: { port: 5055 } });
    await device.sshd('Port 2222');
    await device.service();
    const user = ['setpriv', '--reuid=1500', '--regid=1500', '--clear-groups'];
    const [program = '', ...args] = [...device.inside, ...user, PROGRAM, 'diagnose', '--json'];
    const { stdout } = await run(program, args, { env: { PATH: process.env.PATH, HOME: '/home/technician' } });
    const report = JSON.parse(stdout) as Report;
    const found = { code: 0, report, check: (id: string) => report.checks.find((each) => each.id === id) };
    t.strictSame(
      report.checks.filter(({ status }) => status === 'fail' || status === 'warn'),
      [],
    );
    t.match(found.check('config.valid'), { status: 'unknown', remedy: /sudo/ });
    t.match(found.check('sshd.listens'), { status: 'unknown', summary: /may not read/, remedy: /sudo/ });
    t.match(found.check('tunnel.services')?.summary, 'config.identity', 'it does not say that there is no tunnel');
  },
);
