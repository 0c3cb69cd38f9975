#!/bin/sh
# Run by Buildroot on the target folder ($1): a root that is never written to. What a Beamer remembers is moved below
# /data, where the data partition is mounted by S03zeroforce-data, and a link takes its place. The links are relative:
# on the machine that builds they must not lead out of the target folder.
set -eu
cd "$1"

move() { # from, to
	mkdir -p "$(dirname "$2")" "$(dirname "$1")"
	if [ ! -L "$1" ]; then
		[ ! -d "$1" ] || cp -a "$1/." "$2.new"
		mkdir -p "$2.new"
		rm -rf "$1" "$2"
		mv "$2.new" "$2"
	fi
	ln -sfn "$3" "$1"
}

# What lies below /data of the root is seen when there is no data partition, and is what a fresh one is filled with.
mkdir -p boot data
move etc/zeroforce data/etc/zeroforce ../data/etc/zeroforce
move var/lib/zeroforce data/zeroforce ../../data/zeroforce
move root/.ssh data/ssh ../data/ssh
chmod 700 data/etc/zeroforce data/zeroforce data/ssh

mkdir -p etc/ssh data/etc/ssh
for kind in rsa ecdsa ed25519; do
	ln -sfn "../../data/etc/ssh/ssh_host_${kind}_key" "etc/ssh/ssh_host_${kind}_key"
	ln -sfn "../../data/etc/ssh/ssh_host_${kind}_key.pub" "etc/ssh/ssh_host_${kind}_key.pub"
done

# A Beamer whose data partition is lost does not know whether it was paired before, so it has to think so: else each start
# would open pairing to whoever is near.
: >data/zeroforce/ever-paired
