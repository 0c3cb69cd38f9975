#!/bin/sh
# Run by Buildroot on the target folder ($1), once the packages and the overlays are in it, and again with every make.
# ZEROFORCE_MAINTENANCE_KEYS in the environment names an authorized_keys file: whose keys may log in as root on port 22.
set -eu
target=$1

config=$target/etc/ssh/sshd_config
include='Include /etc/ssh/sshd_config.d/*.conf'
if [ -e "$config" ] && ! grep -qxF "$include" "$config"; then
	{ echo "$include"; cat "$config"; } >"$config.new"
	mv "$config.new" "$config"
fi

rm -f "$target/etc/ssh/maintenance_keys"
if [ -n "${ZEROFORCE_MAINTENANCE_KEYS:-}" ]; then
	install -m 0600 "$ZEROFORCE_MAINTENANCE_KEYS" "$target/etc/ssh/maintenance_keys"
else
	echo 'zeroforce: no ZEROFORCE_MAINTENANCE_KEYS: nobody can log in on port 22 of this image' >&2
fi
