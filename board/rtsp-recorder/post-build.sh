#!/bin/sh
# Run by Buildroot on the target folder ($1): the boot partition where Raspberry Pi OS has it, for the file that resets
# pairing (pairing.resetFile of config.json).
set -eu
mkdir -p "$1/boot/firmware"
line='/dev/mmcblk0p1	/boot/firmware	vfat	ro,nofail,umask=077	0	0'
grep -qxF "$line" "$1/etc/fstab" || echo "$line" >>"$1/etc/fstab"
