import type { FailureCode } from '../support/failures.ts';

// What the checks are given by whoever composes them: the production dialer and clients, so that what is tried is the
// real path. All throw Failures by name. Everything ends early when the signal is aborted.

export interface Tools {
  /** The status of the running service. @throws Failure `service.not-running`, `service.not-permitted`, `service.no-answer` */
  service(signal: AbortSignal): Promise<ServiceStatus>;
  /** Null where the configuration has no complete identity for a tunnel. */
  readonly tunnel: TunnelTool | null;
  /** Null without an address of the Meeting API, or without an identity. */
  readonly api: ApiTool | null;
  /** One run of the monitor's netstat, read as the monitor reads it. @throws Failure `monitor.netstat-*` */
  connections(signal: AbortSignal): Promise<readonly TcpConnection[]>;
  /** The paired key, null for none. @throws Failure `key.unreadable` */
  pairedKey(): Promise<{ type: string; fingerprint: string } | null>;
  /** Devices that announce themselves in this network, as a pairing client finds them. @throws Failure `mdns.*` */
  browse(timeoutMs: number, signal: AbortSignal): Promise<readonly AnnouncedDevice[]>;
  /** Opens a local service the way a stream of the tunnel does, and gives what it says first. */
  openStream(port: number, options: OpenStreamOptions): Promise<StreamResult>;
}

export interface OpenStreamOptions {
  /** Sent once the connection stands. */
  greeting: string;
  /** How long it may take until the first bytes come. */
  timeoutMs: number;
  signal: AbortSignal;
}

export type StreamResult =
  | { kind: 'answered'; firstBytes: Buffer }
  /** It was not opened; `reason` as the other end of the tunnel would hear it. */
  | { kind: 'failed'; reason: 'refused' | 'timeout' | 'not-allowed'; sentence: string }
  /** Opened, and closed by the service before it said anything. */
  | { kind: 'closed'; reset: boolean }
  | { kind: 'silent' };

export interface TunnelTool {
  readonly transport: 'meeting' | 'ssh';
  readonly peer: { readonly host: string; readonly port: number; readonly tls: boolean };
  /**
   * One session by the production transport, ended in order as soon as it stands. The other end takes it for this
   * device: a session that stands elsewhere is replaced.
   *
   * @throws Failure as the tunnel agent reports them: `proxy.*`, `ssh.*`, `session.*`
   */
  dial(signal: AbortSignal): Promise<{ protocol: 'v1' | 'legacy' | 'ssh'; peerDeviceKey: string | null }>;
}

export interface ApiTool {
  /** The base address, as it is configured. */
  readonly url: string;
  readonly deviceKey: string;
  /** @throws Failure `meeting.*` */
  device(signal: AbortSignal): Promise<{ authorized: boolean; services: Readonly<Record<string, boolean>> | null }>;
  /** @throws Failure `meeting.*` */
  availability(signal: AbortSignal): Promise<'available' | 'disconnected' | 'unknown'>;
  /** Whether a path of the API that has nothing to do with this device is there, whatever it answers. @throws Failure `meeting.*` */
  isServed(signal: AbortSignal): Promise<boolean>;
}

export interface TcpConnection {
  local: { address: string; port: number | null };
  remote: { address: string; port: number | null };
  state: string;
}

export interface AnnouncedDevice {
  name: string;
  addresses: readonly string[];
  tunnelPort: number;
  httpPort: number | null;
}

export interface PastFailure {
  code: FailureCode;
  sentence: string;
  remedy: string;
  agoMs: number;
}

/** What the checks read of the service's status; `DeviceStatus` of the device service holds it all. */
export interface ServiceStatus {
  version: string;
  pid: number;
  hostname: string;
  uptimeSeconds: number;
  pairing: {
    policy: 'open' | 'pin' | 'locked';
    open: boolean;
    pinReady: boolean;
    pin: { set: boolean; failuresLeft: number; locked: boolean } | null;
    openedLocally: { secondsLeft: number } | null;
    reason: string;
    opensInSeconds: number | null;
    tunnel: 'active' | 'none' | 'unknown';
    everPaired: boolean;
    key: { type: string; fingerprint: string } | { failure: string } | null;
  };
  /** Null with an outside monitor. */
  monitor: {
    kind: 'active' | 'none' | 'fault' | 'starting';
    connections: number;
    sinceConnectedSeconds: number;
  } | null;
  /** Null while the pairing routes do not listen. */
  http: { host: string; port: number } | null;
  /** Null where the device does not announce itself. */
  mdns: {
    name: string;
    renamed: boolean;
    interfaces: readonly { name: string; addresses: readonly string[]; state: 'claiming' | 'announced' | 'failed' }[];
  } | null;
  /** Null where the service runs pairing alone. */
  tunnel: {
    transport: 'meeting' | 'ssh';
    state: 'connecting' | 'up' | 'waiting' | 'stopped';
    inStateMs: number;
    proxy: { host: string; port: number; tls: boolean };
    protocol: 'v1' | 'legacy' | 'ssh' | null;
    peerDeviceKey: string | null;
    forwards: readonly { name: string; localPort: number; remotePort: number }[];
    streams: number;
    sessions: number;
    /** Null unless the state is `waiting`. */
    nextAttemptInMs: number | null;
    lastFailure: PastFailure | null;
  } | null;
  /** Null where the service has no address of the Meeting API. */
  meetingApi: {
    url: string;
    state: 'starting' | 'online' | 'failing' | 'stopped';
    nextHeartbeatInMs: number | null;
    /** The last that was answered. */
    lastHeartbeat: { agoMs: number } | null;
    lastFailure: PastFailure | null;
  } | null;
  faults: readonly { code: FailureCode; sentence: string; remedy: string }[];
  /** What is to be known and is no fault: that the last good configuration runs, for example. */
  notices?: readonly { code: FailureCode; sentence: string; remedy: string }[];
}
