import { readFileSync } from 'node:fs';
import t from 'tap';
import { requires } from '../support/requires.ts';
import { makeBoard, NEEDS_BOARD } from './board.ts';

const UNIT = '/usr/lib/systemd/system/zeroforce.service';

/** The shipped unit, with a program that tells what it found and could write in the place of the agent. */
const unit = readFileSync('board/package/zeroforce-agent/zeroforce.service', 'utf8')
  .replace('Type=notify', 'Type=exec')
  .replace(/^WatchdogSec=.*$/m, '')
  .replace(
    /^ExecStart=.*$/m,
    `ExecStart=/bin/sh -c 'ls /var/lib/zeroforce; touch /var/lib/zeroforce/written; exec sleep 1000'`,
  );

const STATE = '/var/lib/zeroforce';
for (const [what, fstab, marked] of [
  ['that is mounted', `tmpfs ${STATE} tmpfs nofail 0 0`, false],
  ['that cannot be mounted', `tmpfs ${STATE} tmpfs nofail,nonsense=1 0 0`, true],
  ['that needs what is not there', `tmpfs ${STATE} tmpfs nofail,x-systemd.requires=gone.mount 0 0`, true],
  ['that is a folder of the root', '', false],
] as const) {
  t.test(
    `the service starts with a state ${what}, and knows whether that was lost`,
    requires(...NEEDS_BOARD),
    async (t) => {
      const board = await makeBoard(t, 'trixie');
      await board.write('/etc/fstab', `${fstab}\n`);
      await board.write(UNIT, unit);
      await board.must('systemctl --quiet enable zeroforce');
      await board.boot('systemd');
      t.equal(await board.must('systemctl is-active zeroforce'), 'active\n');
      const expected = marked ? 'ever-paired\nwritten\n' : 'written\n';
      await board.must(`until [ -e ${STATE}/written ]; do sleep 0.1; done`);
      t.equal(await board.must(`ls ${STATE}`), expected);
      t.equal(await board.must(`stat -c %a ${STATE}`), '700\n');
    },
  );
}
