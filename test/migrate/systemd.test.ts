import t from 'tap';
import { makeBoard, NEEDS_BOARD } from '../install/board.ts';
import { ask, gatewayFor, maintenanceSshd } from '../install/use.ts';
import { requires } from '../support/requires.ts';
import { makeKey } from '../support/sshd.ts';
import { until } from '../support/until.ts';
import { deploy, FILES, fingerprint, startUnits } from './deployed.ts';
import { installUnits } from './ours.ts';

t.test(
  'a device with the newer deployed software is taken over through its own tunnel, and given back',
  requires(...NEEDS_BOARD),
  async (t) => {
    const board = await makeBoard(t, 'trixie');
    await installUnits(t, board);
    await board.boot('systemd');
    await maintenanceSshd(board);
    const proxy = await gatewayFor(t, board);
    const { publicKey } = await makeKey(`${t.testdir()}/paired`, 'home assistant');
    await deploy(board, { app: 'newer', meeting: proxy.meeting as never, pairedKey: publicKey });
    await startUnits(board, { app: 'newer' });
    await proxy.online();
    t.equal(await proxy.ssh('echo theirs'), 'theirs\n');
    const before = await fingerprint(board);

    const dry = await board.sh('tunnel-agent migrate --dry-run');
    t.comment(dry.stdout + dry.stderr);
    t.equal(dry.code, 3);
    const done = await board.sh('tunnel-agent migrate --yes');
    t.comment(done.stdout + done.stderr);
    t.equal(done.code, 0);
    t.comment(
      await board.must(
        'cat /etc/zeroforce/config.json; systemctl --no-pager status zeroforce | head -20; ls -l /etc/systemd/system/multi-user.target.wants',
      ),
    );
    await proxy.online();
    t.equal(await proxy.ssh('echo ours'), 'ours\n');
    const undo = await board.sh('tunnel-agent migrate --undo --yes');
    t.comment(undo.stdout + undo.stderr);
    t.equal(undo.code, 0);
    t.equal(await fingerprint(board), before);
    await proxy.online();
    t.equal(await proxy.ssh('echo theirs'), 'theirs\n');
    void ask;
    void until;
    void FILES;
  },
);
