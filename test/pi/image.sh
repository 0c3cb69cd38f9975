#!/bin/sh
# image.sh SYSTEM EXTRA DEB IMAGE: an SD card with a Debian system, the package installed in it, and the files of EXTRA.
# SYSTEM stays as it is. Runs in mounts of its own: `unshare --mount image.sh …`.
set -eu
system=$1 extra=$2 deb=$3 image=$4
# shellcheck source=test/pi/emulate.sh
. "$(dirname "$0")/emulate.sh"
emulate

work=$(mktemp -d)
mount -t tmpfs none "$work"
mkdir "$work/upper" "$work/work" "$work/root"
root=$work/root
mount -t overlay -o "lowerdir=$system,upperdir=$work/upper,workdir=$work/work" overlay "$root"

cp "$deb" "$root/var/cache/zeroforce.deb"
chroot "$root" dpkg -i /var/cache/zeroforce.deb
rm "$root/var/cache/zeroforce.deb"
ssh-keygen -q -A -f "$root"
cp -R "$extra/." "$root/"
chroot "$root" systemctl -q enable systemd-networkd.service ssh.service

truncate -s 2G "$image" # an SD card of qemu has a size that is a power of two
mke2fs -q -F -t ext4 -d "$root" "$image"
umount "$root" "$work"
rmdir "$work"
