import t from 'tap';
import { requires } from '../support/requires.ts';
import { expectCause, NEEDS_MACHINE } from './machine.ts';
import { sshMachine } from './ssh-machine.ts';

t.test('no SSH server is installed', requires(...NEEDS_MACHINE), async (t) => {
  const device = await sshMachine(t);
  // /usr is that of this machine: an empty file hides each program there, for this machine alone.
  const hide =
    'for each in sshd dropbear; do [ ! -e "$(command -v $each)" ] || mount --bind /etc/hosts.deny "$(command -v $each)"; done';
  await device.sh(hide);
  expectCause(t, await device.diagnose(), 'sshd.binary', /No SSH server is installed/);
});
