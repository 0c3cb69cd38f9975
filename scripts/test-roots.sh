#!/bin/sh
# The Debian systems that the tests of test/install boot, as folders below /var/cache/zeroforce-test: made once by
# mmdebstrap (20 s each), never changed after that. A test lays an overlay over one of them.
#   trixie    Debian 13 with its own Node, systemd
#   bookworm  Debian 12 without Node (its own is too old), systemd, OpenRC and BusyBox
# A change of this script makes new folders. Prints nothing when all are there.
set -eu

cache=${ZEROFORCE_TEST_CACHE:-/var/cache/zeroforce-test}
mirror=${ZEROFORCE_TEST_MIRROR:-http://deb.debian.org/debian}
common=systemd,systemd-sysv,dbus,udev,openssh-server,openssh-client,net-tools,iproute2,procps,nftables,curl

make_root() { # Debian's name, packages
  name="$1-$(cksum <"$0" | cut -d ' ' -f 1)"
  [ -e "$cache/$name" ] || {
    echo "setup: making a Debian $1 for the tests, in $cache"
    part="$cache/$name.part.$$"
    # As a folder, by a rename: who was interrupted leaves nothing that looks finished.
    mmdebstrap --quiet --variant=minbase --include="$2" --dpkgopt='path-exclude=/usr/share/man/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' "$1" "$part" "$mirror" ||
      { rm -rf "$part"; return 1; }
    # Every machine makes its own.
    rm -f "$part"/etc/ssh/ssh_host_* "$part/etc/machine-id" "$part/etc/resolv.conf"
    touch "$part/etc/machine-id"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$part/etc/hosts"
    # ssh of Debian 12 and 13 is started by hand in the tests that need it.
    rm -f "$part/etc/systemd/system/multi-user.target.wants/ssh.service" "$part"/etc/rc?.d/S??ssh
    mv "$part" "$cache/$name" 2>/dev/null || rm -rf "$part" # another one was faster
  }
  ln -sfn "$name" "$cache/$1"
}

mkdir -p "$cache"
make_root trixie "$common,nodejs" & trixie=$!
make_root bookworm "$common,openrc,busybox" & bookworm=$!
wait "$trixie" && wait "$bookworm"
