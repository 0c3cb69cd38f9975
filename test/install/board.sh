#!/bin/sh
# The disk of a board (board.ts), in the namespaces that this is started in: an overlay over a Debian system that is never
# changed itself. $1: how to start; $2: the system; $3: the folder of the board, whose `disk` keeps what is written.
set -eu
how=$1
folder=$3
root=$folder/root
mkdir -p "$root" "$folder/disk" "$folder/work"
mount -t overlay -o "lowerdir=$2,upperdir=$folder/disk,workdir=$folder/work" overlay "$root"
shift 3

if [ "$how" = systemd ]; then
  exec systemd-nspawn --quiet --directory="$root" --boot --console=pipe --register=no --keep-unit --private-network \
    --link-journal=no --timezone=off --resolv-conf=off
fi

# What a kernel gives to the first process.
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for each in null zero full random urandom tty; do
  : >"$root/dev/$each"
  mount --bind "/dev/$each" "$root/dev/$each"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
if [ "$how" = off ]; then exec chroot "$root" "$@"; fi
exec chroot "$root" /bin/busybox env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /bin/busybox init
