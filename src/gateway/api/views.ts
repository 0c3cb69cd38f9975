import type { DeviceStatus, OnlineSession, OpenedTunnel } from '../operations.ts';
import type { AuditEntry, BlockedPort, Device } from '../types.ts';

// How the things of the gateway look in answers: snake_case, times in UTC.

/** ISO 8601. */
export const isoTime = (atMs: number): string => new Date(atMs).toISOString();
export const isoTimeOrNull = (atMs: number | null): string | null => (atMs === null ? null : isoTime(atMs));

/** `YYYY-MM-DD HH:MM:SS`, as the deployed servers write it (wire 2). */
export const meetingTime = (atMs: number): string => isoTime(atMs).slice(0, 19).replace('T', ' ');
const meetingTimeOrNull = (atMs: number | null): string | null => (atMs === null ? null : meetingTime(atMs));

/** A pause that is over is none. */
export const pauseOf = ({ pausedUntilMs }: Device, nowMs: number): string | null =>
  pausedUntilMs !== null && pausedUntilMs > nowMs ? isoTime(pausedUntilMs) : null;

export function deviceView(device: Device, session: OnlineSession | null, nowMs: number) {
  const beat = device.heartbeat ?? {};
  return {
    device_key: device.key,
    device_type: device.type,
    distribution: device.distribution,
    product_serial: device.productSerial,
    authorized: device.authorized,
    paused_until: pauseOf(device, nowMs),
    online: session !== null,
    ip_address: beat.ip_address ?? session?.address ?? null,
    ip_lan: beat.ip_lan ?? null,
    ip_public: beat.ip_public ?? null,
    mac: beat.mac ?? null,
    cluster_ip: beat.cluster_ip ?? null,
    note: beat.note ?? null,
    last_seen: meetingTimeOrNull(device.lastSeenAtMs),
    created_at: isoTime(device.createdAtMs),
    pubkey: device.publicKey,
    services: device.services.map(({ name }) => name),
  };
}

/** Three heartbeats, one of which may be late. */
const AVAILABLE_MS = 3 * 60_000;

/** As the deployed servers answer it; a session says more than a heartbeat. */
export function availabilityView({ device, session }: DeviceStatus, nowMs: number) {
  const { lastSeenAtMs } = device;
  const heard = lastSeenAtMs !== null && nowMs - lastSeenAtMs < AVAILABLE_MS;
  const known = lastSeenAtMs !== null || session !== null;
  const since = session?.connectedAtMs ?? (heard ? null : lastSeenAtMs);
  return {
    status:
      session !== null || heard ? ('Available' as const) : known ? ('Disconnected' as const) : ('Unknown' as const),
    last_heartbeat: meetingTimeOrNull(lastSeenAtMs),
    since: meetingTimeOrNull(since),
    uptime: session === null ? null : Math.max(0, Math.floor((nowMs - session.connectedAtMs) / 1000)),
  };
}

export const servicesView = ({ services }: DeviceStatus) =>
  services.map(({ name, localPort, tunnelPort }) => ({
    service_name: name,
    local_port: localPort,
    tunnel_port: tunnelPort,
  }));

export function overviewItem(status: DeviceStatus, nowMs: number) {
  const { device, session } = status;
  const offline = device.lastConnectedAtMs === null ? 'waiting_for_first_connect' : 'offline';
  return {
    device_key: device.key,
    device_type: device.type,
    status: session === null ? (offline as 'offline' | 'waiting_for_first_connect') : ('online' as const),
    authorized: device.authorized,
    pause_until: pauseOf(device, nowMs),
    entry: session?.entry ?? null,
    address: session?.address ?? null,
    client: session?.client ?? null,
    streams: session?.streams ?? 0,
    connected_at: isoTimeOrNull(session?.connectedAtMs ?? null),
    last_seen: isoTimeOrNull(device.lastSeenAtMs),
    services: servicesView(status),
  };
}

export const sessionView = ({ entry, address, client, connectedAtMs, streams, opened }: OnlineSession) => ({
  ...{ entry, address, client, connected_at: isoTime(connectedAtMs), streams, opened },
});

export const tunnelView = ({ deviceKey, name, port, localPort, expiresAtMs }: OpenedTunnel) => ({
  ...{ device_key: deviceKey, service: name, port, local_port: localPort, expires_at: isoTime(expiresAtMs) },
});

export const blockedView = ({ port, deviceKey, service, newPort, atMs }: BlockedPort) => ({
  ...{ port, device_key: deviceKey, service_name: service, new_port: newPort, at: isoTime(atMs) },
});

/** What belongs to an event stands beside it; nothing of it takes the place of the three that every entry has. */
export const auditView = ({ atMs, event, reason, detail }: AuditEntry) => ({
  ...Object.fromEntries(Object.entries(detail).map(([name, value]) => [snakeCase(name), value])),
  ...{ at: isoTime(atMs), event },
  ...(reason !== null && { reason }),
});

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** What a person can type or click. scp, sftp, browsers and viewers know these. */
export function serviceUrl(service: string, host: string, port: number): string {
  const schemes: Readonly<Record<string, string>> = { ssh: 'ssh', scp: 'scp', http: 'http', vnc: 'vnc' };
  const scheme = Object.hasOwn(schemes, service) ? schemes[service] : 'tcp';
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
