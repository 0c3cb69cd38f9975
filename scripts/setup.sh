#!/bin/sh
# Gets this machine ready for `make test` and `make demo`: checks Node, and the programs of the system that the tests
# and the demo use. What is missing is installed with apt-get when root on Debian, and named in one line elsewhere.
set -eu

node_is_new_enough() {
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'
}

if ! command -v node >/dev/null || ! node_is_new_enough; then
  echo "setup: Node 20.19 or later is needed (found: $(node --version 2>/dev/null || echo none))" >&2
  exit 1
fi

PATH="$PATH:/usr/sbin:/sbin"
missing=''
need() { # program, Debian package
  command -v "$1" >/dev/null || missing="$missing $2"
}
need sshd openssh-server
need ssh openssh-client
need ssh-keygen openssh-client
need netstat net-tools
need busybox busybox
need strace strace
need ip iproute2
need openssl openssl
need curl curl
need nft nftables
need iptables iptables
need ipset ipset
need faketime faketime
need dropbear dropbear-bin
need avahi-daemon avahi-daemon
need avahi-browse avahi-utils
need dbus-daemon dbus
need chromium chromium
need autossh autossh
need shellcheck shellcheck
need zsh zsh
need fish fish
need mmdebstrap mmdebstrap
need systemd-nspawn systemd-container
need man man-db
need groff groff-base
need lintian lintian
need x86_64-linux-gnu-strip binutils-x86-64-linux-gnu
need aarch64-linux-gnu-strip binutils-aarch64-linux-gnu
if [ "$(uname -m)" != aarch64 ]; then
  need qemu-aarch64-static qemu-user-static
  [ -e /usr/aarch64-linux-gnu/lib/libatomic.so.1 ] ||
    missing="$missing libc6-arm64-cross libstdc++6-arm64-cross libatomic1-arm64-cross"
fi

# What the tests of an installed device start: its Nodes, and whole Debian systems, kept from run to run.
make_systems() {
  "$(dirname "$0")/test-nodes.sh"
  [ "$(id -u)" != 0 ] || ! command -v mmdebstrap >/dev/null || "$(dirname "$0")/test-roots.sh"
}

if [ -z "$missing" ]; then
  make_systems
  exit 0
fi

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "setup: missing here, so what needs it is left out; install with your package manager:$missing" >&2
  exit 0
fi

echo "setup: installing$missing"
# openssh-server would start a daemon on port 22: this machine only lends the program.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
apt-get install -y -qq --no-install-recommends $missing >/dev/null
make_systems
