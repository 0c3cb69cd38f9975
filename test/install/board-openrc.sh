#!/bin/sh
# Makes the Debian system that this runs in start with OpenRC, in the way of Alpine: BusyBox is init and calls `openrc` for
# each runlevel. Runs on the disk of a board that is off.
set -eu
# There is no hardware here to be looked after.
rm -f /etc/runlevels/*/*
cat >/etc/inittab <<'END'
::sysinit:/bin/mkdir -p /run/lock
::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default
::once:/bin/touch /run/board-is-up
::shutdown:/sbin/openrc shutdown
END
ln -sf /bin/busybox /sbin/syslogd
ln -sf /bin/busybox /usr/bin/logger
cat >/etc/init.d/busybox-syslog <<'END'
#!/sbin/openrc-run
command=/sbin/syslogd
command_args=-n
command_background=yes
pidfile=/run/syslogd.pid
depend() { provide logger; }
END
cat >/etc/init.d/loopback <<'END'
#!/sbin/openrc-run
depend() { provide net; }
start() { ip link set lo up; }
END
chmod 755 /etc/init.d/busybox-syslog /etc/init.d/loopback
rc-update -q add busybox-syslog boot
rc-update -q add loopback boot
