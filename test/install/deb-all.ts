import { statSync } from 'node:fs';
import { basename } from 'node:path';
import t, { type Test } from 'tap';
import { agentDeb, gatewayDeb, nodeDeb } from '../../scripts/deb.ts';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { type Board, makeBoard, NEEDS_BOARD } from './board.ts';
import { commandsOf } from './page.ts';
import { expectPairs } from './use.ts';

/** `make test-deb`: what takes longer. The agent's own package is tried by deb.test.ts. */
const NEEDS = requires(...NEEDS_BOARD, 'dpkg-deb', 'lintian', 'x86_64-linux-gnu-strip', 'aarch64-linux-gnu-strip');

t.test('every package as it ships: lintian, processor, sizes', { ...NEEDS, timeout: 900_000 }, async (t: Test) => {
  const folder = t.testdir();
  const debs = [
    await agentDeb({ outFolder: folder }),
    await gatewayDeb({ outFolder: folder }),
    await nodeDeb('amd64', { outFolder: folder }),
    await nodeDeb('arm64', { outFolder: folder }),
  ];
  const { code, stdout } = await run('lintian', ['--allow-root', '--tag-display-limit', '0', ...debs], {
    timeoutMs: 900_000,
  });
  t.strictSame({ code, stdout }, { code: 0, stdout: '' });
  for (const deb of debs) {
    const size = await run('dpkg-deb', ['-f', deb, 'Package', 'Architecture', 'Installed-Size']);
    t.comment(`${basename(deb)}: ${statSync(deb).size} bytes`, size.stdout.trim().replaceAll('\n', ', '));
  }
  const arm = await run('sh', [
    '-c',
    'dpkg-deb --fsys-tarfile "$0" | tar -xO ./usr/lib/zeroforce/node | head -c 20 | od -An -tx1',
    debs[3] ?? '',
  ]);
  t.match(arm.stdout, /^ 7f 45 4c 46[\s\S]* b7 00/, 'an ELF file for aarch64');
});

const follow = (board: Board, script: string) =>
  board.must(`export DEBIAN_FRONTEND=noninteractive; cd /tmp; set -e\n${script}`);

/** Waits on the board: each look from here would cost as much as ten. */
const waitFor = (board: Board, what: string) => board.must(`timeout 60 sh -c '${`until ${what}; do sleep 0.3; done`}'`);
const nodeIs = (unit: string, path: string) =>
  `[ "$(readlink /proc/$(systemctl show -P MainPID ${unit})/exe)" = ${path} ]`;

t.test('Debian 12, whose Node is too old, and the gateway on it', NEEDS, async (t: Test) => {
  const options = { outFolder: t.testdir(), compression: 'none' } as const;
  const [agent, node, gateway] = [await agentDeb(options), await nodeDeb('amd64', options), await gatewayDeb(options)];
  const board = await makeBoard(t, 'bookworm');
  await board.boot('systemd');
  for (const deb of [agent, gateway]) await board.put(deb, `/tmp/${basename(deb)}`);

  const alone = await board.sh('cd /tmp && apt-get install -y ./zeroforce_*_all.deb');
  t.match(
    alone.stdout + alone.stderr,
    /Depends: nodejs \(>= 20\.19\)[\s\S]* zeroforce-node/,
    'what is missing has a name',
  );
  t.not((await board.sh('dpkg -s zeroforce')).code, 0, 'and nothing is half installed');

  await board.put(node, `/tmp/${basename(node)}`);
  const [install = '', leaveNode = ''] = commandsOf(
    'install/rtsp-recorder.md',
    'Debian 12 and Raspberry Pi OS bookworm',
  );
  await follow(board, install);
  await board.must(nodeIs('zeroforce', '/usr/lib/zeroforce/node'));
  await expectPairs(t, board);

  const [installGateway = '', name = ''] = commandsOf('gateway.md', 'As a Debian package');
  t.match(await follow(board, installGateway), /^ok|online|ready/im);
  await follow(board, name);
  await waitFor(board, 'tunnel-gateway health');
  t.equal(await board.must('sysctl -n net.ipv4.ip_local_reserved_ports'), '40000-49999\n');
  t.equal(await board.must('ps -o user:20= -p $(systemctl show -P MainPID zeroforce-gateway)'), 'zeroforce-gateway\n');
  const added = JSON.parse(await board.must('tunnel-gateway device add --json'));
  await board.must(
    `sed -i '1a "meeting": { "deviceKey": "${added.devicekey}", "token": "${added.token_code}", "proxy": { "host": "127.0.0.1" } },' /etc/zeroforce/config.json`,
  );
  const online = () => waitFor(board, `tunnel-gateway sessions --json | grep -q ${added.devicekey}`);
  await online();
  t.match(await board.must(`tunnel-gateway open ${added.devicekey} ssh`), /gateway\.example\.org/);

  const pid = await board.must('systemctl show -P MainPID zeroforce-gateway');
  await board.must(`dpkg -i /tmp/${basename(gateway)}`);
  t.not(await board.must('systemctl show -P MainPID zeroforce-gateway'), pid, 'an upgrade restarts the gateway');
  await online();

  // Debian 13 comes: its nodejs, and what was carried goes.
  await board.must(`cp /usr/lib/zeroforce/node /opt/node && mkdir -p /tmp/n/DEBIAN /tmp/n/usr/bin && cd /tmp/n &&
    printf '#!/bin/sh\\nexec /opt/node "$@"\\n' >usr/bin/node && chmod 755 usr/bin/node &&
    printf 'Package: nodejs\\nVersion: 20.19.2\\nArchitecture: amd64\\nMaintainer: t <t@t>\\nDescription: t\\n' >DEBIAN/control &&
    dpkg-deb -Znone --build . /tmp/nodejs.deb && dpkg -i /tmp/nodejs.deb`);
  await follow(board, leaveNode);
  for (const unit of ['zeroforce', 'zeroforce-gateway']) await waitFor(board, nodeIs(unit, '/opt/node'));
  await online();

  await board.must('apt-get remove -y zeroforce-gateway');
  t.match(await board.must('ls /var/lib/zeroforce-gateway'), /\w/, 'removed, the gateway keeps its fleet');
  await board.must('apt-get purge -y zeroforce-gateway');
  t.equal(await board.must('ls -d /var/lib/zeroforce-gateway /etc/zeroforce/gateway.env 2>/dev/null || true'), '');
  t.match(
    await board.must('ls /etc/zeroforce /var/lib/zeroforce'),
    /config\.json[\s\S]*ever-paired/,
    'the agent is as it was',
  );
});
