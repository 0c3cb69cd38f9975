import t from 'tap';
import { run } from '../support/processes.ts';
import { requires } from '../support/requires.ts';
import { NEEDS_BOARD } from './board.ts';
import { INSTALLER, stubBoard, UNCHANGED } from './stub-board.ts';

t.test('shellcheck finds nothing in install.sh', requires('shellcheck'), async (t) => {
  t.strictSame(await run('shellcheck', [INSTALLER]), { code: 0, stdout: '', stderr: '' });
});

t.test('install.sh refuses, under BusyBox', requires(...NEEDS_BOARD), async (t) => {
  const onBoard = await stubBoard(t);

  for (const [what, spoil, said] of [
    [
      'that was cut short',
      'head -c 9000 /releases/zeroforce-agent-1.1.tar.gz >/tmp/r.tar.gz',
      /is cut short|cannot be unpacked/,
    ],
    [
      'in which a file is another one',
      'cp -R /releases/zeroforce-agent-1.1 /tmp/r.tar.gz; echo x >>/tmp/r.tar.gz/tunnel-agent.cjs',
      /is damaged, these files .*: tunnel-agent\.cjs\./,
    ],
    [
      'whose list of sums was cut short',
      'cp -R /releases/zeroforce-agent-1.1 /tmp/r.tar.gz; head -n 3 /releases/zeroforce-agent-1.1/SHA256SUMS >/tmp/r.tar.gz/SHA256SUMS',
      /is damaged, .* is not in its SHA256SUMS/,
    ],
    [
      'without a program',
      'cp -R /releases/zeroforce-agent-1.1 /tmp/r.tar.gz; rm /tmp/r.tar.gz/tunnel-agent.cjs',
      /is incomplete, tunnel-agent\.cjs is missing/,
    ],
    ['that is something else', 'echo nothing | gzip >/tmp/r.tar.gz', /cannot be unpacked|no release/],
  ] as const) {
    t.test(`refuses a release ${what}, and changes nothing`, async (t) => {
      const { stdout, stderr } = await onBoard(`
        installed; everything >/tmp/before
        ${spoil}
        installer upgrade /tmp/r.tar.gz $Q; echo "code $?"
        rm -f /opt/zeroforce/outcome; grep -v outcome /tmp/before >/tmp/b; mv /tmp/b /tmp/before
        ${UNCHANGED}; running; installer status`);
      t.match(stdout, said, stderr);
      t.match(stdout, /code 1\n/);
      t.match(stdout, /UNCHANGED\n1\.0\n/);
    });
  }

  t.test('a dry run tells each step and changes nothing', async (t) => {
    const { stdout, stderr } = await onBoard(`
      everything >/tmp/before
      sh /releases/zeroforce-agent-1.0/install.sh install --dry-run; echo "code $?"; ${UNCHANGED}
      installed; everything >/tmp/before
      upgrade 1.1 --dry-run; echo "code $?"; ${UNCHANGED}
      upgrade 1.1 >/dev/null; everything >/tmp/before
      installer rollback --dry-run $Q; echo "code $?"; ${UNCHANGED}
      installer uninstall --purge --dry-run; echo "code $?"; ${UNCHANGED}
      running; ls /tmp`);
    t.equal(stdout.match(/code 0\nUNCHANGED\n/g)?.length, 4, stdout + stderr);
    t.match(
      stdout,
      /would write \/etc\/init\.d\/S70zeroforce[\s\S]*would link \/opt\/zeroforce\/current to versions\/1\.1/,
    );
    t.match(stdout, /\n1\.1\nafter\nbefore\n$/, 'nothing left in /tmp');
  });

  t.test('a configuration that the new version refuses stops the upgrade, or goes on with --force', async (t) => {
    const { stdout } = await onBoard(`installed
      upgrade 1.4; echo "code $?"; running
      upgrade 1.4 --force; echo "code $?"; running`);
    t.match(
      stdout,
      /version 1\.4 refuses \/etc\/zeroforce\/config\.json; .*--force:\nhttp\.port: 0 is not allowed\nnothing was changed\ncode 1\n1\.0\n/,
    );
    t.match(stdout, /goes on for --force[\s\S]*code 0\n1\.4\n$/);
  });

  t.test('a first configuration that is refused stops the installation', async (t) => {
    const { stdout } = await onBoard(`
      sh /releases/zeroforce-agent-1.4/install.sh install $Q --config /etc/passwd; echo "code $?"; ls -A /opt/zeroforce/versions`);
    t.match(
      stdout,
      /version 1\.4 refuses \/etc\/passwd; put it right:\nhttp\.port[^\n]*\nnothing was changed\ncode 1\n$/,
    );
  });

  t.test('what belongs to others is left alone, and named', async (t) => {
    const { stdout, stderr } = await onBoard(`
      echo theirs >/etc/sysctl.d/90-zeroforce.conf; ln -s /bin/true /usr/bin/tunnel-agent
      sh /releases/zeroforce-agent-1.0/install.sh install $Q; echo "code $?"; cat /etc/sysctl.d/90-zeroforce.conf; ls /opt
      rm /etc/sysctl.d/90-zeroforce.conf /usr/bin/tunnel-agent
      printf 'Package: zeroforce\nStatus: install ok installed\nVersion: 0.9\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n\n' >>/var/lib/dpkg/status
      sh /releases/zeroforce-agent-1.0/install.sh install $Q; echo "code $?"; ls -A /opt /opt/zeroforce/versions`);
    t.match(
      stdout,
      /left alone[^\n]*:\n\/etc\/sysctl\.d\/90-zeroforce\.conf\n\/usr\/bin\/tunnel-agent\nnothing was changed\ncode 1\ntheirs\n/,
      stderr,
    );
    t.match(stderr, /the Debian package zeroforce is installed here/);
    t.match(stdout, /code 1\n\/opt:\nzeroforce\n\n\/opt\/zeroforce\/versions:\n$/);
  });

  t.test('a Node that is missing, too old or none is refused', async (t) => {
    const { stdout, stderr } = await onBoard(`
      try() { sh /releases/zeroforce-agent-1.0/install.sh install $Q "$@"; echo "code $?"; }
      fake() { printf '#!/bin/sh\necho %s\n' "$1" >/usr/local/bin/node; }
      fake v20.18.3; try; fake v18.19.0; try; fake hello; try --node /usr/local/bin/node; rm /usr/local/bin/node; try
      try --node /nowhere/node; ls -A /opt/zeroforce/versions`);
    t.match(
      stdout,
      /node is Node v20\.18\.3, too old: at least 20\.19 is needed\..*--node FILE; nothing was changed\ncode 1\n/,
      stderr,
    );
    t.match(stdout, /Node v18\.19\.0, too old/);
    t.match(stdout, /is no Node: it calls itself "hello"/);
    t.match(stdout, /there is no node in PATH: install Node 20\.19 or later/);
    t.match(stdout + stderr, /\/nowhere\/node/);
    t.equal(stdout.match(/code 0/), null);
  });

  t.test('sysvinit: links in its runlevels, and the boot by them takes an upgrade back', async (t) => {
    const { stdout, stderr } = await onBoard(`
      rm /etc/init.d/rcS; for level in 0 1 2 3 4 5 6; do mkdir /etc/rc$level.d; done
      echo 'l2:2:wait:/etc/init.d/rc 2' >/etc/inittab
      installed; installer status | grep init; ls /etc/rc2.d /etc/rc6.d
      installer upgrade /releases/zeroforce-agent-1.2.tar.gz >/dev/null & front=$!
      until grep -q '^step prove' /opt/zeroforce/journal 2>/dev/null; do sleep 0.1; done
      kill -9 $(grep -l -a 'install.sh.@' /proc/[0-9]*/cmdline | cut -d / -f 3); wait $front; rm -f /run/*
      for each in /etc/rc2.d/S??*; do "$each" start; done; running
      installer uninstall >/dev/null; ls /etc/rc?.d/*zeroforce* /etc/init.d`);
    t.match(
      stdout,
      /^init: +sysv; [^\n]*\n\/etc\/rc2\.d:\nS69zeroforce-recover\nS70zeroforce\nS71zeroforce-sshd\n\n\/etc\/rc6\.d:\nK30zeroforce\nK30zeroforce-sshd\n/,
      stderr,
    );
    t.match(stdout, /taken back: version 1\.0 runs\n1\.0\n\/etc\/init\.d:\n$|taken back: version 1\.0 runs\n1\.0\n$/);
  });

  t.test('an init system that lacks what is needed, and one that nobody knows, are refused', async (t) => {
    const { stdout, stderr } = await onBoard(`
      try() { sh /releases/zeroforce-agent-1.0/install.sh install $Q "$@"; echo "code $?"; }
      try --init sysv; try --init upstart; mv /sbin/rc-update /sbin/rc-update.gone; try --init openrc
      echo 'true' >/etc/init.d/rcS; try --init busybox; rm /etc/init.d/rcS /etc/inittab; try; ls -A /opt`);
    t.match(stderr, /--init sysv: there is no folder \/etc\/rc2\.d\. Name the init system/);
    t.match(stderr, /--init upstart: allowed are systemd openrc busybox sysv none/);
    t.match(stderr, /--init openrc: there is no rc-update here/);
    t.match(stderr, /--init busybox: there is no \/etc\/init\.d\/rcS that starts/);
    t.match(stderr, /--init could not be detected: allowed are/);
    t.equal(stdout, 'code 1\ncode 2\ncode 1\ncode 1\ncode 2\n');
  });

  t.test('a wrong command line says what is allowed', async (t) => {
    const { stdout, stderr } = await onBoard(`
      try() { sh /releases/zeroforce-agent-1.0/install.sh "$@"; echo "code $?"; }
      try; try upgarde; try install --purge; try install --within soon; try install --init; try upgrade; try rollback x; try uninstall
      try install /nowhere; try --help | head -n 1`);
    t.match(stderr, /a command is missing: install, upgrade, rollback, uninstall or status/);
    t.match(stderr, /there is no command "upgarde"; allowed are/);
    t.match(stderr, /install takes no option --purge; allowed: --dry-run/);
    t.match(stderr, /--within and --steady take whole seconds from 0 to 99999, not "soon"/);
    t.match(stderr, /--init needs a value/);
    t.match(stderr, /nothing is installed below \/opt\/zeroforce: use install\.sh install/);
    t.match(stderr, /rollback takes no release, and got x/);
    t.match(stderr, /there is no release \/nowhere: name a file/);
    t.equal(
      stdout.replaceAll('code ', ''),
      '2\n2\n2\n2\n2\n1\n2\n1\n1\nusage: install.sh COMMAND [OPTION...] [RELEASE]\n',
    );
  });

  t.test('beside software of an earlier version nothing of ours starts, now or at boot', async (t) => {
    const { stdout, stderr } = await onBoard(`
      : >/run/earlier; mkdir -p /opt/beamer; : >/opt/beamer/beamer-ssh-tunnel
      sh /releases/zeroforce-agent-1.0/install.sh install $Q; echo "code $?"; running; ls /etc/init.d
      boot; running; upgrade 1.1; echo "code $?"; running; ls /etc/init.d; installer status | grep edited
      rm /run/earlier; mv /etc/init.d/K70zeroforce /etc/init.d/S70zeroforce; boot; running
      upgrade 1.3 >/dev/null; running; installer uninstall >/dev/null; ls /etc/init.d`);
    const waits = 'K70zeroforce\nK71zeroforce-sshd\nS69zeroforce-recover\nrcS\n';
    t.match(stdout, `was not started. Next: tunnel-agent migrate\ncode 0\n${waits}`, stderr);
    t.match(stdout, new RegExp(`version 1\\.1 is in place; .*not started.*\ncode 0\n${waits}1\\.1\n1\\.1\nrcS\n$`));
  });

  t.test('the running version is never removed, also where the one to go back to is gone', async (t) => {
    const { stdout, stderr } = await onBoard(`installed
      installer upgrade /releases/zeroforce-agent-1.1.tar.gz --within 9 --steady 5 >/tmp/said 2>&1 & front=$!
      until grep -q '^step prove' /opt/zeroforce/journal 2>/dev/null; do sleep 0.1; done
      kill -9 $(grep -l -a 'install.sh.@' /proc/[0-9]*/cmdline 2>/dev/null | cut -d / -f 3); wait $front
      rm -r /opt/zeroforce/versions/1.0; boot; running; current; [ -e /opt/zeroforce/journal ] || echo NO JOURNAL`);
    t.match(stdout, /1\.1\n1\.1\nNO JOURNAL\n$/, stderr);
  });

  t.test('what somebody else may write does not become a program of root', async (t) => {
    const { stdout } = await onBoard(`
      cp -R /releases/zeroforce-agent-1.0 /tmp/theirs; chown -R 1000:1000 /tmp/theirs; chmod -R go+w /tmp/theirs
      mv /tmp/theirs /tmp/zeroforce-agent-1.0
      tar -cf - -C /tmp zeroforce-agent-1.0 | gzip >/tmp/r.tar.gz
      sh /releases/zeroforce-agent-1.0/install.sh install /tmp/r.tar.gz $Q >/dev/null; echo "code $?"
      find /opt/zeroforce ! -type l '(' -perm -020 -o -perm -002 -o ! -user 0 ')'`);
    t.equal(stdout, 'code 0\n');
  });
});
