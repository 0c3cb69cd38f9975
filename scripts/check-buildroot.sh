#!/bin/sh
# `make check-buildroot BUILDROOT=CHECKOUT`: Buildroot's own tools judge board/. What is real and what is not is printed,
# and told in docs/install/buildroot.md. Nothing is downloaded and nothing is compiled but Buildroot's own kconfig and
# makedevs; nothing is written below the checkouts.
set -eu
umask 022 # with another one Buildroot starts itself anew, and forgets -o

root=$(cd "$(dirname "$0")/.." && pwd -P)
board=$root/board
page=$root/docs/install/beamer.md
export LC_ALL=C

fail() {
	echo "check-buildroot: $1" >&2
	exit 1
}
ok() { echo "ok: $1"; }

# shellcheck disable=SC2016 # $HOME is for the reader
[ -n "${BUILDROOT:-}" ] || fail 'BUILDROOT is not set: the folder of a Buildroot checkout (https://buildroot.org, a release
or a branch like 2026.02.x; its nodejs has to be 20.19 or later), for example: make check-buildroot BUILDROOT=$HOME/buildroot'
[ -x "$BUILDROOT/utils/check-package" ] || fail "BUILDROOT=$BUILDROOT is no Buildroot checkout: it has no utils/check-package"
buildroot=$(cd "$BUILDROOT" && pwd -P)
for program in make gcc g++ rsync cpio bc unzip fakeroot mke2fs debugfs genimage mcopy mkfs.vfat shellcheck node; do
	PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || fail "the program $program is needed (Debian: apt-get install \
build-essential rsync cpio bc unzip fakeroot e2fsprogs genimage mtools dosfstools shellcheck python3-magic)"
done
for python in python3 /usr/bin/python3 ''; do
	[ -n "$python" ] || fail 'a python3 with the module magic is needed (Debian: python3-magic)'
	if "$python" -c 'import magic' 2>/dev/null; then break; fi
done
[ -s "$root/dist/tunnel-agent.cjs" ] || fail 'dist/tunnel-agent.cjs is missing: run make bundle first'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH=$PATH:/usr/sbin:/sbin

version=$(make -s -C "$buildroot" O="$work/none" print-version)
echo "Buildroot $version"

# --- its make ---------------------------------------------------------------

# br FOLDER TARGET...
br() {
	folder=$1
	shift
	(cd "$buildroot" && make -s O="$work/$folder" BR2_EXTERNAL="$board" "$@") >"$work/log" 2>&1 ||
		{ tail -n 30 "$work/log" >&2 && fail "make in $folder failed, see above"; }
}

# load FOLDER DEFCONFIG [LINE...]: the defconfig with further lines.
load() {
	folder=$1
	name=$2
	shift 2
	mkdir -p "$work/$folder"
	{ cat "$board/configs/$name" && printf '%s\n' "$@"; } >"$work/$folder/defconfig"
	br "$folder" defconfig BR2_DEFCONFIG="$work/$folder/defconfig"
	if lost=$(grep -E '^(BR2_|# BR2_)' "$work/$folder/defconfig" | grep -vxFf "$work/$folder/.config"); then
		fail "$name: Kconfig has dropped: $lost"
	fi
}

# The packages that have no source to be downloaded, so that all of their steps are real.
REAL='host-skeleton host-makedevs skeleton skeleton-init-common skeleton-init-sysv skeleton-init-systemd
skeleton-init-openrc initscripts ifupdown-scripts zeroforce-agent zeroforce-usbip'

# build FOLDER TARGET...: -o makes make take the other packages as built, without any of their steps.
build() {
	folder=$1
	shift
	if [ ! -e "$work/$folder/options" ]; then
		make -s -C "$work/$folder" printvars VARS=PACKAGES_ALL | sed 's/^PACKAGES_ALL=//' | tr ' ' '\n' |
			grep -vxF "$(echo "$REAL" | tr ' ' '\n')" | sed 's/^/-o /' >"$work/$folder/options"
	fi
	# shellcheck disable=SC2046 # a list of options
	br "$folder" -o dependencies -o toolchain $(cat "$work/$folder/options") "$@"
}

# stand_ins FOLDER: what packages that are not built here would have left for the last steps.
stand_ins() {
	host=$work/$1/host
	target=$work/$1/target
	mkdir -p "$host/bin" "$host/sbin" "$target/etc/ssh" "$target/etc/init.d" "$target/bin" "$target/usr/lib/systemd/system-preset"
	arch=$(sed -n 's/^BR2_ARCH="\(.*\)"/\1/p' "$work/$1/.config")
	for program in bin/udevadm bin/patchelf "bin/$arch-linux-strip" "bin/$arch-linux-readelf" bin/ldconfig bin/journalctl; do
		ln -sf /bin/true "$host/$program"
	done
	for program in fakeroot genimage mkfs.ext4 systemctl; do
		ln -sf "$(command -v "$program" || command -v true)" "$host/bin/$program"
		ln -sf "$host/bin/$program" "$host/sbin/$program"
	done
	cp "$buildroot/package/busybox/inittab" "$target/etc/inittab"
	cp "$buildroot"/package/systemd/*.preset "$target/usr/lib/systemd/system-preset/" 2>/dev/null || :
	[ -s "$target/etc/ssh/sshd_config" ] || echo '#Port 22' >"$target/etc/ssh/sshd_config"
	: >"$target/bin/busybox"
}

# --- the checks -------------------------------------------------------------

check_package() {
	cd "$root"
	# shellcheck disable=SC2046 # no name has a space
	"$python" "$buildroot/utils/check-package" -b $(git ls-files -- board rootfs-overlay ':!board/gateway') >"$work/log" 2>&1 ||
		{ cat "$work/log" >&2 && fail 'check-package has found something, see above'; }
	ok "check-package is content: $(grep 'lines processed' "$work/log")"
}

defconfigs() {
	for path in "$board"/configs/*_defconfig; do
		name=$(basename "$path")
		load "$name" "$name"
		br "$name" savedefconfig BR2_DEFCONFIG="$work/saved"
		diff -u "$path" "$work/saved" >&2 || fail "$name is not as savedefconfig writes it"
		ok "$name: each of its $(grep -c BR2_ "$path") options takes effect, and savedefconfig writes it as it is"
	done
}

show_info() {
	make -s -C "$work/zeroforce_beamer_pi3_defconfig" show-info >"$work/info"
	# shellcheck disable=SC2016 # JavaScript
	node -e '
		const [file, version] = process.argv.slice(1);
		const info = JSON.parse(require("node:fs").readFileSync(file))["zeroforce-agent"];
		const wrong = info.version !== version || !info.dependencies.includes("nodejs") || info.licenses !== "PROPRIETARY";
		if (wrong) {
			console.error(info);
			process.exit(1);
		}' "$work/info" "$(node -p "require('$root/package.json').version")" || fail 'show-info does not tell what it should'
	variables=$(make -s -C "$work/zeroforce_beamer_pi3_defconfig" printvars VARS='ZEROFORCE_AGENT_SITE ZEROFORCE_AGENT_SITE_METHOD ZEROFORCE_AGENT_INSTALL_TARGET NODEJS_COMMON_VERSION')
	echo "$variables" | grep -qxF "ZEROFORCE_AGENT_SITE=$board/../dist" || fail "printvars: $variables"
	echo "$variables" | grep -qxF 'ZEROFORCE_AGENT_SITE_METHOD=local' || fail "printvars: $variables"
	node -e '
		const [major, minor] = process.argv[1].split(".").map(Number);
		process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' "$(echo "$variables" | sed -n 's/^NODEJS_COMMON_VERSION=//p')" ||
		fail "its nodejs is too old: $variables"
	ok "show-info and printvars tell of the package; $(echo "$variables" | grep NODEJS_COMMON_VERSION)"
}

# The commands of the page that need no download, as they stand there.
page_commands() {
	[ -e "$page" ] || fail "$page is missing"
	awk '/^## /{here = ($0 == "## Configure")} here && /^```/{inside = !inside; next} here && inside' "$page" >"$work/commands"
	[ -s "$work/commands" ] || fail "$page has no commands under Configure"
	mkdir -p "$work/page"
	(cd "$work/page" && BUILDROOT=$buildroot ZEROFORCE=$root sh -eu "$work/commands") >"$work/log" 2>&1 ||
		{ tail -n 30 "$work/log" >&2 && fail 'the commands of the page do not work, see above'; }
	grep -Ev '^BR2_(DEFCONFIG|EXTERNAL_ZEROFORCE_VERSION)=' "$work/page/beamer/.config" >"$work/page/config"
	grep -Ev '^BR2_(DEFCONFIG|EXTERNAL_ZEROFORCE_VERSION)=' "$work/zeroforce_beamer_pi3_defconfig/.config" | diff - "$work/page/config" >&2 ||
		fail 'the commands of the page lead to another configuration'
	ok "docs/install/beamer.md: Configure, as it stands there"
}

has() { # FOLDER PATH MODE
	[ "$(stat -c %a "$work/$1/target/$2" 2>/dev/null)" = "$3" ] || fail "$1: $2 should be there, mode $3: $(stat -c %a "$work/$1/target/$2" 2>&1)"
}
hasnot() { # FOLDER PATTERN
	for found in "$work/$1/target/"$2; do
		[ ! -e "$found" ] || fail "$1: $found should not be there"
	done
}

beamer() {
	load beamer zeroforce_beamer_pi3_defconfig BR2_PACKAGE_ZEROFORCE_AGENT_UNPRIVILEGED=y
	build beamer zeroforce-agent zeroforce-usbip initscripts skeleton
	has beamer usr/lib/zeroforce/tunnel-agent 755
	has beamer etc/init.d/S70zeroforce 755
	has beamer etc/zeroforce/config.json 600
	cmp "$root/dist/tunnel-agent.cjs" "$work/beamer/target/usr/lib/zeroforce/tunnel-agent.cjs"
	ok 'Beamer: the package and its skeleton are installed by all of their own steps'

	stand_ins beamer
	echo 'ssh-ed25519 AAAA maintenance' >"$work/keys"
	ZEROFORCE_MAINTENANCE_KEYS=$work/keys build beamer target-finalize
	# With each make the hooks, overlays and scripts come again, and a package may.
	build beamer zeroforce-agent-reinstall
	ZEROFORCE_MAINTENANCE_KEYS=$work/keys build beamer rootfs-ext2
	image=$work/beamer/images/rootfs.ext2
	# Path, type, mode, owner: in the file system that was made, by debugfs.
	for line in '/etc/zeroforce symlink 0777' '/data/etc/zeroforce/config.json regular 0600' '/data/zeroforce directory 0700' \
		'/data/zeroforce/ever-paired regular 0644' '/etc/init.d/S03zeroforce-data regular 0755' \
		'/etc/ssh/ssh_host_ed25519_key symlink 0777' '/etc/ssh/maintenance_keys regular 0600' '/etc/shadow regular 0600'; do
		# shellcheck disable=SC2086 # three words
		set -- $line
		debugfs -R "stat $1" "$image" 2>/dev/null | tr -s ' \n' ' ' |
			grep -q "Type: $2 Mode: $3 .* User: 0 Group: 0 " || fail "rootfs: $line: $(debugfs -R "stat $1" "$image" 2>&1 | head -3)"
	done
	debugfs -R 'cat /etc/shadow' "$image" 2>/dev/null >"$work/shadow"
	if grep -Ev '^[a-z-]+:\*:' "$work/shadow" >&2; then fail 'rootfs: this account can log in by password, or is locked'; fi
	grep -q '^zeroforce:\*:' "$work/shadow" || fail 'rootfs: the user zeroforce is missing'
	debugfs -R 'cat /etc/ssh/sshd_config' "$image" 2>/dev/null | head -1 | grep -q '^Include' || fail 'rootfs: no Include'
	if debugfs -R 'cat /etc/inittab' "$image" 2>/dev/null | grep -E '^[^#].*(remount,rw|getty)'; then
		fail 'rootfs: it would be written to, or show a prompt'
	fi
	ok 'Beamer: overlays, scripts, users and permissions are in a file system made by Buildroot'

	images=$work/beamer/images
	mkdir -p "$images/rpi-firmware/overlays"
	cp "$board/raspberrypi/config_pi3.txt" "$images/rpi-firmware/config.txt"
	cp "$board/beamer/cmdline.txt" "$images/rpi-firmware/"
	for file in rpi-firmware/bootcode.bin rpi-firmware/overlays/miniuart-bt.dtbo bcm2710-rpi-3-b.dtb zImage; do
		echo stand-in >"$images/$file"
	done
	(cd "$buildroot" && BUILD_DIR=$work/beamer/build PATH=$work/beamer/host/bin:$PATH "$board/post-image.sh" "$images" "$board/beamer") >"$work/log" 2>&1 ||
		{ cat "$work/log" >&2 && fail 'post-image.sh failed'; }
	# shellcheck disable=SC2016 # JavaScript
	node -e '
		const table = require("node:fs").readFileSync(process.argv[1]).subarray(446, 494);
		const starts = [0, 1, 2].map((i) => table.readUInt32LE(i * 16 + 8) / 2048);
		if (String(starts) !== "1,65,577") throw new Error(`partitions at ${starts} MiB`);' "$images/sdcard.img"
	mdir -b -i "$images/sdcard.img@@1M" ::/ | grep -q zImage || fail 'the boot partition has no kernel'
	mdir -b -i "$images/sdcard.img@@1M" ::/overlays | grep -q miniuart-bt || fail 'the boot partition has no overlays'
	dd if="$images/sdcard.img" of="$work/data.img" bs=1M skip=577 count=64 status=none
	e2fsck -fn "$work/data.img" >/dev/null 2>&1 || fail 'the data partition has no clean file system at 577 MiB'
	ok 'Beamer: the image of the card has boot, root and data in their places'
}

others() {
	load recorder zeroforce_rtsp_recorder_defconfig
	build recorder zeroforce-agent
	has recorder usr/lib/systemd/system/zeroforce.service 644
	has recorder etc/zeroforce/sshd_config 644
	if grep -n 3240 "$work/recorder/target/etc/zeroforce/sshd_config" >&2; then fail 'an RTSP-Recorder lends no USB ports'; fi
	hasnot recorder 'etc/init.d/*zeroforce*'
	ok 'RTSP-Recorder (systemd): units, and no scripts'

	load openrc zeroforce_beamer_pi3_defconfig BR2_INIT_OPENRC=y
	build openrc zeroforce-agent
	has openrc etc/init.d/zeroforce 755
	[ -L "$work/openrc/target/etc/runlevels/default/zeroforce" ] || fail 'OpenRC: not in the runlevel'
	hasnot openrc 'etc/init.d/S7[0-2]zeroforce*'
	ok 'Beamer with OpenRC: its own scripts, and none that OpenRC would start a second time'
}

release() {
	archive=$root/dist/zeroforce-agent-$(node -p "require('$root/package.json').version").tar.gz
	if [ ! -e "$archive" ]; then
		echo 'not checked: the release archive as the source; make release makes it'
		return
	fi
	load release zeroforce_beamer_pi3_defconfig BR2_PACKAGE_ZEROFORCE_AGENT_RELEASE=y "BR2_DL_DIR=\"$work/dl\""
	# Where Buildroot finds the machine's tar too old for other archives, it would build its own.
	for folder in release changed; do
		mkdir -p "$work/$folder/host/bin"
		ln -sf "$(command -v tar)" "$work/$folder/host/bin/tar"
	done
	build release zeroforce-agent zeroforce-agent-legal-info
	has release usr/lib/zeroforce/tunnel-agent.cjs 644
	cp -r "$root/dist" "$work/changed"
	printf 'x' >>"$work/changed/$(basename "$archive")"
	load changed zeroforce_beamer_pi3_defconfig BR2_PACKAGE_ZEROFORCE_AGENT_RELEASE=y "BR2_DL_DIR=\"$work/dl-changed\"" \
		"BR2_PACKAGE_ZEROFORCE_AGENT_RELEASE_SITE=\"file://$work/changed\""
	if (build changed zeroforce-agent-source) 2>/dev/null; then fail 'a changed archive was taken'; fi
	grep -q 'ERROR.*wrong sha256' "$work/log" || { cat "$work/log" >&2 && fail 'refused, and not for its hash'; }
	ok 'the release archive: fetched, compared with the hash, installed; a changed one is refused'
}

# Some of them only, for whoever works on one; show_info and page_commands need what defconfigs leaves.
[ $# -gt 0 ] || set -- check_package defconfigs show_info page_commands beamer others release
for check in "$@"; do
	"$check"
done
echo "Buildroot $version: all good"
