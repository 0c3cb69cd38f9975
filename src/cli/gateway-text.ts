import { hostname } from 'node:os';
import { isLoopback, reachedAt } from '../config/gateway.ts';
import { cleanText, counted, hostAndPort } from '../support/text.ts';
import type { TextContext } from './gateway-define.ts';
import { type Cell, list, table, timeText } from './table.ts';

// What the gateway answers (docs/gateway-api.md), as far as it is shown.

interface ServiceAnswer {
  service_name: string;
  local_port: number | null;
  tunnel_port: number | null;
}
interface OverviewItem {
  device_key: string;
  device_type: string;
  status: string;
  authorized: boolean;
  pause_until: string | null;
  entry: string | null;
  connected_at: string | null;
  last_seen: string | null;
  services: ServiceAnswer[];
}
interface ShownDevice {
  device: {
    device_key: string;
    device_type: string;
    distribution: string;
    product_serial: string | null;
    authorized: boolean;
    paused_until: string | null;
    created_at: string;
    ip_address: string | null;
    ip_lan: string | null;
  };
  status: { status: string; connected_at: string | null; last_seen: string | null; services: ServiceAnswer[] };
  session: { entry: string; address: string; client: string; streams: number; opened: number } | null;
}

/** A new device, whose token is shown this once. */
export function addedText(answer: unknown, { style }: TextContext): string {
  const { devicekey, token_code } = answer as { devicekey: string; token_code: string };
  const rows = list(
    [
      ['device key', devicekey],
      ['Meeting token', token_code],
    ],
    style,
  );
  return `${rows}The gateway keeps no copy of this token that could be shown: put it into the device now.\n`;
}

export function devicesText(answer: unknown, { style }: TextContext): string {
  const { summary, items } = answer as { summary: Record<string, number>; items: OverviewItem[] };
  if (items.length === 0) return 'No device. Add the first one: tunnel-gateway device add\n';
  const rows = items.map((item): Cell[] => [
    item.device_key,
    item.device_type,
    stateOf(item),
    item.entry,
    timeText(item.status === 'online' ? item.connected_at : item.last_seen),
    ports(item.services),
  ]);
  const { total = 0, online = 0 } = summary;
  const heads = ['DEVICE', 'TYPE', 'STATE', 'ENTRY', 'SINCE OR LAST SEEN (UTC)', 'PORTS'];
  return `${table(heads, rows, style)}${counted(total, 'device')}, ${online} online\n`;
}

function stateOf({ status, authorized, pause_until: until }: OverviewItem): Cell {
  if (!authorized) return { text: 'not authorized', as: 'bad' };
  if (until !== null) return { text: 'paused', as: 'warn' };
  if (status === 'online') return { text: 'online', as: 'good' };
  return status === 'offline' ? { text: 'offline', as: 'bad' } : 'never connected';
}

const ports = (services: ServiceAnswer[]) =>
  services.map(({ service_name: name, tunnel_port: port }) => (port === null ? name : `${name}=${port}`)).join(' ');

export function sessionsText(answer: unknown, { style }: TextContext): string {
  const { items } = answer as { items: OverviewItem[] };
  if (items.length === 0) return 'No device is connected.\n';
  const rows = items.map((item): Cell[] => [
    item.device_key,
    item.entry,
    timeText(item.connected_at),
    ports(item.services),
  ]);
  return table(['DEVICE', 'ENTRY', 'SINCE (UTC)', 'PORTS'], rows, style);
}

export function deviceText(answer: unknown, { style }: TextContext): string {
  const { device, status, session } = answer as ShownDevice;
  const online = status.status === 'online';
  const rows: [string, Cell][] = [
    ['device', device.device_key],
    ['type', device.device_type],
    ['distribution', device.distribution],
    ['serial', device.product_serial],
    ['added', timeText(device.created_at)],
    ['authorized', device.authorized ? 'yes' : { text: 'no', as: 'bad' }],
    ['paused', device.paused_until === null ? 'no' : { text: `until ${timeText(device.paused_until)}`, as: 'warn' }],
    ['state', online ? { text: 'online', as: 'good' } : { text: 'offline', as: 'bad' }],
    [online ? 'since' : 'last seen', timeText(online ? status.connected_at : status.last_seen)],
    ['address on its network', device.ip_lan ?? device.ip_address],
  ];
  if (session !== null) {
    rows.push(['comes from', `${session.address}, by the ${session.entry} entry, ${cleanText(session.client, 60)}`]);
    rows.push(['streams', `${session.streams} open, ${session.opened} since it is connected`]);
  }
  const services = status.services.map((one): Cell[] => [one.service_name, one.local_port, one.tunnel_port]);
  return `${list(rows, style)}\n${table(['SERVICE', 'PORT ON THE DEVICE', 'PUBLIC PORT'], services, style)}`;
}

export function forwardsText(answer: unknown, { style }: TextContext): string {
  const { forwards } = answer as { forwards: { service_name: string; local_port: number | null }[] };
  const rows = forwards.map((one): Cell[] => [one.service_name, one.local_port ?? 'the usual']);
  return `${table(['SERVICE', 'PORT ON THE DEVICE'], rows, style)}It counts from the next connection of the device on.\n`;
}

export function pausedText(answer: unknown, { args: [key] }: TextContext): string {
  return `${key} is kept out until ${timeText((answer as { pause_until: string }).pause_until)} UTC.\n`;
}

export function logsText(answer: unknown, { style }: TextContext): string {
  const { items } = answer as { items: Record<string, unknown>[] };
  if (items.length === 0) return 'Nothing happened yet.\n';
  const rows = items.toReversed().map(({ at, event, reason, ...rest }): Cell[] => [
    timeText(at),
    String(event),
    reason === undefined || reason === null ? null : String(reason),
    Object.entries(rest)
      .map(([name, value]) => `${name}=${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
      .join(' '),
  ]);
  return table(['TIME (UTC)', 'EVENT', 'REASON', 'DETAILS'], rows, style);
}

export function blockedText(answer: unknown, { style }: TextContext): string {
  const { items } = answer as {
    items: { port: number; device_key: string; service_name: string; new_port: number; at: string }[];
  };
  if (items.length === 0) return 'No port is blocked.\n';
  const rows = items.map((one): Cell[] => [one.port, one.device_key, one.service_name, one.new_port, timeText(one.at)]);
  return table(['PORT', 'WAS OF', 'SERVICE', 'NOW', 'SINCE (UTC)'], rows, style);
}

/** What to type, first of all. */
export function openText(answer: unknown, { style, args, config }: TextContext): string {
  const { port, url, expires_at: expires } = answer as { port: number; url: string; expires_at: string };
  const [, service = ''] = args;
  const { gateway, tunnels: host } = reachedAt(config, hostname());
  const lines = [
    style.strong(toType(service, port, host, url)),
    `Open until ${timeText(expires)} UTC; ask again to renew.`,
  ];
  if (isLoopback(config.bindHost)) {
    const jump = `ssh -J USER@${gateway} -p ${port} USER@${host}`;
    lines.push(`The port listens on this machine alone${service === 'ssh' ? `; from another one: ${jump}` : ''}.`);
  }
  return `${lines.join('\n')}\n`;
}

function toType(service: string, port: number, host: string, url: string): string {
  if (service === 'ssh') return `ssh -p ${port} USER@${host}`;
  if (service === 'scp') return `scp -P ${port} FILE USER@${bracketed(host)}:`;
  if (service === 'http') return `http://${hostAndPort(host, port)}/`;
  return service === 'vnc' ? cleanText(url) : hostAndPort(host, port);
}

const bracketed = (host: string) => (host.includes(':') ? `[${host}]` : host);

export function setupText(answer: unknown, { style, args: [key], config }: TextContext): string {
  const { setup_script_url: url } = answer as { setup_script_url: string };
  const sent = `tunnel-gateway setup ${key} --script | ssh root@DEVICE 'umask 077; cat >setup.sh; sh setup.sh'`;
  const lines = ['From here, where the device can be reached once:', '', style.strong(sent), ''];
  if (isLoopback(config.http.host)) {
    lines.push('The REST interface listens on this machine alone, so that the device cannot fetch the script itself.');
  } else {
    // As an argument of curl every user of the device could read the token.
    const fetched = ["curl -fsS -o setup.sh -K - <<'END' && sh setup.sh", `url = "${cleanText(url, 500)}"`, 'END'];
    lines.push('Or on the device, as root:', '', ...fetched.map((line) => style.strong(line)), '');
  }
  lines.push('The script holds the token of the device: whoever reads it can take its place.');
  return `${lines.join('\n')}\n`;
}

export function healthText(answer: unknown, { style }: TextContext): string {
  const { ok, status } = answer as { ok: boolean; status: string };
  return `${style[ok ? 'good' : 'warn'](cleanText(status))}\n`;
}
