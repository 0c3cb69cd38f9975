import type { FailureCode } from '../support/failures.ts';
import { ENVIRONMENT, type Fault, printableOf } from './faults.ts';
import { type Found, type Layer, ORIGINS, type Origin } from './layers.ts';
import { OPTION_KEYS, type OptionKey, optionOf, type Values } from './options.ts';
import { MASK, Secret } from './secret.ts';
import type { Config, MeetingConfig } from './types.ts';

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

/** The token and the file of the token exclude each other: the stronger source wins, one source must not set both. */
export function settleToken(layer: Layer): Layer {
  const token = layer.found.get('meeting.token');
  const file = layer.found.get('meeting.tokenFile');
  if (token === undefined || file === undefined) return layer;
  const difference = ORIGINS.indexOf(token.origin) - ORIGINS.indexOf(file.origin);
  if (difference === 0) {
    const allowed = `one of ${token.name} and ${file.name}, not both`;
    return { ...layer, faults: [...layer.faults, { key: token.name, value: MASK, allowed, source: token.source }] };
  }
  const found = new Map(layer.found);
  found.delete(difference > 0 ? 'meeting.tokenFile' : 'meeting.token');
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

/** Values that are right alone and wrong together. A value that was refused already takes part in no such check. */
export function crossFaults(layer: Layer): Fault[] {
  const values = valuesOf(layer);
  const pairs: { keys: [OptionKey, OptionKey]; wrong: boolean; allowed: string }[] = [
    {
      keys: ['reconnect.minSeconds', 'reconnect.maxSeconds'],
      wrong: values['reconnect.minSeconds'] > values['reconnect.maxSeconds'],
      allowed: `reconnect.minSeconds (${values['reconnect.minSeconds']}) not above reconnect.maxSeconds (${values['reconnect.maxSeconds']})`,
    },
    {
      // The pairing requests themselves would count as a tunnel, and close pairing.
      keys: ['http.port', 'tunnel.port'],
      wrong: values['http.port'] === values['tunnel.port'],
      allowed: `different ports for http.port and tunnel.port`,
    },
  ];
  const faults = pairs
    .filter(({ keys, wrong }) => wrong && !keys.some((key) => layer.refused.has(key)))
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

const IDENTITY = ['meeting.deviceKey', 'meeting.token', 'meeting.proxy.host'] as const;

/**
 * Half an identity is a fault: somebody meant this device to have a tunnel. The address of the proxy alone is none,
 * since a whole fleet may be delivered with it; nor is what deployed files leave out, which must not stop pairing.
 */
function identityFaults({ found, refused }: Layer, values: Values): Fault[] {
  if (values.transport !== 'meeting' || refused.has('meeting.tokenFile')) return [];
  const given = [found.get('meeting.deviceKey'), found.get('meeting.token')].filter(
    (one): one is Found => one !== undefined && one.origin !== 'deployed',
  );
  const part = given.find(({ source }) => source !== ENVIRONMENT) ?? given[0];
  if (part === undefined) return [];
  return IDENTITY.filter((key) => values[key] === null && !refused.has(key)).map((key) => {
    const { env, kind } = optionOf(key);
    const name = part.source === ENVIRONMENT ? env : key;
    return { key: name, value: 'not set', allowed: `${kind.allowed}; ${part.name} needs it`, source: part.source };
  });
}

/** What is odd about a configuration without faults. */
export function noticesOf(config: Config): Notice[] {
  const { meeting, transport } = config;
  if (transport !== 'meeting') return [];
  if (meeting === null) {
    const sentence = 'No complete Meeting identity is configured: pairing runs alone, without a tunnel';
    return [{ code: 'identity.missing', sentence }];
  }
  if (meeting.proxy.tls || (meeting.proxy.ca === null && meeting.proxy.pin === null)) return [];
  const sentence = 'meeting.proxy.ca and meeting.proxy.pin protect nothing: meeting.proxy.tls is off';
  return [{ code: 'proxy.tls-off', sentence }];
}

/** The configuration in the units of the service. Only for a layer without faults. */
export function toConfig(layer: Layer): Config {
  const values = valuesOf(layer);
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
    },
    http: { host: values['http.host'], port: values['http.port'] },
    meeting: toMeeting(values),
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

/** Whole milliseconds, and never 0 for a time that is above 0. */
function toMs(seconds: number): number {
  return seconds === 0 ? 0 : Math.max(1, Math.round(seconds * 1000));
}
