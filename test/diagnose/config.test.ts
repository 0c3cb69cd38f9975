import t from 'tap';
import { requires } from '../support/requires.ts';
import { expectCause, machine, NEEDS_MACHINE } from './machine.ts';

t.test('a broken configuration is a failed check, with every fault of it', requires(...NEEDS_MACHINE), async (t) => {
  const device = await machine(t);
  await device.sshd();
  await device.write('/etc/zeroforce/config.json', '{"tunnel": {"port": 70000}}');
  expectCause(t, await device.diagnose(), 'config.valid', /tunnel\.port = 70000/);
});
