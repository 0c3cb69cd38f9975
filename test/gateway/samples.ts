import type { Observations } from '../../src/gateway/store.ts';
import type { AuditEntry, Device } from '../../src/gateway/types.ts';

/** A device with a token of its own. */
export function aDevice(key: string, more: Partial<Device> = {}): Device {
  return {
    key,
    type: 'beamer',
    distribution: 'stable',
    productSerial: null,
    authorized: true,
    pausedUntilMs: null,
    createdAtMs: 1_790_000_000_123,
    services: [
      { name: 'ssh', localPort: null },
      { name: 'http', localPort: 5000 },
    ],
    tokenCodeHash: `hash of ${key}`,
    tokenCodeStrong: true,
    tunnelTokenHash: null,
    tunnelTokenSealed: null,
    publicKey: null,
    lastConnectedAtMs: null,
    lastSeenAtMs: null,
    heartbeat: null,
    ...more,
  };
}

export function anEntry(deviceKey: string | null, atMs: number, more: Partial<AuditEntry> = {}): AuditEntry {
  return { atMs, deviceKey, event: 'connect', reason: null, detail: {}, ...more };
}

export function observed(part: Partial<Observations>): Observations {
  return { audit: [], addresses: [], seen: [], ...part };
}
