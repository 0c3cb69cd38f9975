/** How a device reaches the gateway: with an agent of the tunnel protocol, or with an OpenSSH client. */
export type EntryName = 'agent' | 'ssh';

/**
 * Why a session ended: told to the device where its protocol can, kept in the audit, counted in the metrics. A device
 * that was removed, or whose authorisation was withdrawn, was disconnected by the operator.
 */
export const END_REASONS = [
  'connection_closed',
  'connection_error',
  'keepalive_timeout',
  'operator_disconnect',
  'paused_by_operator',
  'token_rotated',
  'session_replaced',
  'shutdown',
] as const;
export type EndReason = (typeof END_REASONS)[number];

/** A service of a device, as it is configured. */
export interface ServiceSpec {
  /** a-z, 0-9, _ and -, at most 32. */
  readonly name: string;
  /** The port on the device; null for the usual one of the entry that the device comes through (`localPortOf`). */
  readonly localPort: number | null;
}

/** The same, once its local port is known. */
export interface Service {
  readonly name: string;
  readonly localPort: number;
}

/** Usual local ports by the name of the service. SSH devices have their web server on 80, Meeting agents on 5000. */
const USUAL_PORTS: Record<EntryName, Readonly<Record<string, number>>> = {
  agent: { ssh: 22, http: 5000, vnc: 5900 },
  ssh: { ssh: 22, http: 80, vnc: 5900 },
};

/** The local port of a service for a device that comes through `entry`; null where nobody ever named one. */
export function localPortOf({ name, localPort }: ServiceSpec, entry: EntryName): number | null {
  const usual = USUAL_PORTS[entry];
  return localPort ?? (Object.hasOwn(usual, name) ? (usual[name] ?? null) : null);
}

/** What every created device has, in the order of its `-R` requests. */
export const USUAL_SERVICES: readonly ServiceSpec[] = [
  { name: 'ssh', localPort: null },
  { name: 'http', localPort: null },
];

/** A device as the gateway knows it. Times are milliseconds of the wall clock: they are for people and survive restarts. */
export interface Device {
  /** 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit; compared as it is. */
  readonly key: string;
  readonly type: string;
  readonly distribution: string;
  readonly productSerial: string | null;
  readonly authorized: boolean;
  /** Null, or a time: while it lies ahead, no session is let in. */
  readonly pausedUntilMs: number | null;
  readonly createdAtMs: number;
  /** In the order of the `-R` requests; `ssh` is among them. */
  readonly services: readonly ServiceSpec[];
  /** Keyed hash of the Meeting token (`token_code`): that of the agent entry and of X-Token-Code. */
  readonly tokenCodeHash: string;
  /** Whether that token is long enough (16 bytes and more) not to be guessed. */
  readonly tokenCodeStrong: boolean;
  /** Keyed hash of the tunnel token (user name of the SSH entry), and the token encrypted; null before one was made. */
  readonly tunnelTokenHash: string | null;
  readonly tunnelTokenSealed: string | null;
  /** Sent by the device, one line; null before. */
  readonly publicKey: string | null;
  /** When a session stood last; null before the first one. */
  readonly lastConnectedAtMs: number | null;
  readonly lastSeenAtMs: number | null;
  /** The last heartbeat over REST, its allowed fields only. */
  readonly heartbeat: Readonly<Record<string, string>> | null;
}

/** The public port of a service of a device: it never changes but by a conflict. */
export interface Assignment {
  readonly deviceKey: string;
  readonly service: string;
  readonly port: number;
}

/** A port that another program has taken away; given to nobody until an operator releases it. */
export interface BlockedPort {
  readonly port: number;
  readonly deviceKey: string;
  readonly service: string;
  readonly newPort: number;
  readonly atMs: number;
}

/** An operator wants to reach a service until `expiresAtMs` (wall clock): its port listens while the device is online. */
export interface Lease extends Service {
  readonly deviceKey: string;
  readonly expiresAtMs: number;
}

/** A lease and the public port that it opens. */
export interface OpenedTunnel extends Lease {
  readonly port: number;
}

export const AUDIT_EVENTS = [
  'connect',
  'disconnect',
  'rejected',
  'replaced',
  'paused',
  'resumed',
  'token_created',
  'token_rotated',
  'forwards_changed',
  'port_conflict_resolved',
  'port_released',
  'device_created',
  'device_removed',
  'authorized',
  'unauthorized',
  'settings_changed',
] as const;
export type AuditEvent = (typeof AUDIT_EVENTS)[number];

/** One line of the audit. `detail` has short texts and numbers for people, never a secret. */
export interface AuditEntry {
  readonly atMs: number;
  /** Null where no device is concerned, or none of that name is known. */
  readonly deviceKey: string | null;
  readonly event: AuditEvent;
  readonly reason: string | null;
  readonly detail: Readonly<Record<string, string | number>>;
}
