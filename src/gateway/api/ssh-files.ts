import { Failure } from '../../support/failures.ts';

/** What a device needs to reach the SSH entry. */
export interface SetupFacts {
  readonly token: string;
  readonly host: string;
  readonly port: number;
  /** `type base64`. */
  readonly hostKey: string;
  /** In the order of the services; one without a local port is not forwarded. */
  readonly forwards: readonly { readonly name: string; readonly localPort: number | null }[];
}

export const FOLDER = '/etc/zeroforce-tunnel';
/** What ssh is told to connect to; the configuration says where that is. The host key stands under this name, too. */
export const ALIAS = 'zeroforce-gateway';
/** A dead gateway is noticed within 45 s, an open that gets no answer after 15. */
const ALIVE = { intervalSeconds: 15, unanswered: 2, connectSeconds: 15 };

/** `-N` for an ssh that does not know SessionType yet; `-M 0`: ssh itself finds out whether the other end lives. */
export const AUTOSSH_ARGUMENTS = `-M 0 -N -F ${FOLDER}/ssh_config ${ALIAS}`;
/** GATETIME 0: it also goes on when the very first connection fails. POLL bounds its pause between attempts. */
export const AUTOSSH_ENVIRONMENT = 'AUTOSSH_GATETIME=0 AUTOSSH_POLL=60';
export const AUTOSSH_COMMAND = `${AUTOSSH_ENVIRONMENT} autossh ${AUTOSSH_ARGUMENTS}`;

/** As known_hosts has it: the port is named where it is not 22. */
export const knownHostsName = (host: string, port: number): string => (port === 22 ? host : `[${host}]:${port}`);

export function knownHostsText(facts: SetupFacts): string {
  return `${ALIAS} ${word('host key', facts.hostKey, HOST_KEY)}\n`;
}

/**
 * All that ssh has to know, the token included: it is in no argument that way. Nothing else is read by ssh (`-F`), nor
 * asked of anybody.
 *
 * @throws Failure `ssh.unusable-value` for a value that could mean something else to ssh
 */
export function sshConfigText(facts: SetupFacts): string {
  const forwards = facts.forwards.flatMap(({ localPort }) => (localPort === null ? [] : [localPort]));
  return lines(
    `Host ${ALIAS}`,
    `HostName ${word('host', facts.host, HOST)}`,
    `Port ${port(facts.port)}`,
    `User ${word('token', facts.token, TOKEN)}`,
    `HostKeyAlias ${ALIAS}`,
    `UserKnownHostsFile ${FOLDER}/known_hosts`,
    'GlobalKnownHostsFile /dev/null',
    'StrictHostKeyChecking yes',
    'UpdateHostKeys no',
    'CheckHostIP no',
    'BatchMode yes',
    'PreferredAuthentications none',
    'IdentitiesOnly yes',
    'IdentityFile none',
    'IdentityAgent none',
    'ControlPath none',
    `ConnectTimeout ${ALIVE.connectSeconds}`,
    `ServerAliveInterval ${ALIVE.intervalSeconds}`,
    `ServerAliveCountMax ${ALIVE.unanswered}`,
    'ExitOnForwardFailure yes',
    // The gateway knows a service by its place among these, and chooses the port.
    ...forwards.map((localPort) => `RemoteForward 0 localhost:${port(localPort)}`),
  );
}

/** As root, but without any of its powers: it reads its own files and opens connections. */
export function systemdUnitText(): string {
  return lines(
    '[Unit]',
    'Description=Tunnel to the zeroforce gateway',
    'Wants=network-online.target',
    'After=network-online.target',
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    ...AUTOSSH_ENVIRONMENT.split(' ').map((variable) => `Environment=${variable}`),
    `ExecStart=/usr/bin/env autossh ${AUTOSSH_ARGUMENTS}`,
    'Restart=always',
    'RestartSec=5',
    'CapabilityBoundingSet=',
    'NoNewPrivileges=yes',
    'PrivateDevices=yes',
    'PrivateTmp=yes',
    'ProtectHome=yes',
    'ProtectSystem=strict',
    'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
  );
}

const lines = (...each: string[]): string => `${each.join('\n')}\n`;

const TOKEN = /^[A-Za-z0-9]{1,128}$/;
/** A name or an address; the zone of a link-local one may stand behind a percent sign. */
const HOST = /^[A-Za-z0-9_:][A-Za-z0-9._:-]{0,252}(?:%[A-Za-z0-9._-]{1,32})?$/;
const HOST_KEY = /^[a-z0-9][a-z0-9@.-]{2,63} [A-Za-z0-9+/]{16,8192}={0,2}$/;

/** The value is not repeated: it may be the secret. A percent sign begins a token in ssh, two stand for one. */
function word(what: string, value: string, pattern: RegExp): string {
  if (!pattern.test(value)) throw unusable(what);
  return value.replaceAll('%', '%%');
}

function port(value: number): number {
  if (!Number.isInteger(value) || value < 1 || value > 65_535) throw unusable('port');
  return value;
}

const unusable = (what: string) =>
  new Failure('ssh.unusable-value', `the ${what} cannot be given to ssh: it has characters that ssh may misread`);
