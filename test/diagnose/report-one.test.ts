import t from 'tap';
import { requires } from '../support/requires.ts';
import { type Daemon, expectCause, expectHealthy, LAN_PEER, machine, NEEDS_MACHINE } from './machine.ts';
import { gatewayInLan, reconfigure, untilTunnel } from './proxy-bench.ts';

// The first bug report as a technician meets it: the device is online, its public port is open, and ssh through it ends
// at once. Each cause that the report lists is made, seen from outside, found on the device, and repaired as it says.

t.test(
  'the first bug report, from the public port to the cause',
  requires(...NEEDS_MACHINE, 'ssh', 'iptables'),
  async (t) => {
    const device = await machine(t, 'raspi-local');
    const gateway = await gatewayInLan(t, device);
    const { devicekey: deviceKey, token_code: token } = (await gateway.json('device', 'add')) as {
      devicekey: string;
      token_code: string;
    };
    const meeting = { deviceKey, token, proxy: { host: LAN_PEER, port: gateway.ports.agent } };
    const config = (ssh: number) => ({ meeting, services: { ssh }, mdns: { enabled: false } });
    await device.sh(`ssh-keygen -q -t ed25519 -N '' -f /run/key
    mkdir -m 700 /home/technician/.ssh && cp /run/key.pub /home/technician/.ssh/authorized_keys
    chown -R 1500:1500 /home/technician/.ssh`);
    await device.configure(config(22));
    await device.service();
    await untilTunnel(device, ({ state }) => state === 'up');
    const { port } = (await gateway.json('open', deviceKey, 'ssh')) as { port: number };
    const lan = device.inLan.slice(device.inside.length).join(' ');
    /** What the technician is told; `in` after a login. */
    const login = async () => {
      const options = ['BatchMode=yes', 'ConnectTimeout=2', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null'];
      const ssh = `ssh -F /dev/null -i /run/key -p ${port} ${options.map((each) => `-o ${each}`).join(' ')}`;
      return (await device.sh(`${lan} ${ssh} technician@${LAN_PEER} echo in 2>&1 || true`)).stdout;
    };
    let sshd: Daemon | null = null;
    const serve = async (lines: string) => {
      await sshd?.stop();
      sshd = await device.sshd(lines);
    };
    const OUT = /kex_exchange_identification|banner exchange|Connection (reset|closed)|Permission denied/;

    interface Cause {
      make: () => Promise<unknown>;
      id: string;
      summary: RegExp;
      remedy: RegExp;
      repair: () => Promise<unknown>;
      /** A broken file keeps nobody out before the next start. */
      stillIn?: true;
    }
    const again = () => serve('');
    const causes: Record<string, Cause> = {
      '1: sshd is not started': {
        make: async () => sshd?.stop(),
        ...{ id: 'sshd.running', summary: /No SSH server runs/, remedy: /start/, repair: again },
      },
      '2: sshd listens on the wrong interface': {
        make: () => serve('ListenAddress 192.168.77.10'),
        ...{ id: 'sshd.listens', summary: /listens only on 192\.168\.77\.10:22/, remedy: /ListenAddress 127\.0\.0\.1/ },
        repair: () => serve('ListenAddress 192.168.77.10\nListenAddress 127.0.0.1'),
      },
      '3: a firewall rejects': {
        make: () => device.sh('iptables -A INPUT -p tcp --dport 22 -j REJECT --reject-with tcp-reset'),
        ...{ id: 'firewall.inbound', summary: /rejects what comes through the tunnel for port 22/ },
        ...{
          remedy: /iptables -I INPUT -i lo -j ACCEPT/,
          repair: () => device.sh('iptables -I INPUT -i lo -j ACCEPT'),
        },
      },
      '3: the policy of a firewall drops, also what comes for the pairing routes': {
        make: () => device.sh('iptables -F; iptables -A INPUT -i eth0 -j ACCEPT; iptables -P INPUT DROP'),
        ...{ id: 'firewall.inbound', summary: /policy drop/, remedy: /iptables -I INPUT -i lo -j ACCEPT/ },
        repair: () => device.sh('iptables -I INPUT -i lo -j ACCEPT'),
      },
      '4: AllowUsers names somebody else': {
        make: () => serve('AllowUsers device'),
        ...{ id: 'sshd.users', summary: /AllowUsers does not name .*technician/, remedy: /Add the user to AllowUsers/ },
        repair: () => serve('AllowUsers device technician'),
      },
      '4: DenyUsers *': {
        make: () => serve('DenyUsers *'),
        ...{ id: 'sshd.users', summary: /DenyUsers keeps/, remedy: /Correct DenyUsers/, repair: again },
      },
      '5: hosts.deny': {
        make: () => device.write('/etc/hosts.deny', 'sshd: ALL\n'),
        ...{ id: 'hosts.access', summary: /because of \/etc\/hosts\.deny line 1/, remedy: /hosts\.allow: sshd: 127\./ },
        repair: () => device.write('/etc/hosts.allow', 'sshd: 127.\n'),
      },
      '6: the tunnel leads to another program': {
        make: () => reconfigure(device, config(5000)),
        ...{
          id: 'tunnel.target',
          summary: /leads to port 5000, and there is a web server/,
          remedy: /ZEROFORCE_SERVICES/,
        },
        repair: () => reconfigure(device, config(22)),
      },
      '6: the tunnel leads to a port where nothing is': {
        make: () => reconfigure(device, config(23)),
        ...{ id: 'sshd.listens', summary: /listens on port 22, as it should, and not on port 23/ },
        ...{
          remedy: /^Use the port that it has: ZEROFORCE_SERVICES=ssh=22;/,
          repair: () => reconfigure(device, config(22)),
        },
      },
      '7: the configuration of sshd is invalid': {
        make: () =>
          device.write('/etc/ssh/sshd_config', 'HostKey /etc/ssh/machine_host_key\nPermitRotLogin no\n', 0o600),
        ...{ id: 'sshd.config', summary: /does not know: .*PermitRotLogin/, remedy: /Remove the line PermitRotLogin/ },
        ...{ repair: again, stillIn: true },
      },
    };

    await again();
    t.match(await login(), /^in$/m);
    for (const [name, { make, id, summary, remedy, repair, stillIn }] of Object.entries(causes)) {
      await t.test(name, async (t) => {
        await make();
        t.match(await login(), stillIn === true ? /^in$/m : OUT);
        const found = await device.examine({}, { network: true });
        expectCause(t, found, id, summary);
        t.match(found.check(id).remedy, remedy);
        await repair();
        t.match(await login(), /^in$/m, 'repaired as it says');
      });
    }
    expectHealthy(t, await device.diagnose());
  },
);
