import { readFileSync } from 'node:fs';
import t from 'tap';
import { requires } from '../support/requires.ts';
import { type Init, makeBoard, NEEDS_BOARD } from './board.ts';

const FIRST: Readonly<Record<Init, RegExp>> = { systemd: /^systemd$/, busybox: /^busybox$/, openrc: /^busybox$/ };

for (const init of ['systemd', 'busybox', 'openrc'] as const) {
  t.test(
    `a board with ${init} starts, keeps what is written through a power cut, and shuts down`,
    requires(...NEEDS_BOARD),
    async (t) => {
      const board = await makeBoard(t, 'bookworm');
      await board.write('/etc/before', 'written while off\n');
      await board.boot(init);
      t.equal(await board.must('cat /etc/before'), 'written while off\n');
      t.match((await board.must('cat /proc/1/comm')).trim(), FIRST[init]);
      await board.write('/etc/while', 'written while on\n', 0o600);
      t.equal(readFileSync(board.path('/etc/while'), 'utf8'), 'written while on\n');
      await board.must('sync');
      await board.cut();
      await board.boot(init);
      t.equal(await board.must('stat -c %a /etc/while'), '600\n');
      await board.put(import.meta.filename, '/opt/here/copied.js');
      t.equal((await board.sh('grep -q "a board with" /opt/here/copied.js')).code, 0);
      if (init === 'openrc') t.match(await board.must('rc-status -s'), /loopback *\[ *started/);
      await board.shutdown();
    },
  );
}
