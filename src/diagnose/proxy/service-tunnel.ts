import type { ServiceStatus } from '../tools.ts';

type Tunnel = NonNullable<ServiceStatus['tunnel']>;

/** Sessions that came and went so often, and lasted so short on average, are none to work with. */
const MANY_SESSIONS = 3;
const SHORT_SECONDS = 60;
const RECENT_MS = 2 * 60_000;

/** Whether sessions come about and are lost again, one after the other, since the service started. */
export function comesAndGoes({ tunnel, uptimeSeconds }: { tunnel: Tunnel; uptimeSeconds: number }): boolean {
  const { sessions, lastFailure } = tunnel;
  if (lastFailure === null || lastFailure.agoMs > RECENT_MS || !/^(?:session|identity)\./.test(lastFailure.code))
    return false;
  return sessions >= MANY_SESSIONS && uptimeSeconds / sessions < SHORT_SECONDS;
}

/** Two devices with one identity hold it for a minute each at most; longer is peace. */
const PEACE_MS = 10 * 60_000;

/** Whether another device takes the sessions of this one. */
export function isContested({ state, inStateMs, lastFailure }: Tunnel): boolean {
  if (lastFailure?.code !== 'identity.duplicate') return false;
  return state !== 'up' || inStateMs < PEACE_MS;
}

/** Whether the service dials another address than the configuration says. */
export function dialsElsewhere({ proxy }: Tunnel, peer: Tunnel['proxy']): boolean {
  return proxy.host !== peer.host || proxy.port !== peer.port || proxy.tls !== peer.tls;
}

/** Whether a program keeps tunnels: ours, or the one in Python that devices had before. */
export function isAgent(words: readonly string[]): boolean {
  const names = words.map((word) => word.slice(word.lastIndexOf('/') + 1));
  if (!/^(?:node|python[\d.]*|tunnel[-_]agent)/.test(names[0] ?? '')) return false;
  const at = names.findIndex((name) => /^tunnel[-_]agent(?:\.(?:py|c?js))?$/.test(name));
  return at !== -1 && (names[at]?.endsWith('.py') || names.slice(at + 1).includes('run'));
}
