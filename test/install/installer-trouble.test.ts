import t from 'tap';
import { requires } from '../support/requires.ts';
import { NEEDS_BOARD } from './board.ts';
import { stubBoard, UNCHANGED } from './stub-board.ts';

t.test('install.sh in trouble, under BusyBox', requires(...NEEDS_BOARD), async (t) => {
  const onBoard = await stubBoard(t);

  t.test('a disk that is full before the switch changes nothing', async (t) => {
    const { stdout, stderr } = await onBoard(`
      mkdir /opt/zeroforce && mount -t tmpfs -o size=600k tmpfs /opt/zeroforce
      installed; everything | grep -v outcome >/tmp/before
      dd if=/dev/zero of=/opt/zeroforce/filler bs=1k 2>/dev/null
      upgrade 1.1; echo "code $?"
      rm -f /opt/zeroforce/filler /opt/zeroforce/outcome
      ${UNCHANGED}; running; current
      upgrade 1.1 >/dev/null; echo "code $?"; running`);
    t.match(
      stdout,
      /cannot be unpacked to .*, where \d+ KiB are free: see the line above; nothing was changed\ncode 1\n/,
      stderr,
    );
    t.match(stdout, /UNCHANGED\n1\.0\n1\.0\ncode 0\n1\.1\n/, 'and with room again it goes on');
  });

  t.test('a disk that is full in the midst brings the old version back', async (t) => {
    const { stdout, stderr } = await onBoard(`
      installed; mkdir -p /usr/local/share/man/man1
      mount -t tmpfs -o size=8k tmpfs /usr/local/share/man/man1 && dd if=/dev/zero of=/usr/local/share/man/man1/filler bs=1k 2>/dev/null
      upgrade 1.1; echo "code $?"
      running; current; ls -A /opt/zeroforce/versions /usr/local/share/man/man1; [ -e /opt/zeroforce/journal ] || echo NO JOURNAL`);
    t.match(
      stdout,
      /was taken back, its files cannot be written; version 1\.0 runs again\ncode 3\n1\.0\n1\.0\n/,
      stderr,
    );
    t.match(stdout, /versions:\n1\.0\n[\s\S]*NO JOURNAL/);
  });

  t.test('a version that does not answer, or loses the tunnel, is taken back', async (t) => {
    const { stdout, stderr } = await onBoard(`installed
      upgrade 1.2; echo "code $?"; running; current; upgrade 1.3; echo "code $?"; running; ls -A /opt/zeroforce/versions`);
    t.match(
      stdout,
      /was taken back, its service does not answer; version 1\.0 runs again\ncode 3\n1\.0\n1\.0\n/,
      stderr,
    );
    t.match(stdout, /was taken back, it has no tunnel session, [^\n]*; version 1\.0 runs again\ncode 3\n1\.0\n1\.0\n$/);
  });

  t.test('two at once: the second names the first', async (t) => {
    const { stdout, stderr } = await onBoard(`installed
      { installer upgrade /releases/zeroforce-agent-1.2.tar.gz --steady 0 --within 3 >/tmp/first; echo "first $?" >>/tmp/first; } &
      until grep -q '^step prove' /opt/zeroforce/journal 2>/dev/null; do sleep 0.1; done
      upgrade 1.1; echo "second $?"; installer status; wait; cat /tmp/first; running`);
    t.match(stderr, /another installer is at work: process \d+, upgrade\. Wait for its end/);
    t.match(
      stdout,
      /second 75\n[\s\S]*now: +process \d+, upgrade; its log: \/run\/zeroforce-install\.log\n[\s\S]*first 3\n1\.0\n/,
    );
  });

  t.test('a worker that is killed is taken back by its guard; when both are killed, by `recover`', async (t) => {
    const { stdout, stderr } = await onBoard(`installed
      begin() {
        rm -f /opt/zeroforce/outcome
        installer upgrade /releases/zeroforce-agent-1.2.tar.gz --within 20 --steady 0 >/tmp/said 2>&1 & front=$!
        until grep -q '^step prove' /opt/zeroforce/journal 2>/dev/null; do sleep 0.1; done
      }
      named() { grep -l -a "install.sh.$1" /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3; }
      begin; kill -9 $(named @work); wait $front; echo "code $?"; running; cat /opt/zeroforce/outcome
      begin; kill $(sed 's/process \\([0-9]*\\),.*/\\1/' /run/zeroforce-install.lock); wait $front; echo "cancelled $?"; running
      begin; kill -9 $(named @guard) $(named @work); wait $front; echo "code $?"; running
      until flock -n /run/zeroforce-install.lock true; do sleep 0.1; done
      installer status; upgrade 1.1; echo "code $?"
      installer recover $Q; echo "code $?"; running; upgrade 1.1; echo "code $?"`);
    t.match(
      stdout,
      /code 3\n1\.0\nupgrade to version 1\.2 was taken back, its process was ended in the step prove; version 1\.0 runs again\n/,
      stderr,
    );
    t.match(
      stdout,
      /code 137\n[\s\S]*was interrupted in the step prove; end it with: sh \/opt\/zeroforce\/install\.sh recover/,
    );
    t.match(stdout, /[\s\S]*version 1\.0 runs again\ncode 0\n1\.0\n[\s\S]*version 1\.1 runs[^\n]*\ncode 0\n$/);
  });

  t.test('what a release brings is laid out by its own installer, also where the old one was asked', async (t) => {
    const { stdout, stderr } = await onBoard(`installed
      cp -R /releases/zeroforce-agent-1.1 /tmp/new; cd /tmp/new
      { head -n 1 install.sh; echo '# of another time'; tail -n +2 install.sh; } >later; mv later install.sh
      grep -v install.sh SHA256SUMS >sums; sha256sum install.sh >>sums; mv sums SHA256SUMS; cd /
      installer upgrade /tmp/new $Q; echo "code $?"; grep -c 'another time' /opt/zeroforce/install.sh; running; installer rollback $Q >/dev/null; running`);
    t.match(stdout, /code 0\n1\n1\.1\n1\.0\n$/, stderr);
  });

  t.test('a file that somebody edited is kept, the new one beside it; uninstalling keeps it apart', async (t) => {
    const { stdout, stderr } = await onBoard(`installed
      echo '# mine' >>/etc/init.d/S70zeroforce; echo 'net.core.somaxconn = 1' >/etc/sysctl.d/90-zeroforce.conf
      upgrade 1.1; echo "code $?"; tail -n 1 /etc/init.d/S70zeroforce /etc/init.d/.S70zeroforce.new; ls -l /etc/init.d/.S70zeroforce.new | cut -c 1-10
      installer status | grep edited
      installer uninstall; ls -A /etc/init.d /etc/zeroforce /etc/zeroforce/kept /opt; [ ! -e /etc/sysctl.d/90-zeroforce.conf ] || echo STILL THERE`);
    t.match(
      stdout,
      /kept, it was edited: \/etc\/init\.d\/S70zeroforce; what this version has: \/etc\/init\.d\/\.S70zeroforce\.new\n/,
      stderr,
    );
    t.match(stdout, /code 0\n[\s\S]*# mine\n[\s\S]*# of 1\.1\n/);
    t.match(stdout, /edited: +\/etc\/init\.d\/S70zeroforce\nedited: +\/etc\/sysctl\.d\/90-zeroforce\.conf\n/);
    t.match(
      stdout,
      /\/etc\/init\.d:\nrcS\n\n\/etc\/zeroforce:\nconfig\.json\nkept\n\n\/etc\/zeroforce\/kept:\n90-zeroforce\.conf\nS70zeroforce\n\n\/opt:\n$/,
    );
  });

  t.test('the same version again repairs; another build of it and another version are refused', async (t) => {
    const { stdout, stderr } = await onBoard(`installed
      rm /etc/init.d/S70zeroforce /usr/bin/tunnel-agent; installed; echo "code $?"; running
      cp -R /releases/zeroforce-agent-1.0 /tmp/other; cd /tmp/other; echo x >>tunnel-agent.cjs
      grep -v tunnel-agent.cjs SHA256SUMS >sums; sha256sum tunnel-agent.cjs >>sums; mv sums SHA256SUMS; cd /
      sh /tmp/other/install.sh install $Q; echo "code $?"; installer upgrade /tmp/other $Q; echo "code $?"
      sh /releases/zeroforce-agent-1.1/install.sh install $Q; echo "code $?"
      upgrade 1.0; echo "code $?"; ls -A /opt/zeroforce/versions`);
    t.match(stdout, /^code 0\n1\.0\n/, stderr);
    t.match(
      stdout,
      /another build of version 1\.0 is installed: [^\n]*\ncode 1\n[\s\S]*another build of version 1\.0 is installed: [^\n]*\ncode 1\n/,
    );
    t.match(stdout, /version 1\.0 is installed already: use install\.sh upgrade[^\n]*\ncode 1\n/);
    t.match(stdout, /version 1\.0 is installed already: nothing was changed\ncode 0\n1\.0\n$/);
  });
});
