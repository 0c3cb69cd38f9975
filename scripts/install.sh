#!/bin/sh
# Installs the agent of zeroforce on a device that no package serves, upgrades it and takes an upgrade back:
# docs/install/other.md and docs/install/upgrade.md. Needs a POSIX shell and the tools of coreutils or BusyBox.
#
# An upgrade is a list of steps (see steps() below). Each replaces things by rename, and may be done again. From the
# step `note` on, the journal says that the old version is to come back: whoever finds it does that, be it the process
# that watches the upgrade or the next boot. After the step `keep` it says that the new one stays.
#
# Processes of an upgrade: the one of the terminal only shows the log. The guard, in a session of its own, starts the
# worker, and takes back what a killed worker leaves. So the tunnel through which somebody upgrades may end with it.
set -u
umask 022
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

HOME_DIR=/opt/zeroforce
VERSIONS=$HOME_DIR/versions
RECORD=$HOME_DIR/installed # what was made here: "file SUM PATH", "link TARGET PATH", "dir - PATH", "user - NAME"
SETTINGS=$HOME_DIR/settings
JOURNAL=$HOME_DIR/journal
OUTCOME=$HOME_DIR/outcome
INSTALLER=$HOME_DIR/install.sh
PROGRAM=/usr/bin/tunnel-agent
CONFIG_DIR=/etc/zeroforce
CONFIG=$CONFIG_DIR/config.json
STATE_DIR=/var/lib/zeroforce
LOCK=/run/zeroforce-install.lock
LOG=/run/zeroforce-install.log
MIN_NODE=20.19
INITS='systemd openrc busybox sysv none'

EXIT_FAILED=1   # refused, or failed before anything was changed
EXIT_USAGE=2    # the command line was wrong
EXIT_BACK=3     # the new version did not prove itself; the old one runs again
EXIT_UNPROVED=4 # what is installed now did not prove itself
EXIT_BUSY=75    # another installer is at work

usage() {
	cat <<END
usage: install.sh COMMAND [OPTION...] [RELEASE]

  install     installs the release and starts the service; done again it repairs
  upgrade     puts the release in the place of the installed version, if it proves itself
  rollback    goes back to the version before
  uninstall   removes what was installed here; configuration, state and keys stay
  status      tells what is installed, and how the last command ended
  steps       lists the steps of an upgrade
  recover     ends an upgrade all of whose processes were killed; a boot does so by itself

RELEASE is a file zeroforce-agent-VERSION.tar.gz, or a folder that it was unpacked to; by default the folder of this script.

  --dry-run          tells each step and changes nothing
  --init SYSTEM      $INITS; by default what runs here
  --node FILE        the Node to run with, at least $MIN_NODE; by default the node in PATH
  --config KIND      beamer, rtsp-recorder, or a file: the first configuration, where there is none (install)
  --no-sshd          without the sshd of the paired tunnel on port 8007 (install)
  --force            also where the new program refuses the configuration (upgrade)
  --within SECONDS   how long a version has to prove itself; by default 120
  --steady SECONDS   how long it must have run meanwhile without a restart; by default 10
  --no-proof         goes back whatever the result is (rollback)
  --purge            removes configuration, state and the paired key, too (uninstall)

Exit codes: 0 done, 1 nothing was changed, 2 wrong command line, 3 the old version is back, 4 what is installed did not
prove itself, 75 another installer is at work.
END
}

say() { printf '%s\n' "$*"; }
fail() {
	printf 'install.sh: %s\n' "$*" >&2
	# For whoever asks later: the terminal of this one may be gone.
	case $role in work | handed) [ ! -e "$SETTINGS" ] || printf '%s failed: %s\n' "$command" "$*" | write_file "$OUTCOME" 2>/dev/null ;; esac
	exit $EXIT_FAILED
}
wrong() {
	printf 'install.sh: %s\nTry: install.sh --help\n' "$*" >&2
	exit $EXIT_USAGE
}
has() { command -v "$1" >/dev/null 2>&1; }
uptime_s() { read -r seconds _ </proc/uptime && echo "${seconds%%.*}"; }

# The steps of an upgrade: name, what it does, and what a power cut in it leads to.
steps() {
	cat <<'END'
unpack|unpacks to `versions/NEW.tmp`, checks each file against `SHA256SUMS`, writes it out to the disk|the old version runs
check|Node, files of other owners, and the configuration by the new program|the old version runs
place|renames `NEW.tmp` to `NEW`, and puts the new `install.sh` in its place|the old version runs
note|writes the journal: from, to, whether the service was ready and held a tunnel|the old version runs
files|replaces init files, sshd's configuration, sysctl, pages and completion, each by rename|the boot brings the old ones back
switch|links `current` to the new version, by rename|the boot links the old one again
restart|restarts the service|the boot brings the old version back
prove|waits until the new version answers as ready, has a tunnel if there was one, and stays so|the boot brings the old version back
keep|notes in the journal that the new version stays, and links `previous`|the boot finishes: the new version runs
prune|removes the versions before the previous one, and the journal|the boot finishes: the new version runs
END
}

# --- files ------------------------------------------------------------------

sum_of() { sha256sum <"$1" | cut -d ' ' -f 1; }
# Onto the disk, so that a rename never shows what is not there yet. BusyBox without the option writes out everything.
to_disk() { sync "$@" 2>/dev/null || sync; }

# Standard input becomes the file $1, whole or not at all.
write_file() {
	cat >"$1.tmp" && to_disk "$1.tmp" && mv -f "$1.tmp" "$1" && to_disk "${1%/*}"
}

# Makes or replaces the link $2 to $1. The new one is made in a folder of its own: mv would move it *into* a folder that
# the old one leads to, but for the name that it has already.
swap_link() {
	swap=${2%/*}/.${2##*/}.swap
	rm -rf "$swap" && mkdir "$swap" && ln -s "$1" "$swap/${2##*/}" && mv -f "$swap/${2##*/}" "${2%/*}/" &&
		rmdir "$swap" && to_disk "${2%/*}"
}

# Before the thing itself is made: a kill between leaves a line too much, never a thing that nobody knows. The last line
# about a path is what was put there last; earlier ones tell a file of ours from an edited one until all is done.
record() {
	last=$(awk -v path="${1##* }" '$3 == path { line = $0 } END { print line }' "$RECORD" 2>/dev/null)
	[ "$last" != "$1" ] || return 0
	# A line that a full disk has cut short must not become a part of this one.
	if [ -s "$RECORD" ] && [ -n "$(tail -c 1 "$RECORD")" ]; then echo >>"$RECORD" || return; fi
	printf '%s\n' "$1" >>"$RECORD" && to_disk "$RECORD"
}
recorded() { grep -Fqx "$1" "$RECORD" 2>/dev/null; }
is_recorded_path() { [ -e "$RECORD" ] && awk -v path="$1" '$3 == path { found = 1 } END { exit !found }' "$RECORD"; }

make_dir() {
	[ ! -d "$1" ] || return 0
	make_dir "$(dirname "$1")" || return
	if [ "$dry" ]; then return 0; fi
	record "dir - $1" && mkdir "$1"
}

# Where the new text of a file goes that somebody has edited. Not where an init system would take it for a script.
beside() {
	case $1 in
	/etc/init.d/*) echo "/etc/init.d/.${1##*/}.new" ;;
	*) echo "$1.new" ;;
	esac
}

# The file $1 of a release becomes $2 with mode $3. What was put there is known by its sum; another is somebody's work.
put() {
	sum=$(sum_of "$1") now='' || return
	target=$2
	if [ -e "$2" ]; then
		now=$(sum_of "$2")
		if [ "$now" != "$sum" ] && ! recorded "file $now $2"; then
			target=$(beside "$2")
			say "kept, it was edited: $2; what this version has: $target"
		fi
	fi
	if [ "$dry" ]; then
		if [ "$target" != "$2" ] || [ "$now" != "$sum" ]; then say "would write $target"; fi
		return 0
	fi
	make_dir "${target%/*}" || return
	record "file $sum $target" || return
	if [ "$target" = "$2" ] && [ -e "$(beside "$2")" ]; then rm -f "$(beside "$2")"; fi
	if [ -e "$target" ] && [ "$(sum_of "$target")" = "$sum" ]; then return 0; fi
	hidden=${target%/*}/.${target##*/}.zeroforce
	cp "$1" "$hidden" && chmod "$3" "$hidden" && to_disk "$hidden" && mv -f "$hidden" "$target" || return
	to_disk "${target%/*}"
	changed="$changed $target"
}

# Removes a file that was put, unless somebody has edited it: that one is kept apart, where no init system runs it.
take_away() {
	[ -e "$1" ] || return 0
	if recorded "file $(sum_of "$1") $1"; then
		if [ "$dry" ]; then
			say "would remove $1"
		else
			rm -f "$1"
		fi
	else
		say "kept, it was edited: $1 is now $CONFIG_DIR/kept/${1##*/}"
		[ "$dry" ] || { mkdir -p "$CONFIG_DIR/kept" && mv -f "$1" "$CONFIG_DIR/kept/"; }
	fi
}

files_recorded() { [ ! -e "$RECORD" ] || awk '$1 == "file" && !seen[$3]++ { print $3 }' "$RECORD"; }

# The last line about each path is enough when all is done.
compact_record() {
	awk '{ name = $1 " " $3; if (!(name in last)) order[++n] = name; last[name] = $0 }
		END { for (i = 1; i <= n; i++) print last[order[i]] }' "$RECORD" | write_file "$RECORD"
}

owner_of() {
	if has dpkg-query; then dpkg-query -S "$1" 2>/dev/null | head -n 1 | cut -d : -f 1; fi
}

# --- what belongs where -----------------------------------------------------

# "SOURCE TARGET MODE" of the files of a version.
files_of() {
	case $init in
	systemd)
		for name in $services zeroforce-monitor; do echo "init/$name.service /etc/systemd/system/$name.service 644"; done
		echo 'made/zeroforce-recover.service /etc/systemd/system/zeroforce-recover.service 644'
		echo 'init/zeroforce.tmpfiles /etc/tmpfiles.d/zeroforce.conf 644'
		echo 'init/zeroforce.sysusers /etc/sysusers.d/zeroforce.conf 644'
		;;
	openrc)
		for name in $services zeroforce-monitor; do echo "init/$name.openrc /etc/init.d/$name 755"; done
		echo 'made/zeroforce-recover.openrc /etc/init.d/zeroforce-recover 755'
		;;
	busybox | sysv)
		echo "made/zeroforce-recover $(script_of zeroforce-recover) 755"
		for name in $services; do echo "init/$(number_of "$name")$name $(script_of "$name") 755"; done
		;;
	esac
	for name in zeroforce-supervise zeroforce-sshd; do echo "init/$name /usr/lib/zeroforce/$name 755"; done
	case $services in *zeroforce-sshd*)
		echo "made/sshd_config $CONFIG_DIR/sshd_config 644"
		;;
	esac
	echo 'sysctl/90-zeroforce.conf /etc/sysctl.d/90-zeroforce.conf 644'
	echo 'man/tunnel-agent.1 /usr/local/share/man/man1/tunnel-agent.1 644'
	echo 'man/zeroforce.conf.5 /usr/local/share/man/man5/zeroforce.conf.5 644'
	if has bash; then echo 'completion/tunnel-agent /etc/bash_completion.d/tunnel-agent 644'; fi
	if has zsh; then echo 'completion/_tunnel-agent /usr/local/share/zsh/site-functions/_tunnel-agent 644'; fi
	if has fish; then echo 'completion/tunnel-agent.fish /etc/fish/completions/tunnel-agent.fish 644'; fi
}
# Those that the version in folder $1 has.
files_in() {
	files_of | while read -r source target mode; do
		if [ -e "$1/$source" ]; then echo "$1/$source $target $mode"; fi
	done
}

number_of() {
	case $1 in
	zeroforce-recover) echo S69 ;;
	zeroforce) echo S70 ;;
	zeroforce-sshd) echo S71 ;;
	esac
}
script_of() {
	case $init in
	busybox) echo "/etc/init.d/$(number_of "$1")$1" ;;
	*) echo "/etc/init.d/$1" ;;
	esac
}

# What a release does not have as a file: the hook of the boot, and the sshd's configuration for this place.
make_files() {
	mkdir -p "$1/made" || return
	cat >"$1/made/zeroforce-recover.service" <<END
[Unit]
Description=zeroforce: end or take back an upgrade that a power cut has interrupted
DefaultDependencies=no
RequiresMountsFor=$HOME_DIR
After=local-fs.target
Before=zeroforce.service zeroforce-sshd.service
ConditionPathExists=$JOURNAL

[Service]
Type=oneshot
ExecStart=/bin/sh $INSTALLER boot
# The service comes after it, and must come whatever hangs here; the journal stays for the next boot then.
TimeoutStartSec=300

[Install]
WantedBy=multi-user.target
END
	cat >"$1/made/zeroforce-recover.openrc" <<END
#!/sbin/openrc-run
description="Ends or takes back an upgrade of zeroforce that a power cut has interrupted"

depend() {
	# Never "need": whatever a system lacks, this has to run.
	use localmount
	before zeroforce zeroforce-sshd
}

start() {
	[ ! -e $JOURNAL ] || /bin/sh $INSTALLER boot
	return 0
}
END
	cat >"$1/made/zeroforce-recover" <<END
#!/bin/sh
### BEGIN INIT INFO
# Provides:          zeroforce-recover
# Required-Start:    \$local_fs
# Required-Stop:
# X-Start-Before:    zeroforce zeroforce-sshd
# Default-Start:     2 3 4 5
# Default-Stop:
# Short-Description: Ends or takes back an upgrade of zeroforce that a power cut has interrupted
### END INIT INFO
[ "\${1-}" != start ] || [ ! -e $JOURNAL ] || /bin/sh $INSTALLER boot
END
	source=$1/sshd/beamer-ssh-tunnel
	[ -e "$source" ] || return 0
	# Its PidFile stays as it is: /run/zeroforce-sshd.pid is the supervisor's.
	sed "s|/opt/beamer/beamer-ssh-tunnel|$CONFIG_DIR/sshd_config|" "$source" >"$1/made/sshd_config"
}

# Puts the files of the version in folder $1 in their places, and takes away those of another version that it has not.
lay_out() {
	changed=''
	wanted=$(files_in "$1")
	while read -r source target mode; do
		[ -z "$source" ] || put "$source" "$target" "$mode" || return
	done <<END
$wanted
END
	for path in $(files_recorded); do
		case "
$wanted
" in
		*" $path "*) continue ;;
		esac
		# It stands beside an edited file, which stays edited.
		case $path in *.new) continue ;; esac
		take_away "$path" || return
	done
}

# Every file that this would take from somebody else, with the owner where one is known.
foreign_files() {
	files_in "$1" | while read -r _ target _; do
		if [ -e "$target" ] && ! is_recorded_path "$target"; then foreign "$target"; fi
	done
	if [ -e "$PROGRAM" ] || [ -L "$PROGRAM" ]; then
		[ "$(readlink "$PROGRAM")" = "$HOME_DIR/current/tunnel-agent" ] || foreign "$PROGRAM"
	fi
}
foreign() {
	owner=$(owner_of "$1")
	echo "$1${owner:+ (of the package $owner)}"
}

# --- init systems -----------------------------------------------------------

# By what runs, or what the first process is told to run: the folders of another init system may be there as well.
detect_init() {
	if [ -d /run/systemd/system ]; then
		echo systemd
	elif [ -e /run/openrc/softlevel ] || grep -q '^[^#]*openrc' /etc/inittab 2>/dev/null; then
		echo openrc
	elif starts_numbered_scripts; then
		echo busybox
	elif [ -d /etc/rc2.d ] && grep -q '^[^#]*/etc/init.d/rc ' /etc/inittab 2>/dev/null; then
		echo sysv
	fi
}
starts_numbered_scripts() { grep -q '^[^#]*/etc/init.d/S' /etc/init.d/rcS 2>/dev/null; }

# What the init system has to have, so that what is installed is started at the next boot, too.
check_init() {
	case $init in
	systemd) needed=systemctl ;;
	openrc) needed='rc-update rc-service' ;;
	*) needed='' ;;
	esac
	for tool in $needed; do
		has "$tool" || fail "--init $init: there is no $tool here. Name the init system of this device with --init: $INITS"
	done
	case $init in
	busybox) starts_numbered_scripts || fail "--init busybox: there is no /etc/init.d/rcS that starts /etc/init.d/S??* at boot. Name the init system of this device with --init: $INITS" ;;
	sysv) [ -d /etc/rc2.d ] || fail "--init sysv: there is no folder /etc/rc2.d. Name the init system of this device with --init: $INITS" ;;
	esac
}

# service ACTION NAME, with ACTION start, stop, restart, status, enable or disable. Nothing that it starts may hold our
# lock, and none of it may hang for ever.
service() {
	if [ "$dry" ]; then
		say "would $1 the service $2"
		return
	fi
	init_does "$1" "$2" 9>&- </dev/null
}
init_does() {
	case $init:$1 in
	systemd:enable | systemd:disable | systemd:stop) bounded systemctl --quiet "$1" "$2.service" ;;
	systemd:status) systemctl --quiet is-active "$2.service" ;;
	# It waits for nobody: whether it came up is asked elsewhere.
	systemd:*) systemctl --quiet reset-failed "$2.service" 2>/dev/null; bounded systemctl --quiet --no-block "$1" "$2.service" ;;
	openrc:enable) rc-update --quiet add "$2" "$(runlevel_of "$2")" ;;
	openrc:disable) rc-update --quiet delete "$2" "$(runlevel_of "$2")" ;;
	openrc:*) bounded rc-service --quiet "$2" "$1" ;;
	sysv:enable) link_runlevels "$2" ;;
	sysv:disable) rm -f /etc/rc[0-6].d/[SK]??"$2" ;;
	busybox:enable | busybox:disable | none:*) ;;
	*) bounded "$(script_of "$2")" "$1" ;;
	esac
}
bounded() { timeout 90 "$@"; }
runlevel_of() { if [ "$1" = zeroforce-recover ]; then echo boot; else echo default; fi; }
link_runlevels() {
	number=$(number_of "$1") number=${number#S}
	for level in 2 3 4 5; do ln -sf "../init.d/$1" "/etc/rc$level.d/S$number$1" || return; done
	[ "$1" = zeroforce-recover ] || for level in 0 1 6; do ln -sf "../init.d/$1" "/etc/rc$level.d/K30$1" || return; done
}

# After init files were replaced.
reload_init() {
	case $changed in '') return 0 ;; esac
	if [ "$dry" ]; then return 0; fi
	case $init in
	systemd) bounded systemctl daemon-reload && { ! has systemd-tmpfiles || systemd-tmpfiles --create /etc/tmpfiles.d/zeroforce.conf; } ;;
	esac
	case $changed in *sysctl*) sysctl -q -p /etc/sysctl.d/90-zeroforce.conf >/dev/null 2>&1 || say 'note: sysctl refuses /etc/sysctl.d/90-zeroforce.conf; it counts from the next boot on' ;; esac
	return 0
}

# The paired tunnel's sshd goes on as it is, unless something of its own has changed.
restart_sshd() {
	if is_held zeroforce-sshd; then return; fi
	case $changed in
	*sshd*) service restart zeroforce-sshd || say 'note: zeroforce-sshd was not restarted: see its log' ;;
	esac
}

# Which services must not start yet, as $held: software of an earlier version runs, and ours is to take its place by
# `tunnel-agent migrate`. Two agents of one identity throw each other out. Its sshd is known by its configuration.
hold() {
	held=''
	if [ "$dry" ] || [ "$init" = none ]; then return 0; fi
	ask
	[ -z "$version" ] || return 0
	timeout 120 "$VERSIONS/$to/tunnel-agent" migrate --dry-run --quiet >/dev/null 2>&1 </dev/null 9>&-
	[ $? = 3 ] || return 0
	held=zeroforce
	if [ -e /opt/beamer/beamer-ssh-tunnel ] || netstat -ltn 2>/dev/null | grep -q ':8007 '; then held='zeroforce zeroforce-sshd'; fi
	[ "$init" = busybox ] || return 0
	# By this name rcS does not start it, and the migration finds it.
	for name in $held; do
		path=$(script_of "$name") kept=/etc/init.d/K${path#/etc/init.d/S}
		[ ! -e "$path" ] || { record "file $(sum_of "$path") $kept" && mv -f "$path" "$kept" && to_disk /etc/init.d; } || return
	done
}
is_held() { case " $held " in *" $1 "*) ;; *) return 1 ;; esac; }
HELD_SAYS='software of an earlier version runs here, so the service was not started. Next: tunnel-agent migrate'

# --- the service, asked -----------------------------------------------------

# What the running service says: sets $version $pid $http $tunnel (each empty where nothing is known).
ask() {
	# Without our lock: BusyBox's timeout leaves a process that looks after it for a second more.
	answer=$(timeout 30 "$PROGRAM" status --json 2>/dev/null </dev/null 9>&-) || answer=''
	version=$(field '  "version": "\(.*\)",*')
	pid=$(field '  "pid": \([0-9]*\),*')
	http=$(printf '%s\n' "$answer" | sed -n '/^  "http": {/,/^  }/s/^    "port": \([0-9]*\).*$/\1/p')
	tunnel=$(printf '%s\n' "$answer" | sed -n '/^  "tunnel": {/,/^  }/s/^    "state": "\([a-z]*\)".*$/\1/p')
}
field() { printf '%s\n' "$answer" | sed -n "s/^$1\$/\\1/p"; }

# What version $1 lacks to be believed: what was there before.
lacking() {
	if [ -z "$version" ]; then
		echo 'its service does not answer'
	elif [ "$version" != "$1" ]; then
		echo "the service that answers is version $version"
	elif [ "$had_http" = yes ] && [ -z "$http" ]; then
		echo 'it does not serve pairing over HTTP'
	elif [ "$had_tunnel" = yes ] && [ "$tunnel" != up ]; then
		echo 'it has no tunnel session, and there was one before'
	elif [ "$had_sshd" = yes ] && ! service status zeroforce-sshd >/dev/null 2>&1; then
		echo 'the sshd of the paired tunnel does not run: see the log of zeroforce-sshd'
	fi
}

# Waits until version $1 is ready, see lacking(), and has been so for --steady seconds as one process. $why says what was
# missing at last. All by the clock since boot: that of the day may jump.
prove() {
	began=$(uptime_s) steady_pid='' why=''
	while :; do
		ask
		now=$(uptime_s)
		why=$(lacking "$1")
		if [ -n "$why" ]; then
			steady_pid=''
		elif [ "$pid" != "$steady_pid" ]; then
			why="it does not stay: its service was started again $((now - began)) s after the restart"
			steady_pid=$pid steady_since=$now
			[ "$steady" -gt 0 ] || return 0
		elif [ $((now - steady_since)) -ge "$steady" ]; then
			return 0
		fi
		[ $((now - began)) -lt "$within" ] || return 1
		# A look costs a Pi a second of its processor, which the service that starts needs.
		sleep 2
	done
}

# --- steps ------------------------------------------------------------------

# A part of the plan begins: told, and where there is a journal written there first.
step() {
	[ -z "$journal" ] || [ "$dry" ] || note "$1" || return
	say "$1: $2"
}

# The journal of the upgrade from $from to $to.
note() {
	write_file "$JOURNAL" <<END
command $command
from $from
to $to
ready $was_ready
tunnel $had_tunnel
http $had_http
sshd $had_sshd
step $1
END
}
noted() { sed -n "s/^$1 //p" "$JOURNAL"; }
read_journal() {
	command=$(noted command) from=$(noted from) to=$(noted to) at=$(noted step)
	was_ready=$(noted ready) had_tunnel=$(noted tunnel) had_http=$(noted http) had_sshd=$(noted sshd)
}

# How it ended, for `install.sh status`; as good as it can be written on a full disk.
outcome() {
	say "$*"
	printf '%s\n' "$*" | write_file "$OUTCOME" 2>/dev/null || true
}

version_of() { readlink "$HOME_DIR/$1" 2>/dev/null | sed -n 's|^versions/||p'; }

# Everything that is told apart by its name: what a killed unpacking left.
remove_leftovers() { rm -rf "$HOME_DIR"/*.tmp "$HOME_DIR"/.*.swap "$VERSIONS"/*.tmp "$VERSIONS"/.*.tmp; }

unpack() {
	step unpack "$release"
	if [ "$dry" ]; then
		unpacked=$(mktemp -d /tmp/zeroforce-install.XXXXXX) || fail 'cannot make a folder in /tmp'
		trap 'rm -rf "$unpacked"' EXIT
	else
		mkdir -p "$VERSIONS" || fail "cannot make $VERSIONS: see the line above"
		remove_leftovers
		unpacked=$VERSIONS/release.tmp
		trap 'rm -rf "$unpacked"' EXIT
		mkdir "$unpacked" || fail "cannot make $unpacked: see the line above"
	fi
	if [ -d "$release" ]; then
		cp -R "$release/." "$unpacked/" || unpack_failed
	else
		gzip -dc "$release" | tar -xf - -C "$unpacked" || unpack_failed
		mv "$unpacked"/zeroforce-agent-*/* "$unpacked/" 2>/dev/null || fail "$release is no release of zeroforce-agent, or is cut short: nothing was changed"
		rmdir "$unpacked"/zeroforce-agent-* || fail "$release holds more than one folder: nothing was changed"
	fi
	verify "$unpacked"
	# Whoever packed it by hand, as a user with a number that is somebody else's here: root runs these files.
	if ! chown -R 0:0 "$unpacked" || ! chmod -R go-w "$unpacked"; then fail "$unpacked cannot be made root's: see the line above; nothing was changed"; fi
	to=$(cat "$unpacked/VERSION")
	case $to in
	'' | *[!A-Za-z0-9.+~-]* | .*) fail "$release/VERSION: \"$to\" is no version, allowed are letters, digits and . + ~ -: nothing was changed" ;;
	esac
	make_files "$unpacked" || fail "$release cannot be completed: see the line above; nothing was changed"
	if [ "$node" ]; then ln -s "$node" "$unpacked/node" || fail "cannot make $unpacked/node: see the line above"; fi
	[ "$dry" ] || find "$unpacked" -exec sync {} + 2>/dev/null || sync
}
unpack_failed() {
	fail "$release cannot be unpacked to $VERSIONS, where $(df -Pk "$HOME_DIR" | awk 'NR == 2 { print $4 }') KiB are free: see the line above; nothing was changed"
}

# Each file as the release lists it; a file too few is found by its sum, and so is a list that was cut short.
verify() {
	for name in SHA256SUMS VERSION install.sh tunnel-agent tunnel-agent.cjs; do
		[ -s "$1/$name" ] || fail "$release is incomplete, $name is missing: get the release again; nothing was changed"
		[ "$name" = SHA256SUMS ] || grep -q "  $name\$" "$1/SHA256SUMS" ||
			fail "$release is damaged, $name is not in its SHA256SUMS: get the release again; nothing was changed"
	done
	bad=$(cd "$1" && sha256sum -c SHA256SUMS 2>/dev/null | sed -n 's/: FAILED.*//p' | tr '\n' ' ')
	[ -z "$bad" ] || fail "$release is damaged, these files are not as its SHA256SUMS says: ${bad% }. Get the release again; nothing was changed"
	is_whole "$1" || fail "$release is damaged, its SHA256SUMS cannot be read: get the release again; nothing was changed"
}

check() {
	step check "Node, the files of others, the configuration"
	check_node
	foreign=$(foreign_files "$unpacked")
	[ -z "$foreign" ] || fail "these files are not of this installation and are left alone; remove them or their package first:
$foreign
nothing was changed"
	if [ -e "$CONFIG" ]; then
		check_config "$CONFIG"
	elif [ "$kind" ]; then
		check_config "$(config_of_kind "$unpacked")"
	fi
}

check_node() {
	node_file=${node:-$(command -v node)} || fail "there is no node in PATH: install Node $MIN_NODE or later, or name one with --node FILE; nothing was changed"
	found=$("$node_file" --version 2>/dev/null) || fail "--node $node_file cannot be run: name a Node of at least $MIN_NODE for this machine; nothing was changed"
	major=${found#v} major=${major%%.*}
	minor=${found#v*.} minor=${minor%%.*}
	case $major$minor in '' | *[!0-9]*) fail "--node $node_file is no Node: it calls itself \"$found\"; nothing was changed" ;; esac
	[ "$major" -gt "${MIN_NODE%.*}" ] || { [ "$major" -eq "${MIN_NODE%.*}" ] && [ "$minor" -ge "${MIN_NODE#*.}" ]; } ||
		fail "$node_file is Node $found, too old: at least $MIN_NODE is needed. Install a newer one, or name it with --node FILE; nothing was changed"
}

# The file of --config: one of the release, or any.
config_of_kind() { if [ -e "$1/config/$kind.json" ]; then echo "$1/config/$kind.json"; else echo "$kind"; fi; }

# By the program that is to run with it.
check_config() {
	said=$(timeout 60 "$unpacked/tunnel-agent" config check --config "$1" 2>&1 </dev/null 9>&-)
	code=$?
	case $code in
	0) return 0 ;;
	78) ;;
	*) fail "the program of $release does not run here (exit code $code): $said; nothing was changed" ;;
	esac
	if [ "$force" ]; then
		say "note: version $to refuses $1, and goes on for --force:
$said"
	else
		fail "version $to refuses $1; put it right$([ "$command" != upgrade ] || echo ', or go on with --force'):
$said
nothing was changed"
	fi
}

# The release gets its name. The same version may be there from an earlier time; not another program of that name.
place() {
	step place "$VERSIONS/$to"
	folder=$VERSIONS/$to
	if [ "$dry" ]; then
		say "would make $folder"
		return
	fi
	if [ -d "$folder" ] && same_release "$unpacked" "$folder" && is_whole "$folder"; then
		# The one that is linked, perhaps: so it stays where it is.
		rm -rf "$unpacked"
		[ -z "$node" ] || swap_link "$node" "$folder/node" || return
	elif [ "$(version_of current)" = "$to" ] && [ -d "$folder" ]; then
		repair || return
	else
		[ ! -d "$folder" ] || mv "$folder" "$folder.old.tmp" || return
		mv "$unpacked" "$folder" && to_disk "$VERSIONS" || return
		rm -rf "$folder.old.tmp"
	fi
	write_file "$INSTALLER" <"$folder/install.sh"
}
is_whole() { (cd "$1" && sha256sum -c SHA256SUMS >/dev/null 2>&1); }

# The version that runs, put right file by file, each by rename: at no moment is it not there.
repair() {
	(cd "$unpacked" && find . -type d) | while read -r path; do mkdir -p "$folder/$path" || exit; done &&
		(cd "$unpacked" && find . ! -type d) | while read -r path; do mv -f "$unpacked/$path" "$folder/$path" || exit; done &&
		to_disk "$folder" && rm -rf "$unpacked"
}

same_release() { cmp -s "$1/SHA256SUMS" "$2/SHA256SUMS"; }

link_program() {
	[ ! -L "$PROGRAM" ] || return 0
	if [ "$dry" ]; then
		say "would link $PROGRAM"
	else
		record "link $HOME_DIR/current/tunnel-agent $PROGRAM" && swap_link "$HOME_DIR/current/tunnel-agent" "$PROGRAM"
	fi
}

switch_to() {
	if [ "$dry" ]; then
		say "would link $HOME_DIR/current to versions/$1"
	else
		swap_link "versions/$1" "$HOME_DIR/current"
	fi
}

first_config() {
	[ ! -e "$CONFIG" ] || return 0
	source=''
	if [ "$kind" ]; then source=$(config_of_kind "$folder"); fi
	say "config: the first one, $CONFIG${source:+, from $source}"
	if [ "$dry" ]; then return 0; fi
	make_dir "$CONFIG_DIR" || return
	if [ "$source" ]; then
		(umask 077 && write_file "$CONFIG" <"$source")
	else
		"$HOME_DIR/versions/$to/tunnel-agent" config init --config "$CONFIG" >/dev/null
	fi
}

make_user() {
	grep -q '^zeroforce:' /etc/passwd && return 0
	[ -e "$HOME_DIR/versions/$to/init/zeroforce.sysusers" ] || return 0
	if [ "$dry" ]; then
		say 'would make the user zeroforce'
		return
	fi
	# A password that nobody has, and not a locked account, which sshd without PAM would refuse.
	if has systemd-sysusers; then
		systemd-sysusers "$HOME_DIR/versions/$to/init/zeroforce.sysusers" 2>/dev/null
	elif has useradd; then
		useradd --system --user-group --no-create-home --home-dir "$STATE_DIR" --shell /sbin/nologin --password '*' zeroforce
	else
		adduser -S -D -H -h "$STATE_DIR" -s /sbin/nologin zeroforce
	fi >/dev/null || return
	record 'user - zeroforce'
}

save_settings() {
	[ "$dry" ] || write_file "$SETTINGS" <<END
init $init
node $node
services $services
END
}
setting() { sed -n "s/^$1 //p" "$SETTINGS" 2>/dev/null; }

is_installed() { [ -n "$(version_of current)" ] && [ -e "$SETTINGS" ]; }

# --- commands ---------------------------------------------------------------

do_install() {
	unpack
	current=$(version_of current)
	if [ "$current" ] && [ "$current" != "$to" ]; then
		fail "version $current is installed already: use install.sh upgrade, or uninstall it first; nothing was changed"
	fi
	if [ "$current" ] && ! same_release "$unpacked" "$VERSIONS/$current"; then
		fail "another build of version $to is installed: give this one another version, or uninstall that one first; nothing was changed"
	fi
	check
	if ! place || ! save_settings; then fail "cannot write below $HOME_DIR: see the line above"; fi
	folder=$VERSIONS/$to
	if [ "$dry" ]; then folder=$unpacked; fi
	step files 'init files, sshd, sysctl, pages, completion'
	if ! lay_out "$folder" || ! make_user || ! first_config || ! switch_to "$to" || ! link_program || ! hold; then
		fail "cannot be completed: see the line above, then run install again; or uninstall"
	fi
	reload_init
	step start "$services"
	for name in zeroforce-recover $services; do
		is_held "$name" || service enable "$name" || fail "cannot be enabled: $name; see the line above, then run install again"
	done
	# It finds nothing to do, and shows that the boot can run it.
	service start zeroforce-recover || fail "zeroforce-recover cannot be started, so no boot would take back an upgrade: see the line above, then run install again"
	for name in $services; do is_held "$name" || service restart "$name" || say "note: $name was not started: see its log"; done
	[ "$dry" ] || compact_record
	if [ "$dry" ] || [ "$init" = none ]; then
		outcome_unless_dry "version $to is installed; start it: $PROGRAM run"
	elif [ "$held" ]; then
		outcome "version $to is installed; $HELD_SAYS"
	elif expect_all && prove "$to"; then
		outcome "version $to is installed and ready"
	else
		outcome "version $to is installed, and not ready after $within s: $why; see: tunnel-agent diagnose"
		return $EXIT_UNPROVED
	fi
}
expect_all() {
	had_tunnel=no had_http=yes had_sshd=no
	case $services in *zeroforce-sshd*) had_sshd=yes ;; esac
}
outcome_unless_dry() { if [ "$dry" ]; then say 'dry run: nothing was changed'; else outcome "$1"; fi; }

do_upgrade() {
	from=$(version_of current)
	unpack
	if [ "$to" = "$from" ]; then
		same_release "$unpacked" "$VERSIONS/$from" ||
			fail "another build of version $to is installed: give this one another version; nothing was changed"
		say "version $to is installed already: nothing was changed"
		return 0
	fi
	check
	# What the release brings is laid out by its own installer.
	[ "$dry$role" != work ] || cmp -s "$unpacked/install.sh" "$self" || hand_over "$@"
	place || give_up "$VERSIONS/$to cannot be written"
	exchange
}

hand_over() {
	cp "$unpacked/install.sh" "$VERSIONS/.install.tmp" && exec sh "$VERSIONS/.install.tmp" @handed "$@"
}

do_rollback() {
	from=$(version_of current)
	to=$(version_of previous)
	[ -d "$VERSIONS/${to:-none}" ] || fail "there is no version to go back to, only $from: nothing was changed"
	exchange
}

# From version $from to version $to, which lies there complete.
exchange() {
	folder=$VERSIONS/$to
	if [ "$dry" ]; then folder=${unpacked:-$folder}; fi
	baseline
	journal=yes
	step note "from $from to $to; ready: $was_ready, tunnel: $had_tunnel" || give_up 'the journal cannot be written'
	step files 'init files, sshd, sysctl, pages, completion'
	lay_out "$folder" || give_up 'its files cannot be written'
	hold || give_up 'its files cannot be written'
	step switch "$to"
	switch_to "$to" || give_up 'current cannot be linked'
	step restart "zeroforce${changed:+, after these changed:$changed}"
	reload_init
	restart_sshd
	is_held zeroforce || service restart zeroforce || give_up 'its service cannot be started'
	if [ "$no_proof" ]; then
		step prove 'left out, as --no-proof says'
	else
		step prove "within $within s, ready for $steady s; tunnel demanded: $had_tunnel"
	fi
	if [ "$dry" ]; then
		say "would keep $from as the version before, and remove older ones"
		outcome_unless_dry
		return
	fi
	if [ "$init" != none ] && [ -z "$no_proof$held" ]; then
		prove "$to" || give_up "$why"
	fi
	keep
	if [ "$init" = none ]; then
		outcome "version $to is in place; restart the service, and go back with rollback where it does not come up"
	elif [ "$held" ]; then
		outcome "version $to is in place; $HELD_SAYS"
	elif [ "$no_proof" ]; then
		outcome "version $to is in place, without proof; the version before, $from, is kept"
	else
		outcome "version $to runs; the version before, $from, is kept"
	fi
}

baseline() {
	was_ready=no had_tunnel=no had_http=no had_sshd=no
	[ "$init" != none ] || return 0
	ask
	[ -z "$version" ] || was_ready=yes
	[ "$tunnel" != up ] || had_tunnel=yes
	[ -z "$http" ] || had_http=yes
	case $services in *zeroforce-sshd*) if service status zeroforce-sshd >/dev/null 2>&1; then had_sshd=yes; fi ;; esac
}

keep() {
	step keep "$to" && swap_link "versions/$from" "$HOME_DIR/previous"
	save_settings # with the Node that was asked for now
	step prune 'versions before the previous one'
	for path in "$VERSIONS"/*; do
		case ${path##*/} in "$to" | "$from") ;; *) rm -rf "$path" ;; esac
	done
	compact_record
	remove_leftovers
	rm -f "$JOURNAL" && to_disk "$HOME_DIR"
}

# Where there is no journal yet, only the folder of the new version has to go.
give_up() {
	if [ ! -e "$JOURNAL" ]; then
		[ "$dry" ] || forget_upgrade
		fail "$1: see the line above; nothing was changed"
	fi
	take_back "$1"
	exit
}

# Links and files of the version before. On a full disk that version's files need room: the new one makes it.
restore() {
	[ -d "$VERSIONS/$from" ] || { say "version $from is gone: $to stays"; return 1; }
	switch_to "$from" || { make_room && switch_to "$from"; } || return
	lay_out "$VERSIONS/$from" || { make_room && lay_out "$VERSIONS/$from"; } || return
	reload_init
}
make_room() { [ "$command" != upgrade ] || [ "$to" = "$from" ] || rm -rf "${VERSIONS:?}/$to"; }

# The old version again, after $1. Ends with the exit code of it.
take_back() {
	say "taken back: version $to: $1"
	restore
	restart_sshd
	service restart zeroforce
	if [ "$init" = none ]; then
		code=$EXIT_BACK end="version $from is in place again; restart the service"
	elif [ "$was_ready" = no ]; then
		code=$EXIT_BACK end="version $from is back, whose service did not answer before either"
	elif prove "$from"; then
		code=$EXIT_BACK end="version $from runs again"
	else
		code=$EXIT_UNPROVED end="version $from is back and did not prove itself either, $why; see: tunnel-agent diagnose"
	fi
	forget_upgrade
	outcome "$command to version $to was taken back, $1; $end"
	return $code
}
forget_upgrade() {
	case $to in "$(version_of current)" | "$(version_of previous)") ;; *) [ "$command" != upgrade ] || rm -rf "${VERSIONS:?}/$to" ;; esac
	write_file "$INSTALLER" <"$VERSIONS/$from/install.sh"
	compact_record
	remove_leftovers
	rm -f "$JOURNAL"
	to_disk "$HOME_DIR"
}

# At boot, before the service: it will be the version that `current` leads to. So nothing is restarted.
do_boot() {
	[ -e "$JOURNAL" ] || return 0
	read_journal
	case $at in
	keep | prune) finish ;;
	*)
		restore
		forget_upgrade
		outcome "$command to version $to was interrupted in the step $at, and was taken back: version $(version_of current) runs"
		;;
	esac
}

# The same while the device runs, for a worker that was killed.
do_recover() {
	[ -e "$JOURNAL" ] || return 0
	read_journal
	case $at in
	keep | prune) finish ;;
	*) take_back "its process was ended in the step $at" ;;
	esac
}
finish() {
	keep
	outcome "$command to version $to was interrupted in the step $at, and has been finished: version $to runs"
}

do_uninstall() {
	[ "$dry" ] || rm -f "$JOURNAL"
	for name in $services zeroforce-recover; do
		[ "$name" = zeroforce-recover ] || service stop "$name"
		service disable "$name"
	done
	if [ "$purge" ]; then forget_key; fi
	for path in $(files_recorded); do take_away "$path"; done
	if [ "$dry" ]; then
		say "would remove $PROGRAM and $HOME_DIR${purge:+, $CONFIG_DIR and $STATE_DIR}"
		say 'dry run: nothing was changed'
		return
	fi
	[ "$(readlink "$PROGRAM")" != "$HOME_DIR/current/tunnel-agent" ] || rm -f "$PROGRAM"
	[ "$init" != systemd ] || systemctl daemon-reload
	if recorded 'user - zeroforce'; then userdel zeroforce 2>/dev/null || deluser zeroforce; fi
	if [ "$purge" ]; then rm -rf "$CONFIG_DIR" "$STATE_DIR" /run/zeroforce; fi
	rm -f "$HOME_DIR/current" "$HOME_DIR/previous" "$OUTCOME"
	rm -rf "$VERSIONS"
	awk '$1 == "dir" { path[++n] = $3 } END { while (n) print path[n--] }' "$RECORD" |
		while read -r path; do rmdir "$path" 2>/dev/null; done
	rm -rf "$HOME_DIR"
	say "uninstalled${purge:+, with configuration, state and key}"
	[ "$purge" ] || say "kept: $CONFIG_DIR, $STATE_DIR and the paired key; uninstall --purge would have removed them"
}

# The paired key is in a file that others may have keys in as well: the program itself knows which one is its own.
forget_key() {
	if [ "$dry" ]; then
		say 'would remove the paired key'
	else
		timeout 60 "$PROGRAM" pairing reset --yes </dev/null 9>&- || say 'note: the paired key was not removed: see the line above'
	fi
}

do_status() {
	if ! is_installed; then
		say "nothing is installed below $HOME_DIR"
		return $EXIT_FAILED
	fi
	say "version:   $(version_of current)"
	say "before it: $(version_of previous)"
	say "init:      $init; services: $services"
	say "node:      ${node:-the one in PATH}"
	[ ! -e "$OUTCOME" ] || say "last:      $(cat "$OUTCOME")"
	busy=$(holder)
	if [ "$busy" ]; then
		say "now:       $busy; its log: $LOG"
	elif [ -e "$JOURNAL" ]; then
		say "now:       $(noted command) to version $(noted to) was interrupted in the step $(noted step); end it with: sh $INSTALLER recover"
	fi
	for path in $(files_recorded); do
		[ -e "$path" ] && ! recorded "file $(sum_of "$path") $path" && say "edited:    $path"
	done
	ask
	say "service:   ${version:-no answer}${version:+, process $pid}${tunnel:+, tunnel $tunnel}"
}

# --- processes --------------------------------------------------------------

take_lock() {
	exec 9>>"$LOCK" || fail "cannot write $LOCK"
	# Without the program nobody else can have it, but for a boot (see the tools below), which comes first.
	if has flock && ! flock -n 9; then
		printf 'install.sh: another installer is at work: %s. Wait for its end: install.sh status\n' "$(cat "$LOCK")" >&2
		exit $EXIT_BUSY
	fi
	name_holder
}
# Whom a signal reaches that is to cancel: the guard, as soon as there is one.
name_holder() { : >"$LOCK" && say "process $$, $command" >&9; }
holder() {
	[ -e "$LOCK" ] && has flock || return 0
	(exec 8<"$LOCK" && flock -n 8) || cat "$LOCK"
}

# Starts the guard apart from this terminal, and shows its log as long as both are there.
detach() {
	: >"$LOG"
	set -- setsid sh "$self" @guard "$@"
	# A process of the technician's session may be ended with it; one of a scope of its own is not.
	if [ "$init" = systemd ] && systemd-run --scope --quiet true 2>/dev/null; then
		set -- systemd-run --scope --quiet --collect --property=TimeoutStopSec=10 "$@"
	fi
	"$@" </dev/null >>"$LOG" 2>&1 &
	guard=$!
	shown=0
	while :; do
		if kill -0 "$guard" 2>/dev/null; then ended=''; else ended=yes; fi
		lines=$(wc -l <"$LOG")
		[ "$lines" -le "$shown" ] || sed -n "$((shown + 1)),${lines}p" "$LOG"
		shown=$lines
		[ -z "$ended" ] || break
		sleep 0.2 2>/dev/null || sleep 1
	done
	wait "$guard"
}

# Waits for the worker, a group of processes of its own. One that was killed has changed nothing, or there is a journal.
guard() {
	trap '' HUP
	name_holder
	setsid sh "$self" @work "$@" &
	worker=$!
	trap 'kill -TERM -"$worker" 2>/dev/null' TERM INT
	code=0
	while kill -0 "$worker" 2>/dev/null; do
		wait "$worker"
		code=$?
	done
	trap '' TERM INT
	kill -KILL -"$worker" 2>/dev/null
	if [ -e "$JOURNAL" ]; then
		do_recover
		return
	fi
	[ $code -le 128 ] || { remove_leftovers; outcome "$command was ended before it changed anything"; code=$EXIT_FAILED; }
	return $code
}

refuse_package() {
	has dpkg-query || return 0
	case $(dpkg-query -W -f '${Status} ${Version}' zeroforce 2>/dev/null) in
	*' installed '*) fail 'the Debian package zeroforce is installed here: upgrade it with apt, or remove it first (apt remove zeroforce); nothing was changed' ;;
	esac
}

# --- command line -----------------------------------------------------------

allowed_for() {
	case $1 in
	install) echo '--dry-run --init --node --config --no-sshd --within --steady' ;;
	upgrade) echo '--dry-run --node --force --within --steady' ;;
	rollback) echo '--dry-run --within --steady --no-proof' ;;
	uninstall) echo '--dry-run --purge' ;;
	recover) echo '--within --steady' ;;
	*) echo '' ;;
	esac
}

# A word of the command line that says how: into variables of the names below.
parse() {
	shift
	while [ $# -gt 0 ]; do
		option=$1
		case $1 in
		--*=*)
			option=${1%%=*}
			value=${1#*=}
			;;
		esac
		case $option in
		--help | -h) usage && exit ;;
		-*) case " $(allowed_for "$command") " in *" $option "*) ;; *) wrong "$command takes no option $option; allowed: $(allowed_for "$command")" ;; esac ;;
		esac
		case $option in
		--dry-run | --force | --purge | --no-proof | --no-sshd)
			[ "$option" = "$1" ] || wrong "$option takes no value"
			;;
		-*)
			if [ "$option" = "$1" ]; then
				[ $# -ge 2 ] || wrong "$option needs a value"
				value=$2
				shift
			fi
			[ -n "$value" ] || wrong "$option needs a value"
			;;
		esac
		case $option in
		--dry-run) dry=yes ;;
		--force) force=yes ;;
		--purge) purge=yes ;;
		--no-proof) no_proof=yes ;;
		--no-sshd) services=zeroforce ;;
		--init) init=$value ;;
		--node) node=$value ;;
		--config) kind=$value ;;
		--within) within=$value ;;
		--steady) steady=$value ;;
		*)
			[ -z "$release" ] || wrong "more than one release: $release and $1"
			release=$1
			;;
		esac
		shift
	done
}

# Whether what was asked for can be done here at all.
check_call() {
	for value in "$within" "$steady"; do
		case $value in '' | *[!0-9]* | ??????*) wrong "--within and --steady take whole seconds from 0 to 99999, not \"$value\"" ;; esac
	done
	[ "$steady" -le "$within" ] || wrong "--steady $steady is more than --within $within"
	case $node in '' | /*) ;; *) node=$(command -v "$node") || wrong "--node: there is no such program" ;; esac
	case $command in
	install | upgrade)
		[ "$release" ] || release=$(dirname "$self")
		[ "$release" != $HOME_DIR ] || wrong "$command needs a release: name a file zeroforce-agent-VERSION.tar.gz or a folder that it was unpacked to"
		[ -e "$release" ] || fail "there is no release $release: name a file zeroforce-agent-VERSION.tar.gz or a folder that it was unpacked to"
		release=$(readlink -f "$release")
		;;
	*) [ -z "$release" ] || wrong "$command takes no release, and got $release" ;;
	esac
	[ "$command" != status ] || return 0
	[ "$(id -u)" = 0 ] || fail "$command needs root: run it with sudo"
	[ "$command" != boot ] || return 0
	for tool in flock setsid timeout sha256sum awk; do
		has "$tool" || fail "there is no program $tool here: install util-linux and coreutils, or a BusyBox with it"
	done
	case $command in
	install)
		[ "$init" ] || init=$(detect_init)
		case " $INITS " in
		*" $init "*) ;;
		*) wrong "--init ${init:-could not be detected}: allowed are $INITS" ;;
		esac
		check_init
		case $services in *sshd*) [ -x /usr/sbin/sshd ] || fail 'there is no /usr/sbin/sshd for the paired tunnel: install the OpenSSH server, or leave it out with --no-sshd' ;; esac
		case $kind in '' | beamer | rtsp-recorder) ;; *) [ -r "$kind" ] || fail "--config $kind: there is no such file; allowed are beamer, rtsp-recorder, or a file"; kind=$(readlink -f "$kind") ;; esac
		;;
	upgrade | rollback) is_installed || fail "nothing is installed below $HOME_DIR: use install.sh install" ;;
	uninstall) [ -e "$RECORD" ] || fail "nothing is installed below $HOME_DIR" ;;
	esac
	case $command in install | upgrade | rollback)
		[ ! -e "$JOURNAL" ] || [ "$role" != front ] || [ "$(holder)" ] ||
			fail "$(noted command) to version $(noted to) was interrupted in the step $(noted step): end it first, with: sh $INSTALLER recover"
		;;
	esac
}

main() {
	role=front
	case ${1-} in @*) role=${1#@} && shift ;; esac
	command=${1-}
	case $command in
	install | upgrade | rollback | uninstall | status | recover | boot) ;;
	steps) steps | tr '|' '\t' && exit ;;
	-h | --help | help) usage && exit ;;
	'') wrong 'a command is missing: install, upgrade, rollback, uninstall or status' ;;
	*) wrong "there is no command \"$command\"; allowed are install, upgrade, rollback, uninstall, status and steps" ;;
	esac
	dry='' purge='' force='' no_proof='' kind='' journal='' unpacked='' within=120 steady=10 release='' changed='' value='' held=''
	init=$(setting init) node=$(setting node) services=$(setting services)
	: "${services:=zeroforce zeroforce-sshd}"
	self=$(readlink -f "$0")
	parse "$@"
	check_call
	case $role:$command in
	front:status) do_status ;;
	front:boot)
		take_lock
		do_boot
		;;
	front:*)
		refuse_package
		if [ "$dry" ]; then
			perform
		else
			take_lock
			detach "$@"
		fi
		;;
	guard:*) guard "$@" ;;
	*) perform "$@" ;;
	esac
	exit
}

perform() {
	case $command in
	install) do_install ;;
	upgrade) do_upgrade "$@" ;;
	rollback) do_rollback ;;
	uninstall) do_uninstall ;;
	recover) do_recover || [ $? = $EXIT_BACK ] ;;
	esac
}

# The whole file has been read when it begins: it may be replaced meanwhile.
main "$@"
