import { basename } from 'node:path';
import t, { type Test } from 'tap';
import { agentDeb } from '../../scripts/deb.ts';
import { deploy, startUnits } from '../migrate/deployed.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { makeKey } from '../support/sshd.ts';
import { type Board, makeBoard, NEEDS_BOARD } from './board.ts';
import { commandsOf } from './page.ts';
import { expectPairs, expectTunnel, gatewayFor, maintenanceSshd, pair } from './use.ts';

const NEEDS = requires(...NEEDS_BOARD, 'dpkg-deb');
const [OLD, NEW] = ['0.1.0', '0.2.0'];
const outFolder = t.testdir();
const debs = new Map<string, string>();

t.before(async () => {
  if (NEEDS.skip !== false) return;
  for (const version of [OLD, NEW]) debs.set(version, await agentDeb({ outFolder, version, compression: 'none' }));
});

/** Puts a version where the page wants it, and no other one beside it. */
async function bring(board: Board, version: string): Promise<string> {
  const deb = debs.get(version) ?? '';
  await board.must('rm -f /tmp/zeroforce_*');
  await board.put(deb, `/tmp/${basename(deb)}`);
  return `/tmp/${basename(deb)}`;
}

/** The commands of a section of the page, as they stand there. */
async function follow(board: Board, heading: string, edit = (script: string) => script): Promise<string> {
  let said = '';
  for (const block of commandsOf('install/rtsp-recorder.md', heading)) {
    said += await board.must(`export DEBIAN_FRONTEND=noninteractive; cd /tmp; set -e\n${edit(block)}`);
  }
  return said;
}

/** Waits there: each look from here would cost as much as ten. */
const runs = (board: Board, version: string) =>
  board.must(
    `timeout 60 sh -c 'until curl -s localhost:5000/zeroforce/info | grep -q "${version}"; do sleep 0.2; done'`,
  );

const starts = async (board: Board) =>
  (await board.must('journalctl -o cat -u zeroforce')).match(/^Started zeroforce.service/gm)?.length ?? 0;
const kept = (board: Board) =>
  board.must('cd / && find etc/zeroforce var/lib/zeroforce root/.ssh -type f | sort | xargs sha256sum');

t.test('the page of the RTSP-Recorder, followed literally', NEEDS, async (t: Test) => {
  const board = await makeBoard(t, 'trixie');
  await board.boot('systemd');
  await bring(board, OLD);
  await maintenanceSshd(board);

  const installed = await follow(board, 'Install');
  t.match(installed, /pairing +open/, 'it runs, and can be paired');
  t.equal(await board.must('stat -c "%a %U" /etc/zeroforce/config.json'), '600 root\n');
  t.equal(await board.must('sysctl -n net.ipv4.tcp_retries2'), '5\n');
  t.equal(
    (await board.must('systemctl is-enabled zeroforce zeroforce-sshd; id -un zeroforce')).replaceAll('\n', ' '),
    'enabled enabled zeroforce ',
  );
  t.equal((await board.sh('systemctl is-enabled zeroforce-monitor')).stdout, 'disabled\n');

  const proxy = await gatewayFor(t, board);
  const {
    deviceKey,
    token,
    proxy: at,
  } = proxy.meeting as { deviceKey: string; token: string; proxy: { host: string } };
  const own = (script: string) =>
    script.replace('TOKEN', token).replace('recorder-3', deviceKey).replace('gateway.example.org', at.host);
  const [configure = ''] = commandsOf('install/rtsp-recorder.md', 'Configure its identity');
  await board.must(`set -e\n${own(configure)}`);
  t.equal(await board.must('stat -c "%a" /etc/zeroforce/config.json'), '600\n', 'the edit leaves the mode');
  await expectTunnel(t, proxy);

  const before = await kept(board);
  const deb = await bring(board, NEW);
  const said = await proxy.ssh(`dpkg -i ${deb} 2>&1 && dpkg -s zeroforce`);
  t.match(said, /Status: install ok installed\n[\s\S]*Version: 0\.2\.0/, 'dpkg ends before its own session is cut');
  await runs(board, NEW);
  await expectTunnel(t, proxy);
  t.equal(await starts(board), 2, 'it was restarted once');
  t.equal(await kept(board), before, 'configuration, keys and state are as they were');

  const paired = await expectPairs(t, board);
  const tunnel = await paired.tunnel();
  t.match(await follow(board, 'Pair'), /key-set/);
  // As Debian ships it: it reads the same file.
  await board.must('/usr/sbin/sshd -p 2022 -o PidFile=none');
  const [program = '', ...net] = board.inNet;
  const options = ['BatchMode=yes', 'StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null'].flatMap((one) => [
    '-o',
    one,
  ]);
  const shell = await run(program, [
    ...net,
    'ssh',
    '-F',
    '/dev/null',
    ...options,
    '-i',
    paired.key,
    '-p',
    '2022',
    'root@127.0.0.1',
    'id',
  ]);
  t.strictSame(
    { code: shell.code, stdout: shell.stdout },
    { code: 1, stdout: '' },
    'no command at the maintenance sshd',
  );
  await bring(board, OLD);
  await follow(board, 'Upgrade', (script) => script.replace('-y', '-y --allow-downgrades'));
  await runs(board, OLD);
  t.match(await tunnel.get('/zeroforce/info'), OLD, 'a downgrade works, and the paired tunnel outlives it');
  await tunnel.close();

  await board.must(
    'ssh-keygen -q -t ed25519 -N "" -f /root/other -C other; cat /root/other.pub >> /root/.ssh/authorized_keys',
  );
  const state = await kept(board);
  const [remove = '', purge = ''] = commandsOf('install/rtsp-recorder.md', 'Remove');
  await board.must(remove);
  t.equal(await kept(board), state, 'removed, it leaves configuration, keys and state');
  t.equal((await board.sh('ss -Hltn "sport = :5000 or sport = :8007"')).stdout, '', 'and nothing that listens');
  await bring(board, NEW);
  await follow(board, 'Upgrade');
  await runs(board, NEW);
  t.match(await (await paired.tunnel()).get('/zeroforce/info'), NEW, 'installed again, it is the device that it was');

  t.match(await board.must(purge), /the paired key was removed/);
  t.equal(await board.must('cat /root/.ssh/authorized_keys'), await board.must('cat /root/other.pub'), 'only our line');
  t.equal(
    await board.must('find /etc /usr /var /run -xdev -name "*zeroforce*" ! -path "/var/log/*" ! -path "/var/cache/*"'),
    '',
    'purged, nothing of it is left',
  );
  t.match(await board.must('ss -Hltn "sport = :22"'), /:22/, 'the maintenance sshd was nobody’s business');
});

t.test('an installation beside deployed software, and upgrades that go wrong', NEEDS, async (t: Test) => {
  const board = await makeBoard(t, 'trixie');
  await board.boot('systemd');
  await board.write('/opt/zeroforce/installed', 'of install.sh\n');
  const refused = await board.sh(`dpkg -i ${await bring(board, OLD)}`);
  t.match(refused.stderr, /install\.sh uninstall/, 'two ways of installing do not meet');
  t.equal((await board.sh('ls /usr/bin/tunnel-agent')).code, 2, 'nothing was changed');
  await board.must('rm -r /opt/zeroforce');

  const { publicKey } = await makeKey(`${t.testdir()}/key`, 'home assistant');
  const meeting = { deviceKey: 'recorder-3', token: 'deployed', proxy: { host: '127.0.0.1', port: 9001 } };
  await deploy(board, { app: 'newer', meeting, pairedKey: publicKey });
  const units = (await startUnits(board, { app: 'newer' })).join(' ');
  const listening = 'ss -Hltnp "sport = :5000 or sport = :8007" | grep -o "pid=[0-9]*" | sort -u';
  await board.must(`until [ $(${listening} | wc -l) = 2 ]; do sleep 0.2; done`);
  const theirs = await board.must(listening);
  t.match(
    await board.must('dpkg -i /tmp/zeroforce_*'),
    /nothing was started[^\n]*tunnel-agent migrate\n/,
    'it says so',
  );
  await board.must('dpkg -i /tmp/zeroforce_*');
  t.equal(await board.must(listening), theirs, 'they have their ports, also after it was installed once more');
  t.equal((await board.sh('systemctl is-enabled zeroforce zeroforce-sshd')).stdout, 'disabled\ndisabled\n');
  t.equal(await board.must('ls /etc/zeroforce'), 'sshd_config\n', 'their identity is still the one that counts');
  await board.must(`systemctl disable -q --now ${units} && rm -r /etc/rpi-cam /etc/meeting /opt/beamer /opt/rpi-cam-webmanager
    rm /root/.ssh/authorized_keys /etc/systemd/system/beamer-* /etc/systemd/system/meeting-*; dpkg --purge zeroforce`);

  await board.must('dpkg -i /tmp/zeroforce_*');
  await runs(board, OLD);
  const paired = await pair(t, board);
  const comesIn = async () => {
    const tunnel = await paired.tunnel();
    t.match(await tunnel.get('/zeroforce/info'), /"version"/, 'the paired client comes in');
    await tunnel.close();
  };
  const deb = await bring(board, NEW);

  // The disk of the program is full: room for the version that is there, not for a second one.
  await board.must(`mkdir /tmp/was && cp -a /usr/lib/zeroforce/. /tmp/was && kib=$(du -sk /tmp/was | cut -f 1) &&
    mount -t tmpfs -o mode=755,size=$((kib + 600))k tmpfs /usr/lib/zeroforce && cp -a /tmp/was/. /usr/lib/zeroforce`);
  t.match((await board.sh(`dpkg -i ${deb}`)).stderr, /No space left on device/);
  await board.must('systemctl restart zeroforce');
  await runs(board, OLD);
  await comesIn();
  await board.must('umount -l /usr/lib/zeroforce');

  // dpkg is killed while it unpacks, and while it configures.
  await board.must(`dpkg -i ${deb} >/tmp/said 2>&1 & pid=$!
    until [ -e /usr/lib/zeroforce/tunnel-agent.cjs.dpkg-new ] || ! kill -0 $pid; do :; done; kill -9 $pid; wait $pid || true`);
  t.not((await board.sh('dpkg -s zeroforce')).stdout.includes('install ok installed'), true, 'it was cut short');
  await board.must('systemctl restart zeroforce');
  await comesIn();
  await board.must(`dpkg --unpack ${deb}`);
  await board.write('/usr/local/bin/systemd-sysusers', '#!/bin/sh\nkill -9 $(cat /tmp/pid); sleep 1\n', 0o755);
  t.not(
    (await board.sh("sh -c 'echo $$ >/tmp/pid; exec dpkg --configure zeroforce'")).code,
    0,
    'postinst is cut short',
  );
  await board.must('rm /usr/local/bin/systemd-sysusers');
  await board.must('dpkg --configure -a');
  await runs(board, NEW);
  await comesIn();

  // A configuration that the other version cannot read.
  const broken = '{ "http": { "port": 5000 }, "fromTheFuture": true }\n';
  await board.write('/etc/zeroforce/config.json', broken, 0o600);
  await board.must(`dpkg -i ${await bring(board, OLD)}`);
  await runs(board, OLD);
  t.match(await board.must('tunnel-agent status'), /fromTheFuture/, 'the service says what is wrong, and runs');
  await comesIn();
  await board.write('/etc/zeroforce/config.json', 'not even JSON', 0o600);
  await board.must(`rm /var/lib/zeroforce/config.last-good.json; dpkg -i ${await bring(board, NEW)}`);
  t.match(await board.must('dpkg -l zeroforce | tail -n 1'), new RegExp(`^ii +zeroforce +${NEW}`), 'it is installed');
  t.equal(await board.must('cat /etc/zeroforce/config.json'), 'not even JSON', 'nobody but a person touches it');
});
