#!/bin/sh
# Gets the Nodes that devices have, for tests and figures: each once, below the cache folder, outside the checkout. They
# come out of the npm packages that hold nothing but the program. What cannot be had is named, and left out of the tests.
set -eu

cache="${ZEROFORCE_TEST_CACHE:-/var/cache/zeroforce-test}"

# Debian 13 and Raspberry Pi OS have 20.19.2, every current Buildroot 22.22.0. For arm64 not all of them are on the registry.
nodes='x64@20.19.2 x64@22.22.0 x64@24.21.0 arm64@20.19.0 arm64@22.20.0 arm64@24.22.0'

if ! mkdir -p "$cache" 2>/dev/null || [ ! -w "$cache" ]; then
  echo "setup: $cache cannot be written, so the tests with other Nodes are left out" >&2
  exit 0
fi

fetch() { # architecture, version
  folder="$cache/node-$1-$2"
  [ ! -x "$folder/bin/node" ] || return 0
  echo "setup: fetching Node $2 for $1"
  part="$(mktemp -d "$folder.XXXXXX.part")"
  if (cd "$part" && npm pack --silent "node-linux-$1@$2" >/dev/null && tar -xzf ./*.tgz); then
    mkdir -p "$folder"
    mv "$part/package/bin" "$folder/bin"
  else
    echo "setup: node-linux-$1@$2 cannot be had; the tests with it are left out" >&2
  fi
  rm -rf "$part"
}

for node in $nodes; do
  fetch "${node%@*}" "${node#*@}"
done
