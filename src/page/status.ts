/** What the page reads of the device. `DeviceStatus` has all of it but the identity. */
export interface PageStatus {
  version: string;
  hostname: string;
  model: string | null;
  /** The name of the device at the proxy; shown shortened. */
  deviceKey: string | null;
  uptimeSeconds: number;
  pairing: {
    policy: 'open' | 'pin' | 'locked';
    open: boolean;
    reason: string;
    /** 0 when open, null when it will not open by itself. */
    opensInSeconds: number | null;
    tunnel: 'active' | 'none' | 'unknown';
    everPaired: boolean;
    key: { type: string; fingerprint: string } | { failure: string } | null;
  };
  monitor: { kind: 'active' | 'none' | 'fault' | 'starting'; sinceConnectedSeconds: number } | null;
  /** null where the service runs pairing alone. */
  tunnel: {
    state: 'connecting' | 'up' | 'waiting' | 'stopped';
    inStateMs: number;
    proxy: { host: string; port: number; tls: boolean };
    streams: number;
    nextAttemptInMs: number | null;
    lastFailure: { code: string; sentence: string; remedy: string; agoMs: number } | null;
  } | null;
  faults: readonly { sentence: string; remedy: string }[];
  notices: readonly { sentence: string; remedy: string }[];
}
