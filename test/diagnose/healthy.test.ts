import { mkdir, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import t from 'tap';
import type { Report } from '../../src/diagnose/report.ts';
import { findProgram, requires } from '../support/requires.ts';
import { PROGRAM } from '../support/service.ts';
import { bench, expectNothing, expectWell, look, PI } from './healthy-bench.ts';
import { LAN_PEER, NEEDS_MACHINE } from './machine.ts';
import { DOCKER, FIREWALLD, UFW } from './rulesets.ts';

// Devices as they are delivered.

const NEEDS = requires(...NEEDS_MACHINE, 'ssh', 'nft', 'iptables', 'busybox');
const ROOT = resolve(import.meta.dirname, '../../..');
const DEDICATED = '/opt/beamer/beamer-ssh-tunnel';
/** A network that has just changed. */
const CHANGING = ['mdns.visible'];

const shipped = async (path: string) => readFile(resolve(ROOT, path), 'utf8');
const board = async (name: string) => JSON.parse(await shipped(`board/${name}/config.json`)) as object;

t.test('a Beamer as it ships', NEEDS, async (t) => {
  const { device, meeting, serve } = await bench(t, 'beamer');
  await device.sshd('UsePAM no\nPermitRootLogin prohibit-password');
  await mkdir(device.path(`${DEDICATED}.d`), { recursive: true });
  await device.sshd(
    (await shipped('board/package/zeroforce-agent/beamer-ssh-tunnel')).replace(/^HostKey .*\n/gm, ''),
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
