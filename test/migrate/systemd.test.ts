import { type ChildProcess, spawn } from 'node:child_process';
import t, { type Test } from 'tap';
import { type Board, makeBoard, NEEDS_BOARD } from '../install/board.ts';
import { commandsOf } from '../install/page.ts';
import { ask, expectTunnel, gatewayFor, maintenanceSshd, type Proxy, pair } from '../install/use.ts';
import { endChild, withoutTap } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { deploy, deployApp, FILES, fingerprint, startUnits } from './deployed.ts';
import { installUnits } from './ours.ts';

const PAGE = 'install/migration.md';
const blockOf = (heading: string, at = 0) => commandsOf(PAGE, heading)[at] ?? '';
const STRANGER = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5n7ZC2p0X8yvvYHf2cTn2y3hUuZl1mXHq2zv5q8mRk stranger';

/** Somebody in the network who tries to pair, again and again, on every port that pairing may be on. */
function stranger(t: Test, board: Board): { stop: () => Promise<string> } {
  const attempt = [5000, 5080].map(
    (port) => `curl -s -m 2 --data-urlencode "key=${STRANGER}" http://127.0.0.1:${port}/zeroforce/setkey; echo;`,
  );
  const script = `while :; do ${attempt.join(' ')} sleep 0.3; done`;
  const [program = '', ...words] = board.inNet;
  const child: ChildProcess = spawn(...withoutTap(program, [...words, 'sh', '-c', script]), {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let said = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  t.teardown(() => endChild(child));
  return {
    stop: async () => {
      await endChild(child);
      return said;
    },
  };
}

const states = (board: Board, units: readonly string[]) =>
  board
    .sh(`systemctl is-enabled ${units.join(' ')}; systemctl is-active ${units.join(' ')}`)
    .then(({ stdout }) => stdout.split('\n'));

/** Waits for the end of a migration that nobody follows. */
function ended(board: Board, code = 0): Promise<unknown> {
  return until(
    'the end of the migration',
    async () => (await board.sh('tunnel-agent migrate --status')).code === code,
    90_000,
  );
}

t.test(
  'a device under systemd is taken over through its own tunnel, and given back',
  requires(...NEEDS_BOARD),
  async (t) => {
    const whole = t;
    const board = await makeBoard(t, 'trixie');
    const kept = t.testdir();
    await installUnits(t, board);
    await board.boot('systemd');
    await maintenanceSshd(board);
    let proxy: Proxy = await gatewayFor(t, board, kept);
    const { token } = proxy.meeting as { token: string };
    await deploy(board, { app: 'newer', meeting: proxy.meeting as never, pairedKey: '' });
    await startUnits(board, { app: 'newer' });
    await proxy.online();
    const theirs = ['meeting-tunnel', 'beamer-monitor', 'beamer-web'];
    const others = ['beamer-sshd', 'beamer-usb'];
    const all = [...theirs, ...others, 'zeroforce'];

    await t.test('the look changes nothing, and its exit code tells that a migration is due', async (t) => {
      const paired = await pair(t, board);
      const tunnel = await paired.tunnel();
      await until(
        'their monitor to see the tunnel',
        async () => (await board.sh('[ -e /run/zeroforce/tunnel_active ]')).code === 0,
      );
      const before = await fingerprint(board);
      const quiet = await board.sh('tunnel-agent migrate --dry-run --quiet');
      t.strictSame([quiet.code, quiet.stdout, quiet.stderr], [3, '', '']);
      const shown = await board.must(blockOf('Look'));
      t.match(shown, /stop and disable: meeting-tunnel\.service: their tunnel agent/);
      t.match(shown, /stop and disable: beamer-monitor\.service/);
      t.match(shown, /stop and disable: beamer-web\.service: their pairing application/);
      t.match(shown, /leave alone: beamer-usb\.service: their application for USB/);
      t.match(shown, /leave alone: beamer-sshd\.service: the sshd of the paired tunnel/);
      t.notMatch(shown, /In the way|5080/);
      t.notMatch(shown, new RegExp(token), 'without the token');
      t.equal(await fingerprint(board), before);

      const outside = stranger(t, board);
      // As a technician does it: through their agent's tunnel, which ends in the middle.
      await proxy.ssh(blockOf('Take over')).catch(() => undefined);
      await ended(board);
      await expectTunnel(t, proxy);
      t.match(
        await tunnel.get('/zeroforce/info'),
        /"pairing_mode":false/,
        'the paired tunnel was not cut, and our pairing answers through it',
      );
      await tunnel.close();
      await until(
        'our monitor to see its end',
        async () => (await board.sh('[ -e /run/zeroforce/tunnel_active ]')).code !== 0,
      );
      t.equal(await ask(board, '/zeroforce/readytopair'), 'false', 'a paired device waits for the timeout');
      t.notMatch(await outside.stop(), /"ok":true/, 'no stranger could pair at any moment');
      t.notMatch(await board.must(`cat ${FILES.keys}`), /stranger/);
    });

    await t.test('theirs is off, what does more is as it was, ours has the configuration', async (t) => {
      t.strictSame(await states(board, all), [
        ...theirs.map(() => 'disabled'),
        ...others.map(() => 'enabled'),
        'enabled',
        ...theirs.map(() => 'inactive'),
        ...others.map(() => 'active'),
        'active',
        '',
      ]);
      t.match(await board.must('stat -c "%a %U" /etc/zeroforce/config.json'), '600 root');
      t.match(
        await board.must('tunnel-agent config show'),
        /meeting\.token +"\[secret\]" +\/etc\/zeroforce\/config\.json/,
      );
      const told = await board.must(`${blockOf('Take over', 1)}journalctl -t zeroforce`);
      t.notMatch(told, new RegExp(token));
      t.match(told, /zeroforce has taken over/);
    });

    await t.test('done twice it is done once', async (t) => {
      const before = await fingerprint(board);
      const again = await board.sh('tunnel-agent migrate --yes');
      t.equal(again.code, 0, again.stderr);
      t.match(again.stdout, /There is nothing to take over/);
      t.equal((await board.sh('tunnel-agent migrate --dry-run --quiet')).code, 0);
      t.equal(await fingerprint(board), before);
    });

    await t.test('the undo gives back every byte, and pairing stays closed', async (t) => {
      const outside = stranger(t, board);
      await proxy.ssh(blockOf('Give it back')).catch(() => undefined);
      await ended(board);
      await expectTunnel(t, proxy);
      t.notMatch(await outside.stop(), /"ok":true/);
      t.equal(
        (await states(board, ['zeroforce', ...theirs])).join(' '),
        'disabled enabled enabled enabled inactive active active active ',
      );
      t.equal((await board.sh('[ -e /etc/zeroforce/config.json ]')).code, 1);
    });

    const before = await fingerprint(board);

    await t.test('cut off by a power cut in its middle, it comes to its end at the next boot', async (t) => {
      await board.must(
        'tunnel-agent migrate --yes >/dev/null 2>&1 & until grep -q "phase.:.moving.*does not start at boot" /var/lib/zeroforce/migration.json; do sleep 0.05; done',
      );
      await proxy.stop();
      await board.cut();
      await board.boot('systemd');
      await maintenanceSshd(board);
      proxy = await gatewayFor(whole, board, kept);
      await ended(board);
      await expectTunnel(t, proxy);
      t.equal((await states(board, theirs)).join(' '), 'disabled disabled disabled inactive inactive inactive ');
      await board.must('tunnel-agent migrate --undo --yes');
      t.equal(await fingerprint(board), before);
    });

    await t.test('killed with all that guards it, it goes on when it is called again', async (t) => {
      await proxy.online();
      const middle = 'until grep -q "phase.:.proving" /var/lib/zeroforce/migration.json; do sleep 0.05; done';
      await board.must(
        `tunnel-agent migrate --yes >/dev/null 2>&1 & ${middle}; systemctl kill -s KILL zeroforce-migration; wait`,
      );
      const again = await board.sh('tunnel-agent migrate --yes');
      t.equal(again.code, 0, again.stderr);
      await expectTunnel(t, proxy);
      await board.must('tunnel-agent migrate --undo --yes');
    });

    await t.test('where zeroforce gets no session, theirs is put back, and the reason is told', async (t) => {
      await proxy.stop();
      const failed = await board.sh('tunnel-agent migrate --yes --within 5');
      t.equal(failed.code, 1);
      t.match(
        failed.stderr,
        /within 5 s zeroforce did not prove itself: it has no session .*127\.0\.0\.1:9001.*\n.*migrate\.put-back/,
      );
      t.equal(await fingerprint(board), before);
      proxy = await gatewayFor(whole, board, kept);
      await expectTunnel(t, proxy);
    });

    await t.test(
      'the older application does more than pairing: it is left alone, and ours takes another port',
      async (t) => {
        await board.must('systemctl disable --now beamer-usb');
        await deployApp(board, 'older');
        await board.must('systemctl restart beamer-web');
        await until('the older application', async () => (await ask(board, '/api/exported-devices')) === '["1-1.4"]');
        const done = await board.sh('tunnel-agent migrate --yes');
        t.equal(done.code, 0, done.stderr);
        t.match(done.stdout, /leave alone: beamer-web\.service: .*does more than pairing/);
        t.match(done.stdout, /Pairing is on port 5080 instead, and is announced there by mDNS \(http=5080\)/);
        t.equal(await ask(board, '/api/exported-devices'), '["1-1.4"]');
        t.equal(await ask(board, '/zeroforce/readytopair', 5080), 'false', 'ours is closed to strangers');
        t.equal((await states(board, ['beamer-web', 'meeting-tunnel'])).join(' '), 'enabled disabled active inactive ');
        await expectTunnel(t, proxy);
      },
    );
  },
);
