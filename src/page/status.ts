export interface PastFailure {
  code: string;
  sentence: string;
  remedy: string;
  agoMs: number;
}

export interface Cause {
  summary: string;
  remedy: string | null;
  /** Since it was found. */
  agoMs: number;
  /** The trouble is over. */
  over: boolean;
}

export interface Pin {
  set: boolean;
  /** Wrong proofs left until it is locked. */
  failuresLeft: number;
  locked: boolean;
}

/** What the page reads of the device: its status, and who it is. */
export interface PageStatus {
  version: string;
  hostname: string;
  model: string | null;
  /** The name of the device at the Meeting proxy; shown shortened. */
  deviceKey: string | null;
  uptimeSeconds: number;
  pairing: {
    policy: 'open' | 'pin' | 'locked';
    /** Whether anybody may pair now. */
    open: boolean;
    /** Whether whoever proves the PIN may. */
    pinReady: boolean;
    /** null when nobody can tell. */
    pin: Pin | null;
    openedLocally: { secondsLeft: number } | null;
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
    transport: 'meeting' | 'ssh';
    state: 'connecting' | 'up' | 'waiting' | 'stopped';
    inStateMs: number;
    proxy: { host: string; port: number; tls: boolean };
    /** What the SSH gateway listens for. */
    forwards: readonly { name: string; remotePort: number }[];
    streams: number;
    nextAttemptInMs: number | null;
    lastFailure: PastFailure | null;
    /** Connections that came to nothing at a service of this device. */
    localFailures: readonly PastFailure[];
  } | null;
  /** The client of the Meeting API; its failures stand in `faults`. */
  meetingApi: {
    state: 'starting' | 'online' | 'failing' | 'stopped';
    lastHeartbeat: { agoMs: number } | null;
  } | null;
  /** null where the device does not announce itself. */
  mdns: { name: string; interfaces: readonly { state: 'claiming' | 'announced' | 'failed' }[] } | null;
  /** The cause that the service found by itself. What it saw, evidence, is not for everybody in the home network. */
  diagnosis: Cause | null;
  faults: readonly { sentence: string; remedy: string }[];
  notices: readonly { sentence: string; remedy: string }[];
}
