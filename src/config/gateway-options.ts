import { LOG_LEVELS } from '../support/log.ts';
import {
  absolutePath,
  bearerToken,
  choice,
  count,
  flag,
  host,
  type Kind,
  portOrAny,
  portRange,
  seconds,
} from './kinds.ts';
import { always, never, type Option, unlessPath } from './options.ts';

/** An option of the gateway. It has no file: the environment is all, and the name of the variable is the key. */
export type GatewayOption<T, Default = T> = Pick<Option<T, Default>, 'kind' | 'default' | 'about' | 'secret'>;

function option<T>(kind: Kind<T>, fallback: NoInfer<T>, about: string): GatewayOption<T> {
  return { kind, default: fallback, about, secret: never };
}

function optional<T>(kind: Kind<T>, about: string, secret: Option<T>['secret'] = never): GatewayOption<T, T | null> {
  return { kind, default: null, about, secret };
}

/** Longer than any network needs; beyond it a dead peer would be taken for a living one. */
const LONGEST_WAIT_SECONDS = 600;
const wait = seconds({ zero: false, max: LONGEST_WAIT_SECONDS });

/**
 * Every option of the gateway, once. The reading of the environment, the faults, `config show` and the second table of
 * docs/options.md all come from this table.
 */
export const GATEWAY_OPTIONS = {
  GATEWAY_DATA_DIR: option(
    absolutePath,
    '/var/lib/zeroforce-gateway',
    'Folder of all that the gateway keeps: the database, the key file of the tokens, the host key, the admin token. Mode 0700, made at the first start.',
  ),
  GATEWAY_AGENT_HOST: option(
    host,
    '::',
    'Address that the agent entry listens on. Where the machine has no IPv6, :: stands for 0.0.0.0; so it does below.',
  ),
  GATEWAY_AGENT_PORT: option(portOrAny, 9001, 'Port of the agent entry: devices that speak the tunnel protocol.'),
  GATEWAY_AGENT_TLS: optional(
    choice(['off', 'optional', 'required']),
    'Whether the agent entry speaks TLS: off, with agents that ask for it, or with all. Without this: optional where a certificate is configured, else off.',
  ),
  GATEWAY_SSH_HOST: option(host, '::', 'Address that the SSH entry listens on.'),
  GATEWAY_SSH_PORT: option(portOrAny, 2222, 'Port of the SSH entry: devices with an OpenSSH client.'),
  GATEWAY_HTTP_HOST: option(
    host,
    '127.0.0.1',
    'Address that the REST interface listens on. Another than loopback needs a certificate.',
  ),
  GATEWAY_HTTP_PORT: option(portOrAny, 9443, 'Port of the REST interface.'),
  GATEWAY_HTTP_INSECURE: option(
    flag,
    false,
    'Whether the REST interface may go without TLS on another address than loopback: tokens are readable on the way then.',
  ),
  GATEWAY_BIND_HOST: option(host, '127.0.0.1', 'Address that the public ports of the devices listen on.'),
  GATEWAY_PUBLIC_HOST: optional(
    host,
    'Name or address of the gateway in URLs and commands. Without it the name of the machine.',
  ),
  GATEWAY_PORT_RANGE: option(
    portRange,
    { start: 40_000, end: 49_999 },
    'Public ports that are given to the services of devices, both ends included. No port of the gateway itself may lie inside.',
  ),
  GATEWAY_LEASE_SECONDS: option(
    seconds({ zero: false }),
    3600,
    'Seconds that an opened service stays open, unless it is asked for again.',
  ),
  GATEWAY_ADMIN_TOKEN: optional(
    bearerToken,
    'Token of the operator. It is never shown. Set this or its file, not both.',
    always,
  ),
  GATEWAY_ADMIN_TOKEN_FILE: optional(
    absolutePath,
    'File that holds the token of the operator, mode 0600, made at the first start. Without this: admin-token in GATEWAY_DATA_DIR.',
    unlessPath,
  ),
  GATEWAY_CONN_RATE: option(
    count(100_000),
    10,
    'New connections a second that each of the two entries takes from strangers; one more may come at once.',
  ),
  GATEWAY_MAX_PENDING: option(count(100_000), 50, 'Connections of each entry that may be under way to authentication.'),
  GATEWAY_HANDSHAKE_TIMEOUT: option(wait, 10, 'Seconds that a new connection has to authenticate itself.'),
  GATEWAY_KEEPALIVE_INTERVAL: option(wait, 30, 'Seconds between two questions whether a device is still there.'),
  GATEWAY_KEEPALIVE_TIMEOUT: option(
    wait,
    15,
    'Seconds that a device has to answer such a question; not above the interval.',
  ),
  GATEWAY_TLS_CERT: optional(
    absolutePath,
    'PEM file of the certificate, with those between it and its authority. It is read again when it has changed. Needs GATEWAY_TLS_KEY.',
  ),
  GATEWAY_TLS_KEY: optional(absolutePath, 'PEM file of the private key of the certificate, without passphrase.'),
  LOG_LEVEL: option(choice(LOG_LEVELS), 'info', 'The least important log lines that are written.'),
};

export type GatewayVariable = keyof typeof GATEWAY_OPTIONS;

/** A value for every option, in the units of the environment. */
export type GatewayValues = { [K in GatewayVariable]: (typeof GATEWAY_OPTIONS)[K]['default'] };

export const GATEWAY_VARIABLES = Object.keys(GATEWAY_OPTIONS) as GatewayVariable[];

/** The option without its own type, for code that treats all alike. */
export function gatewayOptionOf(name: GatewayVariable): GatewayOption<unknown> {
  return GATEWAY_OPTIONS[name];
}

/** A value as the environment has it: a range is the only one that is not written as it is. */
export function asWritten(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'start' in value && 'end' in value
    ? `${value.start}-${value.end}`
    : value;
}
