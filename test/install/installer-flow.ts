import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Test } from 'tap';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { type Board, type Init, makeBoard, NEEDS_BOARD } from './board.ts';
import { commandsOf } from './page.ts';
import type { Releases } from './releases.ts';
import { expectPairs, expectTunnel, gatewayFor, maintenanceSshd } from './use.ts';

const INSTALLER = 'sh /opt/zeroforce/install.sh';
/** In seconds; a version here is ready after one. */
const QUICK = '--within 20 --steady 2';
const NODE = join(process.env.ZEROFORCE_TEST_CACHE ?? '/var/cache/zeroforce-test', 'node-x64-20.19.2/bin');

/** What can be tried after the installation, in this order. */
export type Part = 'upgrade' | 'exits' | 'untunnelled' | 'cut' | 'rollback';

/** Debian's own Node, or one that is named to the installer. */
const SYSTEMS = { systemd: 'trixie', openrc: 'bookworm', busybox: 'bookworm' } as const;

export const needsFor = (init: Init) => requires(...NEEDS_BOARD, ...(SYSTEMS[init] === 'bookworm' ? [NODE] : []));

/**
 * A board with this init system: installed as docs/install/other.md says, paired, reached through a gateway, each of the
 * `parts`, and uninstalled without a trace.
 */
export async function tryInstaller(
  whole: Test,
  init: Init,
  { make, parts }: { make: Releases; parts: readonly Part[] },
): Promise<void> {
  const board = await makeBoard(whole, SYSTEMS[init]);
  const ownNode = SYSTEMS[init] === 'bookworm';
  if (ownNode) await board.put(NODE, '/opt/node');
  const put = async (path: string) => board.put(path, `/root/${basename(path)}`);
  await put(await make('1.0.0'));
  await board.boot(init);
  await maintenanceSshd(board);
  const before = await filesOf(board);

  const proxyFolder = whole.testdir();
  let proxy = await gatewayFor(whole, board, proxyFolder);
  await board.write('/root/first.json', configuration(proxy.meeting), 0o600);
  const [unpackAndInstall = '', look = ''] = commandsOf('install/other.md', 'Install');
  const command = unpackAndInstall
    .replaceAll('VERSION', '1.0.0')
    .replace('--config rtsp-recorder', `--config /root/first.json ${QUICK} ${ownNode ? '--node /opt/node/node' : ''}`);
  whole.match(await board.must(`cd /root\n${command}`), /version 1\.0\.0 is installed and ready/);
  whole.match(await board.must(look), /configuration is valid[\s\S]*tunnel-agent 1\.0\.0 on/);
  await expectTunnel(whole, proxy);
  await expectPairs(whole, board);
  whole.equal(await version(board), '1.0.0');
  let runs = '1.0.0';

  for (const part of parts) {
    await whole.test(TITLES[part], async (t) => {
      switch (part) {
        case 'upgrade': {
          await put(await make('1.1.0'));
          const [upgrade = ''] = commandsOf('install/upgrade.md', 'Upgrade');
          await proxy.ssh(`cd /root && ${upgrade.replaceAll('VERSION', '1.1.0').trim()} ${QUICK}`).then(
            (said) => t.comment(said),
            () => t.comment('the connection ended, as it has to'),
          );
          await until('the upgrade to be through', async () => /version 1\.1\.0 runs/.test(await last(board)), 60_000);
          runs = '1.1.0';
          t.comment(`the tunnel was away for ${await tunnelWasAway(board)} s`);
          await expectTunnel(t, proxy);
          t.match(await proxy.ssh(`${INSTALLER} status`), /version: +1\.1\.0\nbefore it: 1\.0\.0\n/);
          break;
        }
        case 'exits':
        case 'untunnelled': {
          await put(await make('1.2.0', part));
          const { code, stdout } = await board.sh(
            `${INSTALLER} upgrade /root/zeroforce-agent-1.2.0.tar.gz --within 8 --steady 2`,
          );
          t.equal(code, 3, stdout);
          t.match(stdout, part === 'exits' ? /does not answer/ : /no tunnel session/);
          await expectTunnel(t, proxy);
          break;
        }
        case 'cut': {
          await put(await make('1.4.0', 'hangs'));
          const upgrade = board.sh(`${INSTALLER} upgrade /root/zeroforce-agent-1.4.0.tar.gz`);
          await until('the proof', async () => {
            return (await board.sh('grep -q "^step prove" /opt/zeroforce/journal')).code === 0;
          });
          await proxy.stop();
          await board.cut();
          await upgrade;
          await board.boot(init);
          await maintenanceSshd(board);
          proxy = await gatewayFor(whole, board, proxyFolder);
          await expectTunnel(t, proxy);
          t.match(await last(board), /1\.4\.0 was interrupted in the step prove, and was taken back: version/);
          break;
        }
        case 'rollback': {
          const { code, stdout } = await board.sh(
            `${commandsOf('install/upgrade.md', 'Rollback')[0]?.trim()} ${QUICK}`,
          );
          t.equal(code, 0, stdout);
          runs = '1.0.0';
          await expectTunnel(t, proxy);
        }
      }
      t.equal(await version(board), runs);
    });
  }

  await whole.test('uninstalled, nothing of it is left', async (t) => {
    const { code, stdout } = await board.sh(`${commandsOf('install/other.md', 'Uninstall')[0]?.trim()} --purge`);
    t.equal(code, 0, stdout);
    const after = await filesOf(board);
    const [more, less] = [
      after.filter((path) => !before.includes(path)),
      before.filter((path) => !after.includes(path)),
    ];
    t.strictSame({ more, less }, { more: [], less: [] }, 'files more or less than before');
    t.equal((await board.sh('ss -tln | grep -q ":5000 \\|:8007 "')).code, 1, 'nothing listens');
  });
}

const TITLES: Readonly<Record<Part, string>> = {
  upgrade: 'a technician upgrades through the tunnel that the upgrade restarts',
  exits: 'a version that ends at once is taken back, with the tunnel',
  untunnelled: 'a version that has no tunnel is taken back, with the tunnel',
  cut: 'the power is cut while a version that hangs has to prove itself',
  rollback: 'back to the version before',
};

function configuration(meeting: Readonly<Record<string, unknown>>): string {
  const beamer = JSON.parse(readFileSync('board/beamer/config.json', 'utf8')) as object;
  return JSON.stringify({ ...beamer, meeting, reconnect: { maxSeconds: 2 } });
}

/** Of the service that answers. */
async function version(board: Board): Promise<string> {
  const status = JSON.parse(await board.must('tunnel-agent status --json')) as { version: string };
  return status.version;
}

/** Between the end of the old service's last session and the begin of the new one's first, by the log, in seconds. */
async function tunnelWasAway(board: Board): Promise<number> {
  const log = await board.must(
    'if [ -d /run/systemd/system ]; then journalctl -u zeroforce -o cat; else cat /var/log/messages; fi',
  );
  const timeOf = (message: string) => {
    const line = log.split('\n').findLast((each) => each.includes(`"msg":"${message}"`)) ?? '';
    return Date.parse(/"time":"([^"]+)"/.exec(line)?.[1] ?? '');
  };
  return (timeOf('the tunnel is up') - timeOf('stopping')) / 1000;
}

async function last(board: Board): Promise<string> {
  return (await board.sh('cat /opt/zeroforce/outcome')).stdout;
}

/** Everything on its disk but what others write there: logs, and what was put there for the test. */
async function filesOf(board: Board): Promise<string[]> {
  const others = ['/var/log/*', '/var/tmp/*', '/root/*', '/etc/ssh/*'].map((path) => `-not -path '${path}'`).join(' ');
  return (await board.must(`find /etc /opt /usr /var /root /boot /home /srv -xdev ${others} | sort`)).split('\n');
}
