# shellcheck shell=sh
# For scripts that run programs of arm64, in a chroot, too: the kernel hands them to qemu. Taken back when the script
# ends, if it was this one that asked for it.
emulate() {
  [ "$(uname -m)" != aarch64 ] || return 0
  binfmt=/proc/sys/fs/binfmt_misc
  magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  [ -e "$binfmt/register" ] || mount -t binfmt_misc binfmt_misc "$binfmt"
  ! grep -lqs "^interpreter .*qemu-aarch64" "$binfmt"/* || return 0
  printf '%s' ":zeroforce-arm64:M::$magic:$mask:/usr/bin/qemu-aarch64-static:F" >"$binfmt/register"
  trap 'echo -1 >"$binfmt/zeroforce-arm64"' EXIT
}
