#!/bin/sh
# Makes the Debian system that this runs in start as Buildroot's does: BusyBox is init and has the first word wherever it
# brings a command, and rcS starts /etc/init.d/S??* in order. Runs on the disk of a board that is off.
set -eu
mkdir -p /usr/local/sbin
busybox --install -s /usr/local/sbin
# Debian's is no worse, and they are others than BusyBox's on a Beamer, too (OpenSSH, Node and net-tools are packages there).
for each in ip netstat ps sh busybox; do rm -f "/usr/local/sbin/$each"; done
cat >/etc/inittab <<'END'
::sysinit:/bin/mkdir -p /run/lock /var/run
::sysinit:/etc/init.d/rcS
::once:/bin/touch /run/board-is-up
::shutdown:/etc/init.d/rcK
END
cat >/etc/init.d/rcS <<'END'
#!/bin/sh
for script in /etc/init.d/S??*; do
  [ -x "$script" ] && "$script" start
done
END
cat >/etc/init.d/rcK <<'END'
#!/bin/sh
for script in $(ls -r /etc/init.d/S??*); do
  [ -x "$script" ] && "$script" stop
done
END
cat >/etc/init.d/S01syslogd <<'END'
#!/bin/sh
case $1 in
  start) start-stop-daemon -S -q -b -m -p /run/syslogd.pid -x /sbin/syslogd -- -n ;;
  stop) start-stop-daemon -K -q -p /run/syslogd.pid ;;
esac
END
cat >/etc/init.d/S40network <<'END'
#!/bin/sh
[ "$1" != start ] || ip link set lo up
END
ln -sf /bin/busybox /sbin/syslogd
chmod 755 /etc/init.d/rcS /etc/init.d/rcK /etc/init.d/S01syslogd /etc/init.d/S40network
