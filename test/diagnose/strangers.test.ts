import t from 'tap';
import { requires } from '../support/requires.ts';
import { machine, NEEDS_MACHINE } from './machine.ts';
import { sshMachine } from './ssh-machine.ts';

const NEEDS = requires(...NEEDS_MACHINE, 'dropbear');

t.test('what another user of the device has put there is not believed', NEEDS, async (t) => {
  const device = await sshMachine(t);

  await t.test('a program that he calls sshd is not run as root', async (t) => {
    // A copy of dropbear: it listens, and needs no rights.
    await device.sh(
      'cd /home/technician; cp /usr/sbin/dropbear sshd; chown 1500 sshd; dropbearkey -t ed25519 -f key >/dev/null 2>&1; chown 1500 key',
    );
    const listens = ['/home/technician/sshd', '-F', '-E', '-p', '8007', '-r', '/home/technician/key'];
    const fake = await device.start(['setpriv', '--reuid=1500', '--clear-groups', ...listens], /Not backgrounding/);
    const { check } = await device.diagnose();
    t.match(check('sshd.binary').evidence, /found \/usr\/sbin\/sshd/);
    await fake.stop();
  });
});

t.test('to look at the sshd of the paired tunnel is not taken for a tunnel', NEEDS, async (t) => {
  const device = await machine(t);
  await device.configure({ transport: 'none', mdns: { enabled: false }, monitor: { intervalSeconds: 0.1 } });
  await device.service();
  const pairing = async () => {
    const { stdout } = await device.agent(['status', '--json']);
    return (JSON.parse(stdout) as { pairing: object }).pairing;
  };
  const open = { open: true, everPaired: false };
  t.match(await pairing(), open);

  // It takes connections and says nothing, so that each stands for as long as the check has.
  const script = "require('node:net').createServer(() => {}).listen(8007, () => console.log('listening'))";
  await device.start([process.execPath, '-e', script], /listening/);
  await device.write('/opt/beamer/beamer-ssh-tunnel', 'Port 8007\n');
  for (const [what, id, env] of [
    ['a server of its own', 'paired.banner', {}],
    ['the one that technicians reach, too', 'sshd.banner', { ZEROFORCE_SERVICES: 'ssh=8007' }],
  ] as const) {
    await t.test(what, async (t) => {
      const { check } = await device.diagnose(['--no-network', '--only', 'sshd.*,paired.*'], env);
      t.match(check(id).evidence, /silence/);
      t.match(await pairing(), open);
    });
  }
});
