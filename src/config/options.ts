import { LOG_LEVELS } from '../support/log.ts';
import {
  absolutePath,
  choice,
  command,
  flag,
  host,
  hostKey,
  hostList,
  identifier,
  type Kind,
  keyOptions,
  label,
  pathList,
  pin,
  port,
  seconds,
  secretText,
  services,
  url,
  userToken,
} from './kinds.ts';

export interface Option<T, Default = T> {
  /** The name in the environment. */
  readonly env: string;
  readonly kind: Kind<T>;
  /** In the unit of the file; null where there is no value until somebody sets one. */
  readonly default: Default;
  /** One or two sentences for docs/options.md and for editors. */
  readonly about: string;
  /** Whether a value, a refused one too, must never be shown. */
  readonly secret: (value: unknown) => boolean;
  /** Part of the file that `config init` writes. */
  readonly initial: boolean;
  /** When a running service takes a new value on. */
  readonly applies: Applies;
}

/**
 * `when idle`: it ends the session with the other side, so it waits for a moment without open streams, or for a restart.
 */
export type Applies = 'at once' | 'when idle' | 'at restart';

export const never = () => false;
export const always = () => true;
/** Whoever mistakes the file of the token for the token itself has not shown it to the world by that. */
export const unlessPath = (value: unknown) => typeof value !== 'string' || !value.startsWith('/');

interface Extras {
  secret?: (value: unknown) => boolean;
  initial?: boolean;
  applies?: Applies;
}

function option<T>(
  env: string,
  kind: Kind<T>,
  fallback: NoInfer<T>,
  about: string,
  { secret = never, initial = false, applies = 'at once' }: Extras = {},
): Option<T> {
  return { env, kind, default: fallback, about, secret, initial, applies };
}

function optional<T>(
  env: string,
  kind: Kind<T>,
  about: string,
  { secret = never, initial = false, applies = 'at once' }: Extras = {},
): Option<T, T | null> {
  return { env, kind, default: null, about, secret, initial, applies };
}

const path = absolutePath;

/**
 * Every option, once. The key is its place in the configuration file, sections joined by dots. Parsing of the file and
 * of the environment, the faults, `config show`, `config init`, docs/options.md and config.schema.json all come from
 * this table.
 */
export const OPTIONS = {
  runDir: option(
    'ZEROFORCE_RUN_DIR',
    path,
    '/run/zeroforce',
    'Folder of the files that live until the next boot: the flag tunnel_active, since-connected and the control socket.',
    { applies: 'at restart' },
  ),
  stateDir: option(
    'ZEROFORCE_STATE_DIR',
    path,
    '/var/lib/zeroforce',
    'Folder of the files that survive a restart: the pairing marker and the last configuration that worked.',
    { applies: 'at restart' },
  ),
  logLevel: option('LOG_LEVEL', choice(LOG_LEVELS), 'info', 'The least important log lines that are written.', {
    initial: true,
  }),
  transport: option(
    'ZEROFORCE_TRANSPORT',
    choice(['meeting', 'ssh', 'none']),
    'meeting',
    'How the device keeps its reverse tunnel: by the Meeting proxy, or by the ssh program of the system to an SSH gateway. With none, or without an identity, pairing runs alone.',
    { initial: true, applies: 'when idle' },
  ),
  'tunnel.port': option(
    'ZEROFORCE_TUNNEL_PORT',
    port,
    8007,
    'Port of the dedicated sshd that the paired client connects to; the monitor looks for connections to it.',
    { initial: true },
  ),
  'monitor.enabled': option(
    'ZEROFORCE_MONITOR',
    flag,
    true,
    'Whether the service watches the connections itself. When off, an outside monitor keeps the flag.',
  ),
  'monitor.intervalSeconds': option(
    'ZEROFORCE_MONITOR_INTERVAL',
    seconds({ zero: false }),
    5,
    'Seconds between two looks at the connections.',
    { initial: true },
  ),
  'monitor.confirmSeconds': option(
    'ZEROFORCE_MONITOR_CONFIRM',
    seconds({ zero: true }),
    0,
    'Seconds that a connection must have lasted before it counts as a tunnel.',
  ),
  'monitor.count': option(
    'ZEROFORCE_MONITOR_COUNT',
    choice(['local', 'either']),
    'local',
    'Which end of a connection must have the tunnel port: the local one, or either.',
  ),
  'monitor.netstat': option('ZEROFORCE_NETSTAT', command, 'netstat', 'The netstat program that the monitor runs.'),
  'pairing.policy': option(
    'ZEROFORCE_PAIRING_POLICY',
    choice(['open', 'pin', 'locked']),
    'open',
    'Who may pair while pairing is open: anybody, whoever proves the PIN, or nobody until tunnel-agent pairing open.',
  ),
  'pairing.timeoutSeconds': option(
    'ZEROFORCE_PAIRING_TIMEOUT',
    seconds({ zero: true }),
    600,
    'Seconds without a tunnel until a device that was paired before opens pairing again.',
    { initial: true },
  ),
  'pairing.remember': option(
    'ZEROFORCE_PAIRING_REMEMBER',
    flag,
    true,
    'Whether "was paired before" survives a restart. When off, every start opens pairing at once.',
  ),
  'pairing.authorizedKeysFile': option(
    'ZEROFORCE_AUTHORIZED_KEYS_FILE',
    path,
    '/root/.ssh/authorized_keys',
    'File that the dedicated sshd reads and that pairing replaces: afterwards it holds the paired key and no other.',
    { initial: true, applies: 'at restart' },
  ),
  'pairing.keyOptions': optional(
    'ZEROFORCE_KEY_OPTIONS',
    keyOptions,
    'Restriction written in front of the paired key.',
    { applies: 'at restart' },
  ),
  'pairing.allowedHosts': option(
    'ZEROFORCE_ALLOWED_HOSTS',
    hostList,
    [],
    'Further names of this device that a page in a browser may pair from. Addresses of the device, localhost and *.local are allowed anyway.',
  ),
  'pairing.resetFile': option(
    'ZEROFORCE_RESET_FILE',
    path,
    '/boot/zeroforce-reset',
    'File on the boot partition that resets pairing at the next start, once for each content that it is given.',
    { applies: 'at restart' },
  ),
  'pairing.resetButton': optional(
    'ZEROFORCE_RESET_BUTTON',
    path,
    'Input device of a button, for example /dev/input/event0. Held for 10 s it resets pairing.',
  ),
  'mdns.enabled': option(
    'ZEROFORCE_MDNS',
    flag,
    true,
    'Whether the device announces itself by mDNS, so that Home Assistant finds it.',
    { initial: true },
  ),
  'mdns.model': optional(
    'ZEROFORCE_MODEL',
    label,
    'Model that is announced by mDNS and shown on the status page. Without it the name that the board gives itself.',
  ),
  'http.host': option(
    'ZEROFORCE_HTTP_HOST',
    host,
    '::',
    'Address that the pairing routes listen on. Where the machine has no IPv6, :: stands for 0.0.0.0.',
  ),
  'http.port': option('ZEROFORCE_HTTP_PORT', port, 5000, 'Port of the pairing routes.', { initial: true }),
  'meeting.deviceKey': optional('MEETING_DEVICE_KEY', identifier, 'Name of this device at the Meeting proxy.', {
    initial: true,
    applies: 'when idle',
  }),
  'meeting.token': optional(
    'MEETING_TOKEN',
    secretText,
    'Token of this device at the Meeting proxy. It is never shown.',
    {
      secret: always,
      applies: 'when idle',
    },
  ),
  'meeting.tokenFile': optional(
    'MEETING_TOKEN_FILE',
    path,
    'File that holds the token instead, at most 4 KiB; white space around it is ignored. Set this or the token, not both.',
    { initial: true, secret: unlessPath, applies: 'when idle' },
  ),
  'meeting.proxy.host': optional('MEETING_PROXY_HOST', host, 'Address of the Meeting proxy.', {
    initial: true,
    applies: 'when idle',
  }),
  'meeting.proxy.port': option('MEETING_PROXY_PORT', port, 9001, 'Port of the Meeting proxy.', {
    initial: true,
    applies: 'when idle',
  }),
  'meeting.proxy.tls': option('MEETING_PROXY_TLS', flag, false, 'Whether the proxy is spoken to over TLS.', {
    initial: true,
    applies: 'when idle',
  }),
  'meeting.proxy.ca': optional(
    'MEETING_PROXY_CA',
    path,
    'PEM file of the authorities that may have signed the certificate of the proxy, instead of those of the system.',
    { applies: 'when idle' },
  ),
  'meeting.proxy.pin': optional(
    'MEETING_PROXY_PIN',
    pin,
    'SHA-256 of the SubjectPublicKeyInfo in the certificate of the proxy; any other key is refused.',
    { applies: 'when idle' },
  ),
  'meeting.api.url': optional(
    'MEETING_API_URL',
    url,
    'Base address of the Meeting API, http or https. Without it no heartbeat is sent and nothing is synchronised.',
    { initial: true },
  ),
  'meeting.api.ca': optional(
    'MEETING_API_CA',
    path,
    'PEM file of the authorities that may have signed the certificate of the API, instead of those of the system.',
  ),
  'meeting.api.heartbeatSeconds': option(
    'MEETING_HEARTBEAT_INTERVAL',
    seconds({ zero: false }),
    60,
    'Seconds between two heartbeats.',
  ),
  'meeting.api.publicKeyFile': optional(
    'MEETING_PUBLIC_KEY_FILE',
    path,
    'SSH public key of this device that is published to the Meeting server. Without it none is.',
  ),
  'meeting.api.knownHostsFile': optional(
    'MEETING_KNOWN_HOSTS_FILE',
    path,
    'known_hosts file in which the host keys of the Meeting server are kept up to date. Without it none is.',
  ),
  'meeting.api.maintenanceKeysFiles': option(
    'MEETING_MAINTENANCE_KEYS_FILES',
    pathList,
    [],
    'authorized_keys files of the maintenance users, to which the public key of the Meeting server is added. Never the file of the paired key.',
  ),
  'ssh.host': optional('ZEROFORCE_SSH_HOST', host, 'Address of the SSH gateway.', {
    initial: true,
    applies: 'when idle',
  }),
  'ssh.port': option('ZEROFORCE_SSH_PORT', port, 2222, 'Port of the SSH gateway.', {
    initial: true,
    applies: 'when idle',
  }),
  'ssh.token': optional(
    'ZEROFORCE_SSH_TOKEN',
    userToken,
    'Token of this device at the SSH gateway. It is never shown, and never in the arguments of a program.',
    { secret: always, applies: 'when idle' },
  ),
  'ssh.tokenFile': optional(
    'ZEROFORCE_SSH_TOKEN_FILE',
    path,
    'File that holds the token instead, at most 4 KiB; white space around it is ignored. Set this or the token, not both.',
    { initial: true, secret: unlessPath, applies: 'when idle' },
  ),
  'ssh.hostKey': optional(
    'ZEROFORCE_SSH_HOST_KEY',
    hostKey,
    'Host key of the SSH gateway, as its .pub file or ssh-keyscan says it: type and base64. Any other key is refused.',
    { initial: true, applies: 'when idle' },
  ),
  'ssh.trustFirst': option(
    'ZEROFORCE_SSH_TRUST_FIRST',
    flag,
    false,
    'Whether, without ssh.hostKey, the host key of the first connection is stored and demanded from then on.',
    { applies: 'when idle' },
  ),
  'ssh.forwards': option(
    'ZEROFORCE_SSH_FORWARDS',
    services,
    { ssh: 22, http: 80 },
    'Local ports that the SSH gateway reaches, by name and in the order that it is asked for them. Never the port of the pairing routes.',
    { applies: 'when idle' },
  ),
  'ssh.program': option('ZEROFORCE_SSH_PROGRAM', command, 'ssh', 'The ssh program that the ssh transport runs.', {
    applies: 'when idle',
  }),
  services: option(
    'ZEROFORCE_SERVICES',
    services,
    { ssh: 22, http: 5000, vnc: 5900 },
    'The allow-list: local ports that the tunnel may open, by name. It replaces the default as a whole.',
    { initial: true },
  ),
  'reconnect.minSeconds': option(
    'ZEROFORCE_RECONNECT_MIN',
    seconds({ zero: false }),
    1,
    'Shortest wait in seconds between two attempts to reach the proxy.',
  ),
  'reconnect.maxSeconds': option(
    'ZEROFORCE_RECONNECT_MAX',
    seconds({ zero: false }),
    60,
    'Longest wait in seconds between two attempts to reach the proxy; not below the shortest.',
  ),
  handshakeTimeoutSeconds: option(
    'ZEROFORCE_HANDSHAKE_TIMEOUT',
    seconds({ zero: false }),
    10,
    'Seconds that the proxy has to answer the handshake.',
  ),
};

export type OptionKey = keyof typeof OPTIONS;

/** A value for every option, in the units of the file. */
export type Values = { [K in OptionKey]: (typeof OPTIONS)[K]['default'] };

export const OPTION_KEYS = Object.keys(OPTIONS) as OptionKey[];

/** The option without its own type, for code that treats all alike. */
export function optionOf(key: OptionKey): Option<unknown> {
  return OPTIONS[key];
}

/** What stands directly in a section, in the order of the table; '' is the top of the file. */
export function membersOf(section: string): { name: string; path: string; key: OptionKey | null }[] {
  const prefix = section === '' ? '' : `${section}.`;
  const inside = OPTION_KEYS.filter((key) => key.startsWith(prefix));
  const names = new Set(inside.map((key) => key.slice(prefix.length).replace(/\..*/, '')));
  return [...names].map((name) => {
    const path = prefix + name;
    return { name, path, key: inside.find((key) => key === path) ?? null };
  });
}
