import t from 'tap';
import { NEEDS_BOARD } from '../install/board.ts';
import { ask, expectTunnel, maintenanceSshd } from '../install/use.ts';
import { requires } from '../support/requires.ts';
import { until } from '../support/until.ts';
import { deployApp, fingerprint } from './deployed.ts';
import { deployedDevice, ended, states, THEIRS } from './device.ts';

// `make test-migrate`: minutes on a busy machine. Every step in memory is in execute.test.ts, which is part of `make test`.

const JOURNAL = '/var/lib/zeroforce/migration.json';

t.test('a migration that is cut off, or fails', requires(...NEEDS_BOARD), async (t) => {
  const { board, gateway: first, again } = await deployedDevice(t);
  let gateway = first;
  const before = await fingerprint(board);
  /** Begins a migration that nobody follows, and returns when its journal says this. */
  const middle = (pattern: string) =>
    board.must(
      `tunnel-agent migrate --yes >/dev/null 2>&1 & until grep -q '${pattern}' ${JOURNAL}; do sleep 0.02; done`,
    );

  await t.test('a power cut in the middle: it comes to its end at the next boot', async (t) => {
    for (const pattern of ['phase.:.moving', 'phase.:.moving.*does not start at boot', 'phase.:.proving']) {
      await middle(pattern);
      await gateway.stop();
      await board.cut();
      await board.boot('systemd');
      await maintenanceSshd(board);
      gateway = await again();
      // Cut before anything was enabled, it stays until somebody calls it.
      if ((await board.sh('tunnel-agent migrate --status')).code === 3) await board.sh('tunnel-agent migrate --yes');
      await ended(board);
      await expectTunnel(t, gateway);
      t.match(
        (await states(board, THEIRS)).join(),
        /^(?:disabled,){3}(?:inactive|failed)(?:,(?:inactive|failed)){2}$/,
        pattern,
      );
      await board.must('tunnel-agent migrate --undo --yes');
      t.equal(await fingerprint(board), before, pattern);
    }
  });

  await t.test('the worker alone is killed: its guard starts it again', async (t) => {
    await gateway.online();
    await middle('phase.:.moving');
    await board.must('until [ -s /var/lib/zeroforce/migration.lock ]; do sleep 0.02; done');
    await board.must('kill -9 "$(cut -d " " -f 1 /var/lib/zeroforce/migration.lock)"');
    await ended(board);
    await expectTunnel(t, gateway);
    await board.must('tunnel-agent migrate --undo --yes');
  });

  await t.test('all of it is killed: it goes on when it is called again', async (t) => {
    await gateway.online();
    await middle('phase.:.proving');
    await board.must('systemctl kill -s KILL zeroforce-migration');
    const next = await board.sh('tunnel-agent migrate --yes');
    t.equal(next.code, 0, next.stderr);
    await expectTunnel(t, gateway);
    await board.must('tunnel-agent migrate --undo --yes');
  });

  await t.test('no session: theirs is put back, and the reason is told', async (t) => {
    await gateway.stop();
    const failed = await board.sh('tunnel-agent migrate --yes --within 5');
    t.equal(failed.code, 1);
    t.match(failed.stderr, /within 5 s zeroforce did not prove itself: it has no session .*127\.0\.0\.1:9001/);
    t.match(failed.stderr, /migrate\.put-back/);
    t.equal(await fingerprint(board), before);
    gateway = await again();
    await expectTunnel(t, gateway);
  });

  await t.test('the older application does more than pairing: it is left alone', async (t) => {
    await board.must('systemctl disable --now beamer-usb');
    await deployApp(board, 'older');
    await board.must('systemctl restart beamer-web');
    const exported = () => ask(board, '/api/exported-devices');
    await until('the older application', async () => (await exported()) === '["1-1.4"]');
    const done = await board.sh('tunnel-agent migrate --yes');
    t.equal(done.code, 0, done.stderr);
    t.match(done.stdout, /leave alone: beamer-web\.service: .*does more than pairing/);
    t.match(done.stdout, /Pairing is on port 5080 instead, and is announced there by mDNS \(http=5080\)/);
    t.equal(await exported(), '["1-1.4"]');
    t.equal(await ask(board, '/zeroforce/readytopair', 5080), 'true', 'this device has never been paired');
    t.strictSame(await states(board, ['beamer-web', 'meeting-tunnel']), ['enabled', 'disabled', 'active', 'inactive']);
    await expectTunnel(t, gateway);
  });
});
