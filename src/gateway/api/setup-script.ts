import { SETUP_SCRIPT_PARTS } from './setup-script-parts.ts';
import {
  ALIAS,
  AUTOSSH_ARGUMENTS,
  AUTOSSH_ENVIRONMENT,
  FOLDER,
  knownHostsText,
  type SetupFacts,
  sshConfigText,
  systemdUnitText,
} from './ssh-files.ts';

const SERVICE = 'zeroforce-tunnel';

/**
 * A POSIX shell script that connects a device with autossh, from now on and after every start. Whatever is in the facts
 * is data to it: it stands in quoted here-documents, which the shell does not look into, and not in its commands; so the
 * token is in no argument either. Functions first, and the last line calls them: a script that was cut on
 * its way does nothing.
 *
 * @throws Failure `ssh.unusable-value`
 */
export function setupScript(facts: SetupFacts): string {
  const forwarded = facts.forwards.filter(({ localPort }) => localPort !== null);
  const files = [
    file('write_ssh_config', '600', '"$ROOT$FOLDER/ssh_config"', sshConfigText(facts)),
    file('write_known_hosts', '600', '"$ROOT$FOLDER/known_hosts"', knownHostsText(facts)),
    file('write_systemd_unit', '644', '"$ROOT$UNIT"', systemdUnitText()),
    file('write_openrc_script', '755', '"$ROOT$OPENRC"', openRcText()),
    file('write_busybox_script', '755', '"$ROOT$BUSYBOX"', busyboxText()),
  ];
  return [
    '#!/bin/sh',
    '# Connects this machine to a zeroforce gateway with autossh, from now on and after every start.',
    '# It holds the token of this machine: who has this file can take its place.',
    'set -eu',
    'umask 077',
    '',
    `SERVICE=${SERVICE}`,
    `FOLDER=${FOLDER}`,
    `ALIAS=${ALIAS}`,
    `FORWARDS=${forwarded.length}`,
    `UNIT=/etc/systemd/system/${SERVICE}.service`,
    `WANTS=/etc/systemd/system/multi-user.target.wants/${SERVICE}.service`,
    `OPENRC=/etc/init.d/${SERVICE}`,
    `RUNLEVEL=/etc/runlevels/default/${SERVICE}`,
    `BUSYBOX=/etc/init.d/S95${SERVICE}`,
    '',
    SETUP_SCRIPT_PARTS,
    ...files,
    '{ main "$@"; }', // of one piece: half of it is an error, and `main` alone would run without its options
    '',
  ].join('\n');
}

const END = 'END_OF_FILE';

/** A function that writes the text into a file. */
function file(name: string, mode: string, path: string, text: string): string {
  if (text.split('\n').includes(END) || !text.endsWith('\n')) throw new Error('the text does not fit into the script');
  return `${name}() {\n  put ${mode} ${path} <<'${END}'\n${text}${END}\n}\n`;
}

const openRcText = (): string => `#!/sbin/openrc-run
description="Tunnel to the zeroforce gateway"
supervisor=supervise-daemon
command=/usr/bin/env
command_args="${AUTOSSH_ENVIRONMENT} autossh ${AUTOSSH_ARGUMENTS}"
respawn_delay=5
respawn_max=0

depend() {
  need net
}
`;

const busyboxText = (): string => `#!/bin/sh
# Tunnel to the zeroforce gateway.
PIDFILE=/var/run/${SERVICE}.pid

# Prints the process; a number that was left behind may be another's by now.
running() {
  PID=$(cat "$PIDFILE" 2>/dev/null) || return 1
  [ "$(cat "/proc/$PID/comm" 2>/dev/null)" = autossh ]
}

start() {
  running && return 0
  AUTOSSH_PIDFILE=$PIDFILE ${AUTOSSH_ENVIRONMENT} autossh -f ${AUTOSSH_ARGUMENTS}
}

stop() {
  running || return 0
  kill "$PID"
  for _ in 1 2 3 4 5; do
    running || break
    sleep 1
  done
}

case \${1:-} in
  start) start ;;
  stop) stop ;;
  restart) stop && start ;;
  status) running ;;
  *)
    echo "Usage: $0 {start|stop|restart|status}" >&2
    exit 2
    ;;
esac
`;
