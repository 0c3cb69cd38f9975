import * as v from 'valibot';
import { count, entry, port, serviceName, time } from './fields.ts';
import type { Routes } from './route.ts';

/** A year: longer than that, withdraw the authorisation. */
const PAUSE_MAX_MINUTES = 366 * 24 * 60;
/** ssh asks for each one in turn at every connection. */
const SERVICES_MAX = 32;

const session = v.strictObject({
  entry,
  address: v.string(),
  client: v.string(),
  connected_at: time,
  streams: count,
  opened: count,
});

const services = v.array(
  v.strictObject({ service_name: v.string(), local_port: v.nullable(port), tunnel_port: v.nullable(port) }),
);
const forwards = v.array(v.strictObject({ service_name: v.string(), local_port: v.nullable(port) }));

/** Our own: a body with a field that is not known here is refused, for it was meant to do something. */
export const TUNNEL_ROUTES = {
  makeToken: {
    method: 'post',
    path: '/api/tunnel/servers/{key}/token',
    who: 'operator',
    summary: 'The tunnel token, made at the first call; with rotate=true another one, and the session ends',
    query: v.strictObject({ rotate: v.optional(v.picklist(['true', 'false'])) }),
    answer: v.strictObject({ token: v.string() }),
  },
  showSetup: {
    method: 'get',
    path: '/api/tunnel/servers/{key}/setup',
    who: 'operator',
    summary: 'All that connects the device with autossh: token, files, command, unit, and the script that does it',
    answer: v.strictObject({
      token: v.string(),
      autossh_cmd: v.string(),
      systemd_unit: v.string(),
      setup_script_url: v.string(),
      ssh_config: v.string(),
      known_hosts: v.string(),
      forwards,
    }),
  },
  showStatus: {
    method: 'get',
    path: '/api/tunnel/servers/{key}/status',
    who: 'operator',
    summary: 'Whether the device is connected, and the ports of its services',
    answer: v.strictObject({
      status: v.picklist(['online', 'offline']),
      connected_at: v.nullable(time),
      last_seen: v.nullable(time),
      services,
    }),
  },
  showSession: {
    method: 'get',
    path: '/api/tunnel/servers/{key}/session',
    who: 'operator',
    summary: 'The session of the device, or null',
    answer: v.strictObject({ session: v.nullable(session) }),
  },
  showLogs: {
    method: 'get',
    path: '/api/tunnel/servers/{key}/logs',
    who: 'operator',
    summary: 'What happened to the device: the newest 200 entries of the audit, the newest first',
    answer: v.strictObject({
      items: v.array(v.looseObject({ at: time, event: v.string(), reason: v.optional(v.string()) })),
    }),
  },
  disconnect: {
    method: 'post',
    path: '/api/tunnel/servers/{key}/disconnect',
    who: 'operator',
    summary: 'Ends the session; the device may come back at once',
    answer: v.strictObject({ ok: v.literal(true), disconnected: v.boolean() }),
  },
  pause: {
    method: 'post',
    path: '/api/tunnel/servers/{key}/pause',
    who: 'operator',
    summary: 'Ends the session and keeps the device out for a time',
    body: v.strictObject({
      minutes: v.pipe(
        v.number(),
        v.gtValue(0, 'must be more than 0'),
        v.maxValue(PAUSE_MAX_MINUTES, `must be at most ${PAUSE_MAX_MINUTES}, a year`),
      ),
    }),
    answer: v.strictObject({ ok: v.literal(true), paused: v.literal(true), pause_until: time }),
  },
  resume: {
    method: 'post',
    path: '/api/tunnel/servers/{key}/resume',
    who: 'operator',
    summary: 'Ends a pause',
    answer: v.strictObject({ ok: v.literal(true), paused: v.literal(false) }),
  },
  showForwards: {
    method: 'get',
    path: '/api/tunnel/servers/{key}/forwards',
    who: 'operator',
    summary: 'The services of the device, in the order of its -R requests',
    answer: v.strictObject({ forwards }),
  },
  setForwards: {
    method: 'put',
    path: '/api/tunnel/servers/{key}/forwards',
    who: 'operator',
    summary: 'Sets the services; it counts from the next connection on',
    body: v.strictObject({
      forwards: v.pipe(
        v.array(v.strictObject({ service_name: serviceName, local_port: v.nullish(port) })),
        v.minLength(1, 'must have at least one service'),
        v.maxLength(SERVICES_MAX, `must have at most ${SERVICES_MAX} services`),
      ),
    }),
    answer: v.strictObject({ ok: v.literal(true), forwards, reconnect_required: v.literal(true) }),
  },
  showOverview: {
    method: 'get',
    path: '/api/tunnel/overview',
    who: 'operator',
    summary: 'All devices at a glance',
    answer: v.strictObject({
      summary: v.strictObject({ total: count, online: count, offline: count, waiting_for_first_connect: count }),
      items: v.array(
        v.strictObject({
          device_key: v.string(),
          device_type: v.string(),
          status: v.picklist(['online', 'offline', 'waiting_for_first_connect']),
          authorized: v.boolean(),
          pause_until: v.nullable(time),
          entry: v.nullable(entry),
          address: v.nullable(v.string()),
          client: v.nullable(v.string()),
          streams: count,
          connected_at: v.nullable(time),
          last_seen: v.nullable(time),
          services,
        }),
      ),
    }),
  },
  listBlockedPorts: {
    method: 'get',
    path: '/api/tunnel/ports/blocked',
    who: 'operator',
    summary: 'Ports that another program has taken away; nobody gets them until they are released',
    answer: v.strictObject({
      items: v.array(
        v.strictObject({ port, device_key: v.string(), service_name: v.string(), new_port: port, at: time }),
      ),
    }),
  },
  releasePort: {
    method: 'delete',
    path: '/api/tunnel/ports/blocked/{port}',
    who: 'operator',
    summary: 'Releases such a port',
    answer: v.strictObject({ ok: v.literal(true) }),
    errors: ['Port not blocked'],
  },
  showSetupScript: {
    method: 'get',
    path: '/tunnel/setup/{token}',
    who: 'anyone',
    summary: 'The setup script of the device with this tunnel token; one request a second and address, three at once',
    answer: 'text/x-sh',
    errors: ['Invalid token', 'Too many requests'],
  },
} as const satisfies Routes;
