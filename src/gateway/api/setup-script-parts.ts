/**
 * What the setup script does, for every device alike. It runs on Debian, Alpine and Buildroot, so it knows nothing but
 * POSIX; the folder that ROOT names stands in front of every file, and is empty for this machine itself.
 */
export const SETUP_SCRIPT_PARTS = `usage() {
  cat <<'END_OF_USAGE'
Usage: sh SCRIPT [--install] [--init systemd|openrc|busybox] [--root DIR]
       sh SCRIPT --uninstall [--root DIR]

  --install    install autossh and ssh first, with the package manager, where they are missing
  --init NAME  the init system; without it, the one that is found
  --root DIR   write the files below DIR and start nothing: for images
  --uninstall  stop the service and remove its files
END_OF_USAGE
}

say() {
  printf '%s\\n' "$*"
}

fail() {
  printf '%s: %s\\n' "$SERVICE" "$*" >&2
  exit 1
}

main() {
  ROOT='' INIT='' INSTALL=no ACTION=install TRIAL='' TRIAL_LOG=''
  while [ "$#" -gt 0 ]; do
    case $1 in
      --install) INSTALL=yes ;;
      --uninstall) ACTION=uninstall ;;
      --init | --root)
        [ "$#" -gt 1 ] || fail "$1 needs a value; see --help"
        if [ "$1" = --init ]; then INIT=$2; else ROOT=$2; fi
        shift
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) fail "this option is not known: $1; see --help" ;;
    esac
    shift
  done
  case $ROOT in
    '') [ "$(id -u)" = 0 ] || fail 'this must run as root' ;;
    /*) [ -d "$ROOT" ] || fail "there is no folder $ROOT" ;;
    *) fail '--root must be an absolute path' ;;
  esac
  if [ "$ACTION" = uninstall ]; then uninstall; else install; fi
}

install() {
  [ -n "$INIT" ] || find_init
  case $INIT in
    systemd | openrc | busybox) ;;
    *) fail "--init must be systemd, openrc or busybox" ;;
  esac
  if [ -z "$ROOT" ]; then need_programs; fi
  mkdir -p "$ROOT$FOLDER"
  chmod 700 "$ROOT$FOLDER"
  write_known_hosts
  write_ssh_config
  "install_$INIT"
  if [ -n "$ROOT" ]; then
    say "The files are written below $ROOT; the service starts with the machine."
    return 0
  fi
  "stop_$INIT"
  if try; then connected=yes; else connected=no; fi
  "start_$INIT"
  sleep 2
  "check_$INIT" || fail "the service $SERVICE does not run; look into the log of the system"
  if [ "$connected" = no ]; then
    say "The service $SERVICE runs and goes on trying, but this machine is NOT connected yet." >&2
    exit 3
  fi
  say "The service $SERVICE runs, and starts with the machine."
}

find_init() {
  if [ -z "$ROOT" ] && [ -d /run/systemd/system ]; then
    INIT=systemd
  elif [ -x "$ROOT/sbin/openrc-run" ] || [ -x "$ROOT/usr/sbin/openrc-run" ]; then
    INIT=openrc
  elif [ -n "$ROOT" ] && { [ -x "$ROOT/lib/systemd/systemd" ] || [ -x "$ROOT/usr/lib/systemd/systemd" ]; }; then
    INIT=systemd
  elif grep -qs 'init\\.d/S' "$ROOT/etc/init.d/rcS"; then
    INIT=busybox
  else
    fail 'the init system is not one of systemd, OpenRC and BusyBox; name it with --init if it is'
  fi
}

need_programs() {
  has_programs && return 0
  if command -v apt-get >/dev/null; then
    INSTALLER='apt-get install -y autossh openssh-client'
  elif command -v apk >/dev/null; then
    INSTALLER='apk add autossh openssh-client'
  elif command -v opkg >/dev/null; then
    INSTALLER='opkg install autossh openssh-client'
  else
    fail 'autossh and the OpenSSH client are needed; install them first'
  fi
  [ "$INSTALL" = yes ] || fail "autossh and the OpenSSH client are needed: $INSTALLER; or run this with --install"
  $INSTALLER </dev/null
  has_programs || fail 'autossh or the OpenSSH client is still missing'
}

# Another ssh, Dropbear for one, does not read the configuration that is written here.
has_programs() {
  command -v autossh >/dev/null && command -v ssh >/dev/null || return 1
  case $(ssh -V 2>&1) in
    *OpenSSH*) ;;
    *) return 1 ;;
  esac
}

# Standard input becomes the file $2 with mode $1, whole or not at all.
put() {
  rm -f "$2.new"
  cat >"$2.new"
  chmod "$1" "$2.new"
  mv -f "$2.new" "$2"
}

# Connects once, to see it with our own eyes: a service that runs is not yet a tunnel that stands.
try() {
  TRIAL_LOG=$FOLDER/trial.log
  trap end_trial EXIT
  trap 'exit 1' HUP INT TERM
  ssh -N -F "$FOLDER/ssh_config" "$ALIAS" </dev/null >"$TRIAL_LOG" 2>&1 &
  TRIAL=$!
  tries=0
  while [ "$tries" -lt 20 ] && kill -0 "$TRIAL" 2>/dev/null && ! allocated; do
    sleep 1
    tries=$((tries + 1))
  done
  if allocated; then
    sed -n 's/^Allocated port \\([0-9]*\\) for remote forward to \\(.*\\)$/Port \\1 of the gateway leads to \\2 here./p' "$TRIAL_LOG" | tr -d '\\r'
    end_trial
    return 0
  fi
  {
    say 'The gateway did not let this machine in, or was not reached:'
    cat "$TRIAL_LOG"
  } >&2
  end_trial
  return 1
}

allocated() {
  [ "$(grep -c '^Allocated port ' "$TRIAL_LOG")" -ge "$FORWARDS" ]
}

end_trial() {
  if [ -n "$TRIAL" ]; then
    kill "$TRIAL" 2>/dev/null || :
    wait "$TRIAL" 2>/dev/null || :
    TRIAL=''
  fi
  if [ -n "$TRIAL_LOG" ]; then rm -f "$TRIAL_LOG"; fi
}

install_systemd() {
  mkdir -p "$ROOT\${WANTS%/*}"
  write_systemd_unit
  ln -sf "$UNIT" "$ROOT$WANTS"
}

start_systemd() {
  systemctl daemon-reload
  systemctl restart "$SERVICE"
}

stop_systemd() {
  systemctl stop "$SERVICE" 2>/dev/null || :
}

check_systemd() {
  systemctl is-active --quiet "$SERVICE"
}

install_openrc() {
  mkdir -p "$ROOT\${OPENRC%/*}" "$ROOT\${RUNLEVEL%/*}"
  write_openrc_script
  ln -sf "$OPENRC" "$ROOT$RUNLEVEL"
}

start_openrc() {
  rc-service "$SERVICE" restart
}

stop_openrc() {
  rc-service "$SERVICE" stop 2>/dev/null || :
}

check_openrc() {
  rc-service "$SERVICE" status >/dev/null
}

install_busybox() {
  mkdir -p "$ROOT\${BUSYBOX%/*}"
  write_busybox_script
}

start_busybox() {
  "$BUSYBOX" restart
}

stop_busybox() {
  "$BUSYBOX" stop
}

check_busybox() {
  "$BUSYBOX" status
}

uninstall() {
  if [ -z "$ROOT" ]; then
    [ ! -e "$UNIT" ] || stop_systemd
    [ ! -e "$OPENRC" ] || stop_openrc
    [ ! -e "$BUSYBOX" ] || stop_busybox
  fi
  rm -f "$ROOT$UNIT" "$ROOT$WANTS" "$ROOT$OPENRC" "$ROOT$RUNLEVEL" "$ROOT$BUSYBOX"
  rm -f "$ROOT$FOLDER/ssh_config" "$ROOT$FOLDER/known_hosts"
  rm -f "$ROOT$FOLDER/ssh_config.new" "$ROOT$FOLDER/known_hosts.new" "$ROOT$FOLDER/trial.log"
  if [ -d "$ROOT$FOLDER" ]; then rmdir "$ROOT$FOLDER" || :; fi
  if [ -z "$ROOT" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
  say "The service $SERVICE is removed."
}
`;
