import t from 'tap';
import { requires } from '../support/requires.ts';
import { NEEDS_MACHINE } from './machine.ts';
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
