import t from 'tap';
import { NEEDS_BOARD } from '../install/board.ts';
import { commandsOf } from '../install/page.ts';
import { ask, expectTunnel, pair } from '../install/use.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { FILES, fingerprint } from './deployed.ts';
import { deployedDevice, ended, OTHERS, states, stranger, THEIRS } from './device.ts';

const PAGE = 'install/migration.md';
const blockOf = (heading: string, at = 0) => commandsOf(PAGE, heading)[at] ?? '';

t.test('a device under systemd is taken over through its own tunnel', requires(...NEEDS_BOARD), async (t) => {
  const { board, gateway } = await deployedDevice(t);
  const { token } = gateway.meeting as { token: string };
  const flag = async () => (await board.sh('[ -e /run/zeroforce/tunnel_active ]')).code === 0;
  const paired = await pair(t, board);
  const tunnel = await paired.tunnel();
  await until('their monitor to see the tunnel', flag);
  const before = await fingerprint(board);

  await t.test('the look changes nothing, and its exit code tells that a migration is due', async (t) => {
    const quiet = await board.sh('tunnel-agent migrate --dry-run --quiet');
    t.strictSame([quiet.code, quiet.stdout, quiet.stderr], [3, '', '']);
    const shown = await board.must(blockOf('Look'));
    const stranger = await board.sh('runuser -u nobody -- tunnel-agent migrate --dry-run');
    t.equal(stranger.code, 1);
    t.match(stranger.stderr, /only root sees which programs run/);
    t.match(shown, /stop and disable: meeting-tunnel\.service: their tunnel agent/);
    t.match(shown, /stop and disable: beamer-monitor\.service/);
    t.match(shown, /stop and disable: beamer-web\.service: their pairing application/);
    t.match(shown, /leave alone: beamer-usb\.service: their application for USB/);
    t.match(shown, /leave alone: beamer-sshd\.service: the sshd of the paired tunnel/);
    t.notMatch(shown, /In the way|5080/);
    t.notMatch(shown, new RegExp(token), 'without the token');
    t.equal(await fingerprint(board), before);
  });

  await t.test('no moment is open to a stranger, and no paired tunnel is cut', async (t) => {
    const outside = stranger(t, board);
    // As a technician does it: through their agent's tunnel, which ends in the middle.
    await gateway.ssh(blockOf('Take over')).catch(() => undefined);
    await ended(board);
    await expectTunnel(t, gateway);
    t.match(
      await tunnel.get('/zeroforce/info'),
      /"pairing_mode":false/,
      'our pairing answers through the paired tunnel',
    );
    await tunnel.close();
    await until('our monitor to see its end', async () => !(await flag()));
    t.equal(await ask(board, '/zeroforce/readytopair'), 'false', 'a paired device waits for the timeout');
    t.notMatch(await outside.stop(), /"ok":true/);
    t.notMatch(await board.must(`cat ${FILES.keys}`), /stranger/);
  });

  await t.test('theirs is off, what does more is as it was, ours has the configuration', async (t) => {
    t.strictSame(await states(board, [...THEIRS, ...OTHERS, 'zeroforce']), [
      ...[...THEIRS.map(() => 'disabled'), ...OTHERS.map(() => 'enabled'), 'enabled'],
      ...[...THEIRS.map(() => 'inactive'), ...OTHERS.map(() => 'active'), 'active'],
    ]);
    t.match(await board.must('stat -c "%a %U" /etc/zeroforce/config.json'), '600 root');
    const shown = await board.must('tunnel-agent config show');
    t.match(shown, /meeting\.token +"\[secret\]" +\/etc\/zeroforce\/config\.json/);
    const told = await board.must(`${blockOf('Take over', 1)}journalctl -t zeroforce`);
    t.notMatch(told, new RegExp(token));
    t.match(told, /zeroforce has taken over/);
  });

  await t.test('done twice it is done once', async (t) => {
    const now = await fingerprint(board);
    const again = await board.sh('tunnel-agent migrate --yes');
    t.equal(again.code, 0, again.stderr);
    t.match(again.stdout, /There is nothing to take over/);
    t.equal((await board.sh('tunnel-agent migrate --dry-run --quiet')).code, 0);
    t.equal(await fingerprint(board), now);
  });

  await t.test('the undo gives back every byte, and pairing stays closed', async (t) => {
    const outside = stranger(t, board);
    await gateway.ssh(blockOf('Give it back')).catch(() => undefined);
    await ended(board, 'undone');
    await expectTunnel(t, gateway);
    t.notMatch(await outside.stop(), /"ok":true/);
    t.equal(await fingerprint(board), before);
    t.strictSame(await states(board, ['zeroforce', ...THEIRS]), [
      ...['disabled', 'enabled', 'enabled', 'enabled'],
      ...['inactive', 'active', 'active', 'active'],
    ]);
  });
});
