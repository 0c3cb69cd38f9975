import t, { type Test } from 'tap';
import { requires } from '../support/requires.ts';
import { expectCause, expectHealthy, type Machine, machine, NEEDS_MACHINE } from './machine.ts';

const NEEDS = [...NEEDS_MACHINE, 'nft', 'iptables', 'iptables-legacy', 'ipset'];
const CHECK = 'firewall.inbound';

/** Who made the rules shows in the line to type: what it says to type is typed, and the cause is gone. */
async function cause(t: Test, device: Machine, rules: string, meaning: RegExp): Promise<void> {
  await device.sh(`nft flush ruleset; ${rules}`);
  const found = await device.diagnose();
  expectCause(t, found, CHECK, meaning);
  const { remedy } = found.check(CHECK);
  const [, command = ''] = /: (\S.*?); and/.exec(remedy ?? '') ?? [];
  await device.sh(command);
  const after = await device.diagnose();
  expectHealthy(t, after);
}

t.test('rules that drop or reject what comes through the tunnel', requires(...NEEDS), async (t) => {
  const device = await machine(t);
  await device.configure({ mdns: { enabled: false } });
  await device.sshd();

  await t.test('iptables: a rule for the port', (t) =>
    cause(t, device, 'iptables -A INPUT -p tcp --dport 22 -j DROP', /drops .* port 22, by .*INPUT.*--dport 22.*DROP/),
  );
});
