#!/bin/sh
# The Debian 13 for arm64 that `make test-pi` boots on an emulated Raspberry Pi, as a folder below the cache: kernel,
# Node and sshd are Debian's own. Made once (5 minutes), never changed after that. Prints its path.
set -eu

cache=${ZEROFORCE_TEST_CACHE:-/var/cache/zeroforce-test}
mirror=${ZEROFORCE_TEST_MIRROR:-http://deb.debian.org/debian}
packages=systemd,systemd-sysv,dbus,udev,openssh-server,openssh-client,net-tools,iproute2,procps,curl,nodejs
packages=$packages,kmod,zstd,initramfs-tools,linux-image-arm64

# What the root lies on, and the network, for a Pi and for a virtual machine; all that there is would make the start of
# the kernel slower than that of a Pi, which has no such archive at all.
modules='ext4 mmc_block sdhci_iproc bcm2835 dwc2 usbnet cdc_ether rndis_host virtio_blk virtio_net virtio_pci virtio_mmio'

# shellcheck source=test/pi/emulate.sh
. "$(dirname "$0")/emulate.sh"

name="pi-$(cksum <"$0" | cut -d ' ' -f 1)"
if [ ! -e "$cache/$name" ]; then
  echo "test-pi: making a Debian 13 for arm64, in $cache" >&2
  mkdir -p "$cache"
  emulate
  part="$cache/$name.part.$$"
  # shellcheck disable=SC2016 # the hook's own variable
  mmdebstrap --quiet --variant=minbase --arch=arm64 --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "MODULES=list\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/zeroforce"' \
    --essential-hook='printf "%s\n" '"$modules"' >"$1/etc/initramfs-tools/modules"' \
    trixie "$part" "$mirror" >&2 || { rm -rf "$part"; exit 1; }
  # Every machine makes its own.
  rm -f "$part"/etc/ssh/ssh_host_* "$part/etc/machine-id" "$part/etc/resolv.conf"
  touch "$part/etc/machine-id"
  mv "$part" "$cache/$name"
fi
echo "$cache/$name"
