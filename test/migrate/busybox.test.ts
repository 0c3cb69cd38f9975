import t from 'tap';
import { makeBoard, NEEDS_BOARD } from '../install/board.ts';
import { ask, expectTunnel, gatewayFor, maintenanceSshd } from '../install/use.ts';
import { requires } from '../support/requires.ts';
import { deploy, FILES, fingerprint, startScripts } from './deployed.ts';
import { ended } from './device.ts';
import { installScripts } from './ours.ts';

const PAIRED = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0xkGxWJ9PqfvZ1q3sZ0bY0N0oJX1sJ6vW0qzvC0R2p home assistant';

t.test(
  'a Beamer with init scripts of BusyBox and the older application is taken over, and given back',
  requires(...NEEDS_BOARD),
  async (t) => {
    const board = await makeBoard(t, 'bookworm');
    const kept = t.testdir();
    await installScripts(t, board);
    await board.boot('busybox');
    await maintenanceSshd(board);
    let proxy = await gatewayFor(t, board, kept);
    await deploy(board, { app: 'older', meeting: proxy.meeting as never, pairedKey: PAIRED });
    await startScripts(board);
    await proxy.online();
    const before = await fingerprint(board);
    const runs = async (name: string) => (await board.sh(`pgrep -f '${name}'`)).code === 0;

    await proxy.ssh('tunnel-agent migrate --yes').catch(() => undefined);
    await ended(board);
    await expectTunnel(t, proxy);
    t.notOk(
      await runs('^/usr/bin/python3 .*tunnel_agent.py'),
      'their agent is gone, though its script did not stop it',
    );
    t.notOk(await runs('^/bin/sh .*zeroforce_tunnel_monitor.sh'));
    const names = await board.must('ls /etc/init.d');
    t.match(names, /K92zeroforce-monitor\nK93meeting-tunnel\n(?:.*\n)*S70zeroforce\n(?:.*\n)*S91beamer-web/);
    t.match(
      await board.must('cat /var/spool/cron/crontabs/root'),
      /^17 3 .*\n# taken over by zeroforce: \*\/5 \* \* \* \* pgrep/m,
    );
    t.equal(await ask(board, '/api/exported-devices'), '["1-1.4"]', 'the older application goes on');
    t.equal(
      await ask(board, '/zeroforce/readytopair', 5080),
      'false',
      'and ours on another port is closed to strangers',
    );
    t.equal((await board.sh('tunnel-agent migrate --dry-run --quiet')).code, 0);
    t.match(
      await board.must('cat /var/log/messages'),
      /zeroforce: migration: zeroforce has taken over/,
      'the log has the end',
    );

    await proxy.stop();
    await board.cut();
    await board.boot('busybox');
    await maintenanceSshd(board);
    proxy = await gatewayFor(t, board, kept);
    await expectTunnel(t, proxy);
    t.notOk(await runs('^/usr/bin/python3 .*tunnel_agent.py'), 'nor does it come back at the next boot');

    await proxy.ssh('tunnel-agent migrate --undo --yes').catch(() => undefined);
    await ended(board, 'undone');
    await expectTunnel(t, proxy);
    t.ok(await runs('^/usr/bin/python3 .*tunnel_agent.py'));
    t.ok(await runs('^/bin/sh .*zeroforce_tunnel_monitor.sh'));
    t.equal(await fingerprint(board), before);
    t.match(await board.must(`cat ${FILES.keys}`), PAIRED);
  },
);
