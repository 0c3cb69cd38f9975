import * as v from 'valibot';
import { ConfigError, ENVIRONMENT, type Fault, printableOf } from './faults.ts';
import {
  asWritten,
  GATEWAY_VARIABLES,
  type GatewayValues,
  type GatewayVariable,
  gatewayOptionOf,
} from './gateway-options.ts';
import type { GatewayConfig } from './gateway-types.ts';
import { type Environment, unknownVariables } from './layers.ts';
import { type Notice, toMs, unknownNotices } from './resolve.ts';
import { MASK, Secret } from './secret.ts';

export interface LoadedGateway {
  readonly config: GatewayConfig;
  /** Every option with its value, fit to be shown. */
  readonly settings: readonly GatewaySetting[];
  readonly notices: readonly Notice[];
}

/** One line of `config show`. */
export interface GatewaySetting {
  readonly env: GatewayVariable;
  /** In the unit of the environment; `[secret]` for a secret that is set; null for none. */
  readonly value: unknown;
  readonly origin: 'default' | 'environment';
}

/**
 * Reads the configuration of the gateway: the environment over the defaults. Nothing else is looked at: whether a file
 * can be used, or a port be had, shows at the start.
 *
 * @throws ConfigError with every fault
 */
export function loadGatewayConfig(env: Environment): LoadedGateway {
  const { found, refused, faults } = readVariables(env);
  const values = valuesOf(found);
  const conflicts = conflictsOf(values)
    .filter(({ names }) => !names.some((name) => refused.has(name)))
    .map(({ names, allowed }) => blame(found, names, allowed));
  if (faults.length + conflicts.length > 0) throw new ConfigError([...faults, ...conflicts], 'gateway.config-invalid');
  const config = toConfig(values);
  return { config, settings: settingsOf(found, config), notices: noticesOf(env, config) };
}

type FoundValues = ReadonlyMap<GatewayVariable, unknown>;

/** Empty text is no value. */
function readVariables(env: Environment): { found: FoundValues; refused: Set<GatewayVariable>; faults: Fault[] } {
  const found = new Map<GatewayVariable, unknown>();
  const refused = new Set<GatewayVariable>();
  const faults: Fault[] = [];
  for (const name of GATEWAY_VARIABLES) {
    const text = env[name] ?? '';
    if (text === '') continue;
    const option = gatewayOptionOf(name);
    const result = v.safeParse(option.kind.schema, option.kind.fromText(text));
    if (result.success) {
      found.set(name, result.output);
    } else {
      refused.add(name);
      faults.push({ key: name, value: printableOf(option, text), allowed: option.kind.allowed, source: ENVIRONMENT });
    }
  }
  return { found, refused, faults };
}

function valuesOf(found: FoundValues): GatewayValues {
  return Object.fromEntries(
    GATEWAY_VARIABLES.map((name) => [name, found.has(name) ? found.get(name) : gatewayOptionOf(name).default]),
  ) as GatewayValues;
}

interface Conflict {
  /** The first that is set is blamed. */
  readonly names: readonly GatewayVariable[];
  readonly allowed: string;
}

/** Values that are right alone and wrong together, with what is allowed. */
function conflictsOf(values: GatewayValues): Conflict[] {
  return [...portConflicts(values), ...tlsConflicts(values), ...otherConflicts(values)];
}

const LISTENERS = [
  ['GATEWAY_AGENT_HOST', 'GATEWAY_AGENT_PORT'],
  ['GATEWAY_SSH_HOST', 'GATEWAY_SSH_PORT'],
  ['GATEWAY_HTTP_HOST', 'GATEWAY_HTTP_PORT'],
] as const;

function portConflicts(values: GatewayValues): Conflict[] {
  const { start, end } = values.GATEWAY_PORT_RANGE;
  const inside = LISTENERS.filter(([, port]) => values[port] >= start && values[port] <= end).map(([, port]) => ({
    names: [port, 'GATEWAY_PORT_RANGE'] as const,
    allowed: `a port outside of GATEWAY_PORT_RANGE (${start}-${end}): those belong to devices`,
  }));
  const same = LISTENERS.flatMap(([host, port], index) =>
    LISTENERS.slice(0, index)
      .filter(([otherHost, otherPort]) => {
        const equal = values[port] !== 0 && values[port] === values[otherPort];
        return equal && overlap(values[host], values[otherHost]);
      })
      .map(([otherHost, otherPort]) => ({
        names: [port, otherPort, host, otherHost] as const,
        allowed: `different ports for ${otherPort} and ${port} on the same address`,
      })),
  );
  return [...inside, ...same];
}

function tlsConflicts(values: GatewayValues): Conflict[] {
  const cert = values.GATEWAY_TLS_CERT !== null;
  const key = values.GATEWAY_TLS_KEY !== null;
  const agent = values.GATEWAY_AGENT_TLS;
  const plainHttp = !cert && !key && !isLoopback(values.GATEWAY_HTTP_HOST) && !values.GATEWAY_HTTP_INSECURE;
  return [
    ...(cert && !key ? [{ names: ['GATEWAY_TLS_CERT', 'GATEWAY_TLS_KEY'] as const, allowed: TLS_PAIR }] : []),
    ...(key && !cert ? [{ names: ['GATEWAY_TLS_KEY', 'GATEWAY_TLS_CERT'] as const, allowed: TLS_PAIR }] : []),
    ...(!cert && !key && (agent === 'optional' || agent === 'required')
      ? [
          {
            names: ['GATEWAY_AGENT_TLS', 'GATEWAY_TLS_CERT', 'GATEWAY_TLS_KEY'] as const,
            allowed: 'off, or a certificate in GATEWAY_TLS_CERT and GATEWAY_TLS_KEY',
          },
        ]
      : []),
    ...(plainHttp
      ? [
          {
            names: ['GATEWAY_HTTP_HOST', 'GATEWAY_TLS_CERT', 'GATEWAY_TLS_KEY', 'GATEWAY_HTTP_INSECURE'] as const,
            allowed:
              'a loopback address (127.0.0.1, ::1, localhost); or a certificate in GATEWAY_TLS_CERT and GATEWAY_TLS_KEY; or GATEWAY_HTTP_INSECURE=1',
          },
        ]
      : []),
  ];
}

const TLS_PAIR = 'GATEWAY_TLS_CERT and GATEWAY_TLS_KEY together, or none of them';

function otherConflicts(values: GatewayValues): Conflict[] {
  const { GATEWAY_KEEPALIVE_INTERVAL: interval, GATEWAY_KEEPALIVE_TIMEOUT: timeout } = values;
  return [
    ...(values.GATEWAY_ADMIN_TOKEN !== null && values.GATEWAY_ADMIN_TOKEN_FILE !== null
      ? [
          {
            names: ['GATEWAY_ADMIN_TOKEN', 'GATEWAY_ADMIN_TOKEN_FILE'] as const,
            allowed: 'one of GATEWAY_ADMIN_TOKEN and GATEWAY_ADMIN_TOKEN_FILE, not both',
          },
        ]
      : []),
    // The next question would be due before the last one is given up.
    ...(timeout > interval
      ? [
          {
            names: ['GATEWAY_KEEPALIVE_TIMEOUT', 'GATEWAY_KEEPALIVE_INTERVAL'] as const,
            allowed: `GATEWAY_KEEPALIVE_TIMEOUT (${timeout}) not above GATEWAY_KEEPALIVE_INTERVAL (${interval})`,
          },
        ]
      : []),
  ];
}

const isAddress = (host: string) => host.includes(':') || /^\d{1,3}(?:\.\d{1,3}){3}$/.test(host);

/** Whether two listeners on one port would meet: `::` takes the addresses of IPv4 in, and a name may be any address. */
function overlap(a: string, b: string): boolean {
  const [one, other] = [a.toLowerCase(), b.toLowerCase()];
  const isAny = (host: string) => host === '::' || host === '0.0.0.0' || !isAddress(host);
  return one === other || isAny(one) || isAny(other);
}

/** Whether only this machine reaches a listener of that address. */
export function isLoopback(host: string): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|::1)$/i.test(host);
}

/** Where the gateway is reached from elsewhere, and where the public ports of its devices are. */
export function reachedAt(
  { bindHost, publicHost }: Pick<GatewayConfig, 'bindHost' | 'publicHost'>,
  machineName: string,
): { gateway: string; tunnels: string } {
  const gateway = publicHost ?? machineName;
  return { gateway, tunnels: bindHost === '::' || bindHost === '0.0.0.0' ? gateway : bindHost };
}

/** The fault at the first variable that is set: the defaults fit each other. */
function blame(found: FoundValues, names: readonly GatewayVariable[], allowed: string): Fault {
  const culprit = names.find((name) => found.has(name));
  if (culprit === undefined) throw new Error(`the defaults of ${names.join(', ')} do not fit each other`);
  const value = printableOf(gatewayOptionOf(culprit), asWritten(found.get(culprit)));
  return { key: culprit, value, allowed, source: ENVIRONMENT };
}

function toConfig(values: GatewayValues): GatewayConfig {
  const { GATEWAY_TLS_CERT: cert, GATEWAY_TLS_KEY: key, GATEWAY_ADMIN_TOKEN: token } = values;
  const dataDir = values.GATEWAY_DATA_DIR;
  const tls = cert === null || key === null ? null : { cert, key };
  return {
    dataDir,
    agent: {
      host: values.GATEWAY_AGENT_HOST,
      port: values.GATEWAY_AGENT_PORT,
      tls: values.GATEWAY_AGENT_TLS ?? (tls === null ? 'off' : 'optional'),
    },
    ssh: { host: values.GATEWAY_SSH_HOST, port: values.GATEWAY_SSH_PORT },
    http: {
      host: values.GATEWAY_HTTP_HOST,
      port: values.GATEWAY_HTTP_PORT,
      insecure: values.GATEWAY_HTTP_INSECURE,
    },
    bindHost: values.GATEWAY_BIND_HOST,
    publicHost: values.GATEWAY_PUBLIC_HOST,
    portRange: values.GATEWAY_PORT_RANGE,
    leaseMs: toMs(values.GATEWAY_LEASE_SECONDS),
    adminToken: token === null ? null : new Secret(token),
    adminTokenFile: values.GATEWAY_ADMIN_TOKEN_FILE ?? `${dataDir.replace(/\/+$/, '')}/admin-token`,
    connectionRate: values.GATEWAY_CONN_RATE,
    maxPending: values.GATEWAY_MAX_PENDING,
    handshakeTimeoutMs: toMs(values.GATEWAY_HANDSHAKE_TIMEOUT),
    keepalive: {
      intervalMs: toMs(values.GATEWAY_KEEPALIVE_INTERVAL),
      timeoutMs: toMs(values.GATEWAY_KEEPALIVE_TIMEOUT),
    },
    tls,
    logLevel: values.LOG_LEVEL,
  };
}

/** What follows from others is shown as it came out. */
function settingsOf(found: FoundValues, config: GatewayConfig): GatewaySetting[] {
  const derived: Partial<Record<GatewayVariable, unknown>> = {
    GATEWAY_AGENT_TLS: config.agent.tls,
    ...(config.adminToken === null ? { GATEWAY_ADMIN_TOKEN_FILE: config.adminTokenFile } : {}),
  };
  return GATEWAY_VARIABLES.map((env) => {
    const option = gatewayOptionOf(env);
    const value = found.get(env) ?? derived[env] ?? option.default;
    const masked = found.has(env) && option.secret(value);
    return { env, value: masked ? MASK : asWritten(value), origin: found.has(env) ? 'environment' : 'default' };
  });
}

function noticesOf(env: Environment, { http, tls }: GatewayConfig): Notice[] {
  const unknown = unknownNotices(unknownVariables(env, GATEWAY_VARIABLES, /^GATEWAY_/));
  if (tls !== null || isLoopback(http.host)) return unknown;
  const sentence = `REST is served on ${http.host} without TLS: whoever is on the way can read the tokens, that of the operator too`;
  return [...unknown, { code: 'gateway.http-plain', sentence }];
}
