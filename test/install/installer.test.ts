import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import t from 'tap';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { type Board, type Init, makeBoard, NEEDS_BOARD } from './board.ts';
import { releases } from './releases.ts';
import { expectPairs, expectTunnel, gatewayFor, maintenanceSshd } from './use.ts';

const INSTALLER = 'sh /opt/zeroforce/install.sh';
/** In seconds; a version here is ready after one. */
const QUICK = '--within 20 --steady 2';
const NODE = join(process.env.ZEROFORCE_TEST_CACHE ?? '/var/cache/zeroforce-test', 'node-x64-20.19.2/bin');

const SYSTEMS: readonly (readonly [Init, 'trixie' | 'bookworm'])[] = [
  ['systemd', 'trixie'],
  ['openrc', 'bookworm'],
  ['busybox', 'bookworm'],
];

for (const [init, debian] of SYSTEMS) {
  t.test(
    `${init}: installed, paired and reached; upgraded through its own tunnel; taken back; uninstalled`,
    requires(...NEEDS_BOARD, ...(debian === 'bookworm' ? [NODE] : [])),
    async (whole) => {
      const make = await releases(whole);
      const board = await makeBoard(whole, debian);
      if (debian === 'bookworm') await board.put(NODE, '/opt/node');
      const put = async (path: string) => board.put(path, `/root/${basename(path)}`);
      await put(await make('1.0.0'));
      await board.boot(init);
      await maintenanceSshd(board);
      const before = await filesOf(board);

      const proxyFolder = whole.testdir();
      let proxy = await gatewayFor(whole, board, proxyFolder);
      await board.write('/root/first.json', configuration(proxy.meeting), 0o600);
      const node = debian === 'bookworm' ? '--node /opt/node/node' : '';
      const installed = await board.must(
        `cd /root && tar -xzf zeroforce-agent-1.0.0.tar.gz && zeroforce-agent-1.0.0/install.sh install --config /root/first.json ${node} ${QUICK}`,
      );
      whole.match(installed, /version 1\.0\.0 is installed and ready/);
      await expectTunnel(whole, proxy);
      await expectPairs(whole, board);
      whole.equal(await version(board), '1.0.0');

      await whole.test('a technician upgrades through the tunnel that the upgrade restarts', async (t) => {
        await put(await make('1.1.0'));
        await proxy.ssh(`${INSTALLER} upgrade /root/zeroforce-agent-1.1.0.tar.gz ${QUICK}`).then(
          (said) => t.comment(said),
          () => t.comment('the connection ended, as it has to'),
        );
        await until('the upgrade to be through', async () => /version 1\.1\.0 runs/.test(await last(board)), 60_000);
        t.equal(await version(board), '1.1.0');
        await expectTunnel(t, proxy);
        t.match(await proxy.ssh(`${INSTALLER} status`), /version: +1\.1\.0\nbefore it: 1\.0\.0\n/);
      });

      for (const [next, broken, reason] of [
        ['1.2.0', 'exits', /does not answer/],
        ['1.3.0', 'untunnelled', /no tunnel session/],
      ] as const) {
        await whole.test(`a version that ${broken} is taken back, with the tunnel`, async (t) => {
          await put(await make(next, broken));
          const { code, stdout } = await board.sh(
            `${INSTALLER} upgrade /root/zeroforce-agent-${next}.tar.gz --within 8 --steady 2`,
          );
          t.equal(code, 3, stdout);
          t.match(stdout, reason);
          t.equal(await version(board), '1.1.0');
          await expectTunnel(t, proxy);
        });
      }

      await whole.test('the power is cut while a version that hangs has to prove itself', async (t) => {
        await put(await make('1.4.0', 'hangs'));
        const upgrade = board.sh(`${INSTALLER} upgrade /root/zeroforce-agent-1.4.0.tar.gz`);
        await until(
          'the proof',
          async () => (await board.sh('grep -q "^step prove" /opt/zeroforce/journal')).code === 0,
        );
        await proxy.stop();
        await board.cut();
        await upgrade;
        await board.boot(init);
        await maintenanceSshd(board);
        proxy = await gatewayFor(whole, board, proxyFolder);
        await expectTunnel(t, proxy);
        t.equal(await version(board), '1.1.0');
        t.match(
          await last(board),
          /1\.4\.0 was interrupted in the step prove, and was taken back: version 1\.1\.0 runs/,
        );
      });

      await whole.test('back to the version before', async (t) => {
        const { code, stdout } = await board.sh(`${INSTALLER} rollback ${QUICK}`);
        t.equal(code, 0, stdout);
        t.equal(await version(board), '1.0.0');
        await expectTunnel(t, proxy);
      });

      await whole.test('uninstalled, nothing of it is left', async (t) => {
        const { code, stdout } = await board.sh(`${INSTALLER} uninstall --purge`);
        t.equal(code, 0, stdout);
        const after = await filesOf(board);
        t.strictSame(
          after.filter((path) => !before.includes(path)),
          [],
          'files more than before',
        );
        t.strictSame(
          before.filter((path) => !after.includes(path)),
          [],
          'files less than before',
        );
        t.equal((await board.sh('ss -tln | grep -q ":5000 \\|:8007 "')).code, 1, 'nothing listens');
      });
    },
  );
}

function configuration(meeting: Readonly<Record<string, unknown>>): string {
  const beamer = JSON.parse(readFileSync('board/beamer/config.json', 'utf8')) as object;
  return JSON.stringify({ ...beamer, meeting, reconnect: { maxSeconds: 2 } });
}

/** Of the service that answers. */
async function version(board: Board): Promise<string> {
  const status = JSON.parse(await board.must('tunnel-agent status --json')) as { version: string };
  return status.version;
}

async function last(board: Board): Promise<string> {
  return (await board.sh('cat /opt/zeroforce/outcome')).stdout;
}

/** Everything on its disk but what others write there: logs, and what was put there for the test. */
async function filesOf(board: Board): Promise<string[]> {
  const others = ['/var/log/*', '/var/tmp/*', '/root/*', '/etc/ssh/*'].map((path) => `-not -path '${path}'`).join(' ');
  return (await board.must(`find /etc /opt /usr /var /root /boot /home /srv -xdev ${others} | sort`)).split('\n');
}
