import type { FailureCode } from '../support/failures.ts';
import { ENVIRONMENT, type Fault, printableOf } from './faults.ts';
import { type Found, type Layer, ORIGINS, type Origin } from './layers.ts';
import { OPTION_KEYS, type OptionKey, optionOf, type Values } from './options.ts';
import { MASK, Secret } from './secret.ts';
import type { Config, MeetingApiConfig, MeetingConfig, SshConfig } from './types.ts';

/** Something that the people in charge should know and that keeps nothing from running. */
export interface Notice {
  readonly code: FailureCode;
  readonly sentence: string;
}

/** One line of `config show`. */
export interface Setting {
  readonly key: OptionKey;
  readonly env: string;
  /** In the unit of the file; `[secret]` for a secret that is set. */
  readonly value: unknown;
  readonly origin: Origin;
  /** The path of the file, `environment`, or null for a default. */
  readonly source: string | null;
}

/** Lays layers over each other, the weakest first. */
export function combine(layers: readonly Layer[]): Layer {
  return {
    found: new Map(layers.flatMap((layer) => [...layer.found])),
    refused: new Set(layers.flatMap((layer) => [...layer.refused])),
    faults: layers.flatMap((layer) => layer.faults),
  };
}

/** The transports that have a token, each with the options that give it. */
export const TOKENS = [
  { transport: 'meeting', token: 'meeting.token', file: 'meeting.tokenFile' },
  { transport: 'ssh', token: 'ssh.token', file: 'ssh.tokenFile' },
] as const;

/** A token and its file exclude each other: the stronger source wins, one source must not set both. */
export function settleTokens(layer: Layer): Layer {
  return TOKENS.reduce(settleToken, layer);
}

function settleToken(layer: Layer, keys: (typeof TOKENS)[number]): Layer {
  const token = layer.found.get(keys.token);
  const file = layer.found.get(keys.file);
  if (token === undefined || file === undefined) return layer;
  const difference = ORIGINS.indexOf(token.origin) - ORIGINS.indexOf(file.origin);
  if (difference === 0) {
    const allowed = `one of ${token.name} and ${file.name}, not both`;
    return { ...layer, faults: [...layer.faults, { key: token.name, value: MASK, allowed, source: token.source }] };
  }
  const found = new Map(layer.found);
  found.delete(difference > 0 ? keys.file : keys.token);
  return { ...layer, found };
}

export function valuesOf({ found }: Layer): Values {
  return Object.fromEntries(
    OPTION_KEYS.map((key) => [key, found.has(key) ? found.get(key)?.value : optionOf(key).default]),
  ) as Values;
}

export function settingsOf({ found }: Layer): Setting[] {
  return OPTION_KEYS.map((key) => {
    const { env, secret, default: fallback } = optionOf(key);
    const set = found.get(key);
    const value = set === undefined ? fallback : secret(set.value) ? MASK : set.value;
    return { key, env, value, origin: set?.origin ?? 'default', source: set?.source ?? null };
  });
}

/** Values that are right alone and wrong together, with what is allowed. */
export function conflictsOf(values: Values): { keys: OptionKey[]; allowed: string }[] {
  const minSeconds = values['reconnect.minSeconds'];
  const maxSeconds = values['reconnect.maxSeconds'];
  const pairs: { keys: OptionKey[]; wrong: boolean; allowed: string }[] = [
    {
      keys: ['reconnect.minSeconds', 'reconnect.maxSeconds'],
      wrong: minSeconds > maxSeconds,
      allowed: `reconnect.minSeconds (${minSeconds}) not above reconnect.maxSeconds (${maxSeconds})`,
    },
    {
      // The pairing requests themselves would count as a tunnel, and close pairing.
      keys: ['http.port', 'tunnel.port'],
      wrong: values['http.port'] === values['tunnel.port'],
      allowed: `different ports for http.port and tunnel.port`,
    },
    {
      // What comes through it comes from this machine: the pairing routes could not tell it from a neighbour.
      keys: ['ssh.forwards', 'http.port'],
      wrong: values.transport === 'ssh' && Object.values(values['ssh.forwards']).includes(values['http.port']),
      allowed: 'ssh.forwards without http.port: pairing is never reached through the gateway',
    },
    {
      keys: ['meeting.api.maintenanceKeysFiles', 'pairing.authorizedKeysFile'],
      wrong: values['meeting.api.maintenanceKeysFiles'].includes(values['pairing.authorizedKeysFile']),
      allowed: 'other files than pairing.authorizedKeysFile: pairing would erase the maintenance keys',
    },
  ];
  return pairs.filter(({ wrong }) => wrong);
}

/** The faults that no value has alone. A value that was refused already takes part in no such check. */
export function crossFaults(layer: Layer): Fault[] {
  const values = valuesOf(layer);
  const faults = conflictsOf(values)
    .filter(({ keys }) => !keys.some((key) => layer.refused.has(key)))
    .map(({ keys, allowed }) => blame(layer, keys, allowed));
  return [...faults, ...identityFaults(layer, values)];
}

/** The fault at the first key that a file set, else at the first that is set at all: the defaults fit each other. */
function blame({ found }: Layer, keys: readonly OptionKey[], allowed: string): Fault {
  const set = keys.flatMap((key) => {
    const one = found.get(key);
    return one === undefined ? [] : [{ key, ...one }];
  });
  const culprit = set.find(({ source }) => source !== ENVIRONMENT) ?? set[0];
  if (culprit === undefined) throw new Error(`the defaults of ${keys.join(', ')} do not fit each other`);
  return {
    key: culprit.name,
    value: printableOf(optionOf(culprit.key), culprit.value),
    allowed,
    source: culprit.source,
  };
}

/** What a transport cannot do without. The first two belong to one device, so that either shows an intention. */
const IDENTITIES = {
  meeting: ['meeting.deviceKey', 'meeting.token', 'meeting.proxy.host'],
  ssh: ['ssh.token', 'ssh.host'],
} as const;

const NOT_SET = 'not set';

/**
 * Half an identity is a fault: somebody meant this device to have a tunnel. The address of the proxy alone is none,
 * since a whole fleet may be delivered with it; nor is what deployed files leave out, which must not stop pairing.
 */
function identityFaults({ found, refused }: Layer, values: Values): Fault[] {
  const { transport } = values;
  if (transport === 'none' || refused.has(`${transport}.tokenFile`)) return [];
  const identity: readonly OptionKey[] = IDENTITIES[transport];
  const own = transport === 'meeting' ? identity.slice(0, 2) : identity.slice(0, 1);
  const given = own
    .map((key) => found.get(key))
    .filter((one): one is Found => one !== undefined && one.origin !== 'deployed');
  const part = given.find(({ source }) => source !== ENVIRONMENT) ?? given[0];
  if (part === undefined) return [];
  const needed = [...identity, ...hostKeyNeed(values)];
  return needed
    .filter((key) => values[key] === null && !refused.has(key))
    .map((key) => {
      const { env, kind } = optionOf(key);
      const name = part.source === ENVIRONMENT ? env : key;
      return { key: name, value: NOT_SET, allowed: `${kind.allowed}; ${part.name} needs it`, source: part.source };
    });
}

/** Whether a fault is one of these, or of a token file: the rest of the configuration may be as sound as can be. */
export function isIdentityFault({ key, value, allowed }: Fault): boolean {
  if (value === NOT_SET) return true;
  const ofTokenFile = TOKENS.some(({ file }) => key === file || key === optionOf(file).env);
  return ofTokenFile && allowed.startsWith('the path of ');
}

/** What an identity is made of, each with the transport that needs it; a token may have come out of its file. */
export function identityOf(
  settings: readonly Setting[],
  transport: Values['transport'],
): { set: OptionKey[]; missing: OptionKey[] } {
  if (transport === 'none') return { set: [], missing: [] };
  const isSet = (key: OptionKey) => (settings.find((setting) => setting.key === key)?.value ?? null) !== null;
  const keys: readonly OptionKey[] = IDENTITIES[transport];
  return { set: keys.filter(isSet), missing: keys.filter((key) => !isSet(key)) };
}

/** Without a key to compare with, anybody on the way could be the gateway. */
function hostKeyNeed(values: Values): OptionKey[] {
  return values.transport === 'ssh' && !values['ssh.trustFirst'] ? ['ssh.hostKey'] : [];
}

/** Not a fault: other programs may use the prefixes, and an older version may meet a newer one's variables. */
export function unknownNotices(unknown: readonly { name: string; meant: string | null }[]): Notice[] {
  return unknown.map(({ name, meant }) => ({
    code: 'config.unknown-variable',
    sentence: `${name} is not an option and is ignored${meant === null ? '' : `; perhaps ${meant} is meant`}`,
  }));
}

/** What is odd about a configuration without faults. */
export function noticesOf(config: Config): Notice[] {
  return [...tunnelNotices(config), ...apiNotices(config)];
}

function tunnelNotices({ meeting, ssh, transport }: Config): Notice[] {
  if (transport === 'none') return [];
  if (meeting === null && ssh === null) {
    const what = transport === 'ssh' ? 'identity for the SSH gateway' : 'Meeting identity';
    const sentence = `No complete ${what} is configured: pairing runs alone, without a tunnel`;
    return [{ code: 'identity.missing', sentence }];
  }
  if (meeting === null) return [];
  if (meeting.proxy.tls || (meeting.proxy.ca === null && meeting.proxy.pin === null)) return [];
  const sentence = 'meeting.proxy.ca and meeting.proxy.pin protect nothing: meeting.proxy.tls is off';
  return [{ code: 'proxy.tls-off', sentence }];
}

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

function apiNotices({ meetingApi }: Config): Notice[] {
  if (meetingApi === null) return [];
  const { url, knownHostsFile, maintenanceKeysFiles } = meetingApi;
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || LOOPBACK.test(hostname)) return [];
  const forged = [
    ...(knownHostsFile === null ? [] : ['forge the host keys that ssh will trust']),
    ...(maintenanceKeysFiles.length === 0 ? [] : ['have a key of their own let in as a maintenance user']),
  ];
  const dangers = ['read the token', ...forged].join(', and ');
  const sentence = `The Meeting API is spoken to without TLS (${url}): whoever is on the way can ${dangers}`;
  return [{ code: 'meeting.api-plain', sentence }];
}

/** The configuration in the units of the service. Only for values without faults. */
export function toConfig(values: Values): Config {
  return {
    runDir: values.runDir,
    stateDir: values.stateDir,
    logLevel: values.logLevel,
    transport: values.transport,
    tunnel: { port: values['tunnel.port'] },
    monitor: {
      enabled: values['monitor.enabled'],
      intervalMs: toMs(values['monitor.intervalSeconds']),
      confirmMs: toMs(values['monitor.confirmSeconds']),
      count: values['monitor.count'],
      netstat: values['monitor.netstat'],
    },
    pairing: {
      policy: values['pairing.policy'],
      timeoutMs: toMs(values['pairing.timeoutSeconds']),
      remember: values['pairing.remember'],
      authorizedKeysFile: values['pairing.authorizedKeysFile'],
      keyOptions: values['pairing.keyOptions'],
      allowedHosts: values['pairing.allowedHosts'],
      resetFile: values['pairing.resetFile'],
      resetButton: values['pairing.resetButton'],
    },
    mdns: { enabled: values['mdns.enabled'], model: values['mdns.model'] },
    http: { host: values['http.host'], port: values['http.port'] },
    meeting: toMeeting(values),
    ssh: toSsh(values),
    meetingApi: toMeetingApi(values),
    services: values.services,
    reconnect: { minMs: toMs(values['reconnect.minSeconds']), maxMs: toMs(values['reconnect.maxSeconds']) },
    handshakeTimeoutMs: toMs(values.handshakeTimeoutSeconds),
  };
}

function toMeeting(values: Values): MeetingConfig | null {
  const deviceKey = values['meeting.deviceKey'];
  const token = values['meeting.token'];
  const host = values['meeting.proxy.host'];
  if (values.transport !== 'meeting' || deviceKey === null || token === null || host === null) return null;
  return {
    deviceKey,
    token: new Secret(token),
    proxy: {
      host,
      port: values['meeting.proxy.port'],
      tls: values['meeting.proxy.tls'],
      ca: values['meeting.proxy.ca'],
      pin: values['meeting.proxy.pin'],
    },
  };
}

function toSsh(values: Values): SshConfig | null {
  const token = values['ssh.token'];
  const host = values['ssh.host'];
  if (values.transport !== 'ssh' || token === null || host === null) return null;
  return {
    host,
    port: values['ssh.port'],
    token: new Secret(token),
    hostKey: values['ssh.hostKey'],
    trustFirst: values['ssh.trustFirst'],
    forwards: values['ssh.forwards'],
    program: values['ssh.program'],
  };
}

/** Whatever the transport: a device with an SSH gateway may report to a Meeting server all the same. */
function toMeetingApi(values: Values): MeetingApiConfig | null {
  const deviceKey = values['meeting.deviceKey'];
  const token = values['meeting.token'];
  const url = values['meeting.api.url'];
  if (deviceKey === null || token === null || url === null) return null;
  return {
    url: url.replace(/\/+$/, ''),
    deviceKey,
    token: new Secret(token),
    ca: values['meeting.api.ca'],
    heartbeatMs: toMs(values['meeting.api.heartbeatSeconds']),
    publicKeyFile: values['meeting.api.publicKeyFile'],
    knownHostsFile: values['meeting.api.knownHostsFile'],
    maintenanceKeysFiles: values['meeting.api.maintenanceKeysFiles'],
  };
}

/** Whole milliseconds, and never 0 for a time that is above 0. */
export function toMs(seconds: number): number {
  return seconds === 0 ? 0 : Math.max(1, Math.round(seconds * 1000));
}
