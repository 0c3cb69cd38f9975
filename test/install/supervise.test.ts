import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import { requires } from '../support/requires.ts';
import { makeBoard, NEEDS_BOARD } from './board.ts';
import { SUPERVISE } from './init-board.ts';

const SOURCE = resolve(import.meta.dirname, '../../../board/package/zeroforce-agent/zeroforce-supervise');

/** For scripts: a program to be supervised, and `wait_for COMMAND`. */
const START = `
  PIDFILE=/run/some.pid
  supervise() { ${SUPERVISE} "$@"; }
  wait_for() { for i in $(seq 150); do if eval "$1"; then return; fi; sleep 0.1; done; echo "in vain: $1" >&2; exit 9; }
  ended_and_back() { read -r before _ </run/some.child; kill -9 "$before"; wait_for 'read -r now _ </run/some.child && [ "$now" != "$before" ] && kill -0 "$now"'; }
  program() { printf '#!/bin/sh\\n%s\\n' "$1" >/tmp/some; chmod 755 /tmp/some; }
  syslogd() { /bin/busybox syslogd -n -O /tmp/log & syslogd=$!; wait_for '[ -S /dev/log ]'; }
`;

t.test('zeroforce-supervise', requires(...NEEDS_BOARD), async (t: Test) => {
  // Of a board that is off: every script has processes, /run and /dev of its own. Its shell is BusyBox's, as on a Beamer.
  const board = await makeBoard(t, 'bookworm');
  await board.put(SOURCE, SUPERVISE);
  await board.must('ln -sf busybox /bin/sh');
  const script = (text: string) => board.sh(`set -u; ${START} ${text}`);

  await t.test('without logger, setsid and syslogd: the kernel has the log', async (t) => {
    const result = await script(`
      : >/dev/kmsg
      mkdir /tmp/few && for each in basename cat chmod grep readlink rm seq sleep; do ln -s /bin/busybox /tmp/few/$each; done
      PATH=/tmp/few
      program 'echo "here I am"; exec sleep 100'
      supervise start $PIDFILE /tmp/some || exit
      wait_for 'grep -q "some: here I am" /dev/kmsg'
      ended_and_back
      supervise status $PIDFILE
      supervise stop $PIDFILE || exit
      supervise status $PIDFILE`);
    t.match(result, { code: 3, stdout: /^some runs \(process \d+\)\nsome is stopped\n$/ });
  });

  await t.test('a syslogd that comes later gets what is printed from then on', async (t) => {
    const result = await script(`
      : >/dev/kmsg
      program 'while :; do echo "still here"; sleep 0.1; done'
      supervise start $PIDFILE /tmp/some || exit
      wait_for 'grep -q "some: still here" /dev/kmsg'
      syslogd
      wait_for 'grep -q "daemon.info some: still here" /tmp/log'`);
    t.match(result, { code: 0 });
  });

  await t.test('a syslogd that hangs holds nothing up', async (t) => {
    const result = await script(`
      syslogd
      program 'while :; do echo "a long word, said again and again"; done'
      supervise start $PIDFILE /tmp/some || exit
      wait_for '[ -s /tmp/log ]'
      kill -STOP $syslogd
      sleep 1
      ended_and_back
      ended_and_back
      supervise stop $PIDFILE || exit
      supervise status $PIDFILE`);
    t.match(result, { code: 3, stdout: /^some is stopped\n$/ });
  });

  await t.test('who crashes again and again is started after longer and longer pauses', async (t) => {
    const result = await script(`
      syslogd
      program 'exit 3'
      supervise start $PIDFILE /tmp/some || exit
      wait_for 'grep -q "again in 4 s" /tmp/log'
      supervise status $PIDFILE
      supervise stop $PIDFILE || exit
      grep -o 'some ended with code 3; it is started again in [0-9]* s' /tmp/log`);
    t.match(result, { code: 0, stdout: /^some has ended and is started again .*\n.*in 1 s\n.*in 2 s\n.*in 4 s\n$/ });
  });

  await t.test('it says what it cannot do', async (t) => {
    t.match(await script('supervise start $PIDFILE /tmp/nowhere'), { code: 5, stdout: /\/tmp\/nowhere is not there/ });
    const unwritable = await script('program "exec sleep 9"; supervise start /proc/some.pid /tmp/some');
    t.match(unwritable, { code: 1, stdout: /can \/proc\/some\.pid be written/ });
    t.match(await script('supervise reload $PIDFILE'), { code: 7, stdout: /some does not run/ });
    t.match(await script('supervise nonsense'), { code: 2, stderr: /^Usage: / });
  });

  await t.test('a number that another process has now is not taken for its own', async (t) => {
    const result = await script(`
      sleep 100 & echo "$! 1" >$PIDFILE; echo "$! 1" >/run/some.child
      supervise status $PIDFILE
      supervise stop $PIDFILE
      kill -0 $!`);
    t.match(result, { code: 0, stdout: /some is dead, and so is its supervisor/ });
  });
});
