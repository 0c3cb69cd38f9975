import t from 'tap';
import { makeBoard, NEEDS_BOARD } from '../install/board.ts';
import { ask, expectTunnel, gatewayFor, maintenanceSshd } from '../install/use.ts';
import { requires } from '../support/requires.ts';
import { deploy, fingerprint, startOpenrc } from './deployed.ts';
import { ended } from './device.ts';
import { installOpenrc } from './ours.ts';

const PAIRED = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0xkGxWJ9PqfvZ1q3sZ0bY0N0oJX1sJ6vW0qzvC0R2p home assistant';

// Part of `make test-migrate`.
t.test(
  'a device with OpenRC is taken over through its own tunnel, and given back',
  requires(...NEEDS_BOARD),
  async (t) => {
    const board = await makeBoard(t, 'bookworm');
    const kept = t.testdir();
    await installOpenrc(t, board);
    await board.boot('openrc');
    await maintenanceSshd(board);
    let gateway = await gatewayFor(t, board, kept);
    await deploy(board, { app: 'newer', meeting: gateway.meeting as never, pairedKey: PAIRED });
    await startOpenrc(board);
    await gateway.online();
    const before = await fingerprint(board);

    await gateway.ssh('tunnel-agent migrate --yes').catch(() => undefined);
    await ended(board);
    await expectTunnel(t, gateway);
    t.equal((await board.sh('pgrep -f "^/usr/bin/python3 .*tunnel_agent.py"')).code, 1);
    t.match(await board.must('rc-status default; ls /etc/local.d'), /zeroforce +\[ +started[^$]*meeting\.start\.off/);
    t.notMatch(await board.must('ls /etc/runlevels/default'), /tunnel-monitor/);
    t.equal(await ask(board, '/zeroforce/readytopair'), 'false');

    await gateway.stop();
    await board.cut();
    await board.boot('openrc');
    await maintenanceSshd(board);
    gateway = await gatewayFor(t, board, kept);
    await expectTunnel(t, gateway);

    await gateway.ssh('tunnel-agent migrate --undo --yes').catch(() => undefined);
    await ended(board, 'undone');
    await expectTunnel(t, gateway);
    t.equal(await fingerprint(board), before);
  },
);
