import { mkdir, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import type { Report } from '../../src/diagnose/report.ts';
import { run } from '../support/processes.ts';
import { findProgram, requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import {
  type Daemon,
  type Diagnosis,
  expectHealthy,
  LAN_PEER,
  type Machine,
  machine,
  NEEDS_MACHINE,
} from './machine.ts';
import { gatewayInLan, untilTunnel } from './proxy-bench.ts';
import { DOCKER, FIREWALLD, UFW } from './rulesets.ts';

// Whole machines as they are delivered and as people make them, with a real tunnel to our gateway: no check may say
// anything against them.

const NEEDS = requires(...NEEDS_MACHINE, 'ssh', 'nft', 'iptables', 'busybox');
const ROOT = resolve(import.meta.dirname, '../../..');
const DEDICATED = '/opt/beamer/beamer-ssh-tunnel';
/** A password nobody needs: what is in the throw-away machine for "technician" stands for "pi", too. */
const PI = `
echo 'pi:x:1000:1000:,,,:/home/pi:/bin/sh' >>/etc/passwd
echo 'pi:x:1000:' >>/etc/group
sed -n 's/^technician/pi/p' /etc/shadow >/run/pi && cat /run/pi >>/etc/shadow
mkdir -m 755 /home/pi && mkdir -m 700 /home/pi/.ssh
ssh-keygen -q -t ed25519 -N '' -f /run/key-of-pi && cp /run/key-of-pi.pub /home/pi/.ssh/authorized_keys
chown -R 1000:1000 /home/pi`;

interface Bench {
  device: Machine;
  /** What makes it a device of the gateway. */
  meeting: { deviceKey: string; token: string; proxy: { host: string; port: number } };
  /** The service with this configuration, or with what is there; ready when its tunnel stands. */
  serve(config: object | null): Promise<Daemon>;
}

async function bench(t: Test, hostname: string): Promise<Bench> {
  const device = await machine(t, hostname);
  const gateway = await gatewayInLan(t, device);
  const added = (await gateway.json('device', 'add')) as { devicekey: string; token_code: string };
  return {
    device,
    meeting: {
      ...{ deviceKey: added.devicekey, token: added.token_code },
      proxy: { host: LAN_PEER, port: gateway.ports.agent },
    },
    async serve(config) {
      if (config !== null) await device.configure(config);
      const service = await device.service();
      await untilTunnel(device, ({ state }) => state === 'up');
      return service;
    },
  };
}

/** All is well, as far as root can see: nothing is unknown, either. */
function expectWell(t: Test, found: Diagnosis, unknownAllowed: readonly string[] = []): void {
  expectHealthy(t, found);
  expectNothing(t, found.report, unknownAllowed);
}

function expectNothing(t: Test, report: Report, allowed: readonly string[] = []): void {
  const told = report.checks.filter(({ id, status }) => status !== 'ok' && status !== 'skip' && !allowed.includes(id));
  t.strictSame(
    told.map(({ id, summary, evidence }) => `${id}: ${summary} (${evidence})`),
    [],
    'everything is known',
  );
}

/** A network that has just changed. */
const CHANGING = ['mdns.visible'];

/** With the network, and without a process for each run. */
const look = (device: Machine) => device.examine({}, { network: true });
const shipped = async (path: string) => readFile(resolve(ROOT, path), 'utf8');
const board = async (name: string) => JSON.parse(await shipped(`board/${name}/config.json`)) as object;

t.test('a Beamer as it ships', NEEDS, async (t) => {
  const { device, meeting, serve } = await bench(t, 'beamer');
  await device.sshd('UsePAM no\nPermitRootLogin prohibit-password');
  await mkdir(device.path(`${DEDICATED}.d`), { recursive: true });
  await device.sshd(
    (await shipped('rootfs-overlay/opt/beamer/beamer-ssh-tunnel')).replace(/^HostKey .*\n/gm, ''),
    DEDICATED,
  );
  // The machine has net-tools; a Beamer has what BusyBox has.
  await device.sh(`mkdir /opt/busybox && ln -s ${findProgram('busybox')} /opt/busybox/netstat`);
  const config = { ...(await board('beamer')), monitor: { netstat: '/opt/busybox/netstat' } };
  const service = await serve({ ...config, meeting });

  await t.test('before anybody has paired', async (t) => expectWell(t, await look(device)));
  await t.test('paired, and its tunnel is closed', async (t) => {
    await device.sh(`ssh-keygen -q -t ed25519 -N '' -f /run/client
      echo 'restrict,port-forwarding,permitopen="localhost:3240",permitopen="localhost:5000"' "$(cat /run/client.pub)" >/root/.ssh/authorized_keys
      chmod 600 /root/.ssh/authorized_keys`);
    expectWell(t, await look(device));
  });
  await t.test('paired, and its tunnel stands', async (t) => {
    const options = ['BatchMode=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null'];
    const client = await device.start(
      [
        ...[...device.inLan.slice(device.inside.length), 'ssh', '-v', '-N', '-F', '/dev/null', '-i', '/run/client'],
        ...[
          '-p',
          '8007',
          ...options.map((option) => `-o${option}`),
          '-L',
          '13240:localhost:3240',
          'root@192.168.77.10',
        ],
      ],
      /Entering interactive session/,
    );
    const found = await device.diagnose();
    expectWell(t, found);
    for (const { id, status } of found.report.checks.filter((check) =>
      /^(sshd|paired|keys|monitor|proxy)\./.test(check.id),
    )) {
      t.equal(status, 'ok', id);
    }
    await client.stop();
  });
  await service.stop();

  await t.test('for pairing alone', async (t) => {
    await device.configure({ ...config, transport: 'none' });
    const alone = await device.service();
    expectWell(t, await look(device));
    await alone.stop();
  });
});

t.test('an RTSP-Recorder: Debian, and a user pi with a password and a key', NEEDS, async (t) => {
  const { device, meeting, serve } = await bench(t, 'raspi-local');
  await device.sh(PI);
  await device.sshd(
    'KbdInteractiveAuthentication no\nUsePAM yes\nX11Forwarding yes\nPrintMotd no\nAcceptEnv LANG LC_*',
  );
  const recorder = { ...(await board('rtsp-recorder')), meeting };
  const service = await serve(recorder);

  await t.test('as it is delivered', async (t) => expectWell(t, await device.diagnose(['--user', 'pi'])));
  await t.test('looked at from a folder that an update has removed', async (t) => {
    const { stdout } = await device.sh(`mkdir /run/gone; cd /run/gone; rmdir /run/gone; ${PROGRAM} diagnose --json`);
    expectNothing(t, JSON.parse(stdout) as Report);
  });
  const firewalls: Record<string, [rules: string, load: string]> = {
    ufw: [UFW, 'iptables-restore /run/rules'],
    firewalld: [FIREWALLD, 'nft -f /run/rules'],
    docker: [
      DOCKER,
      'iptables-restore /run/rules; ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0',
    ],
  };
  for (const [name, [rules, load]] of Object.entries(firewalls)) {
    await t.test(`behind ${name}`, async (t) => {
      await device.write('/run/rules', rules);
      await device.sh(load);
      expectWell(t, await look(device));
      await device.sh('nft flush ruleset; ip link del docker0 2>/dev/null || true');
    });
  }
  await t.test('with a second address, and with IPv6', async (t) => {
    await device.sh('ip addr add 10.9.8.7/24 dev eth0; ip addr add fd00::10/64 dev eth0 nodad');
    expectWell(t, await look(device), CHANGING);
  });
  await t.test('with IPv6 switched off while it runs', async (t) => {
    await device.sh('sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1');
    expectWell(t, await look(device), CHANGING);
  });
  await t.test('with IPv6 switched off since its start', async (t) => {
    await service.stop();
    await serve(null);
    expectWell(t, await look(device));
  });
});

t.test('with the files of older software in place of a configuration', NEEDS, async (t) => {
  const { device, meeting, serve } = await bench(t, 'raspi-old');
  await device.sshd();
  const old = {
    ...{ enabled: true, device_key: meeting.deviceKey, token_code: meeting.token, auto_connect: true },
    ...{ tunnel_host: LAN_PEER, tunnel_port: meeting.proxy.port, tunnel_ssl: false, heartbeat_interval: 30 },
  };
  await device.write('/etc/rpi-cam/meeting.json', JSON.stringify(old), 0o600);
  await serve(null);
  const found = await look(device);
  expectWell(t, found);
  t.match(found.check('config.valid').evidence, 'what older software has left');
});

t.test('SSH servers that are set up with care', NEEDS, async (t) => {
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
