import * as v from 'valibot';
import { count, deviceKey, done, line, meetingTime, port, time, tokenCode } from './fields.ts';
import type { Routes } from './route.ts';

// Callers of the deployed servers send more than we read, so these bodies may hold unknown fields; only those of calls
// that are our own may not.

const heartbeatField = v.nullish(line(0, 256));

const device = v.strictObject({
  device_key: v.string(),
  device_type: v.string(),
  distribution: v.string(),
  product_serial: v.nullable(v.string()),
  authorized: v.boolean(),
  paused_until: v.nullable(time),
  online: v.boolean(),
  ip_address: v.nullable(v.string()),
  ip_lan: v.nullable(v.string()),
  ip_public: v.nullable(v.string()),
  mac: v.nullable(v.string()),
  cluster_ip: v.nullable(v.string()),
  note: v.nullable(v.string()),
  last_seen: v.nullable(meetingTime),
  created_at: time,
  pubkey: v.nullable(v.string()),
  services: v.array(v.string()),
});

/** `service` or `type` names it; which of them is missing has words of its own (wire 3). */
const wanted = {
  service: v.nullish(v.string()),
  type: v.nullish(v.string()),
  port: v.nullish(port),
};
const portAnswer = v.strictObject({
  status: v.literal('ok'),
  port,
  service: v.string(),
  device_key: v.string(),
});
const OPEN_ERRORS = [
  'Missing service param',
  'Missing relay port',
  'Device not authorized',
  'Device missing token',
  'Device paused',
  'Service not forwarded',
  'Device offline',
  'No available port in range',
  'Port taken',
] as const;

/** The calls of the Meeting API, the device's and the operator's, and what belongs to them. */
export const DEVICE_ROUTES = {
  listDevices: {
    method: 'get',
    path: '/api/devices',
    who: 'operator',
    summary: 'All devices',
    answer: v.strictObject({ devices: v.array(device) }),
  },
  createDevice: {
    method: 'post',
    path: '/api/devices/manual-create',
    who: 'operator',
    summary: 'Adds a device with the key and the token that it already has',
    body: v.object({
      devicekey: deviceKey,
      token_code: tokenCode,
      device_type: line(1, 64),
      distribution: line(1, 64),
      product_serial: v.nullish(line(1, 128)),
    }),
    status: 201,
    answer: v.strictObject({
      devicekey: v.string(),
      token_code: v.string(),
      device_type: v.string(),
      distribution: v.string(),
      product_serial: v.nullable(v.string()),
    }),
    errors: ['Device exists'],
  },
  generateDevice: {
    method: 'post',
    path: '/api/devices/generate-and-register',
    who: 'operator',
    summary: 'Adds a device with a key and a token that are made here, 32 hex digits each',
    body: v.optional(v.object({ device_type: v.nullish(line(1, 64)) }), {}),
    status: 201,
    answer: v.strictObject({ devicekey: v.string(), token_code: v.string() }),
  },
  showDevice: {
    method: 'get',
    path: '/api/devices/{key}',
    who: 'device',
    summary: 'One device',
    answer: device,
  },
  removeDevice: {
    method: 'delete',
    path: '/api/devices/{key}',
    who: 'operator',
    summary: 'Removes a device: its session ends, its ports are free',
    answer: done,
  },
  showAvailability: {
    method: 'get',
    path: '/api/devices/{key}/availability',
    who: 'device',
    summary: 'Whether the device was heard of in the last three minutes, or has a session',
    answer: v.strictObject({
      status: v.picklist(['Available', 'Disconnected', 'Unknown']),
      last_heartbeat: v.nullable(meetingTime),
      since: v.nullable(meetingTime),
      uptime: v.nullable(count),
    }),
  },
  heartbeat: {
    method: 'post',
    path: '/api/devices/{key}/online',
    who: 'device',
    summary: 'The heartbeat of the device',
    body: v.optional(
      v.object({
        ip_address: heartbeatField,
        ip_lan: heartbeatField,
        ip_public: heartbeatField,
        mac: heartbeatField,
        cluster_ip: heartbeatField,
        note: heartbeatField,
      }),
      {},
    ),
    answer: v.strictObject({ ok: v.literal(true), ip_address: v.string(), last_seen: meetingTime }),
  },
  setPublicKey: {
    method: 'put',
    path: '/api/devices/{key}/ssh-key',
    who: 'device',
    summary: 'Publishes an SSH public key of the device, one line as in id_ed25519.pub',
    body: v.object({ pubkey: v.string() }),
    answer: v.strictObject({ success: v.literal(true) }),
    errors: ['Invalid key'],
  },
  openService: {
    method: 'post',
    path: '/api/devices/{key}/service',
    who: 'operator',
    summary: 'Opens the public port of a service for the time of a lease, or renews it',
    body: v.object(wanted),
    answer: v.strictObject({ port, url: v.string(), expires_at: time }),
    errors: OPEN_ERRORS,
  },
  requestPort: {
    method: 'post',
    path: '/api/devices/{key}/request-tunnel-port',
    who: 'operator',
    summary: 'The same, answered as the deployed servers do',
    body: v.object(wanted),
    answer: portAnswer,
    errors: OPEN_ERRORS,
  },
  requestForceCommandPort: {
    method: 'post',
    path: '/api/forcecommand/request-port',
    who: 'operator',
    summary: 'The same, with the device in the body',
    body: v.object({ device_key: v.string(), ...wanted }),
    answer: portAnswer,
    errors: [...OPEN_ERRORS, 'Device not found'],
  },
  authorizeTunnel: {
    method: 'post',
    path: '/api/devices/{key}/authorize-tunnel',
    who: 'operator',
    summary: 'Lets the device in',
    answer: v.strictObject({ status: v.literal('ok'), device_key: v.string(), authorized: v.boolean() }),
  },
  authorize: {
    method: 'put',
    path: '/api/devices/{key}/authorize',
    who: 'operator',
    summary: 'Lets the device in, or keeps it out and ends its session',
    body: v.strictObject({ authorized: v.boolean() }),
    answer: v.strictObject({ ok: v.literal(true), authorized: v.boolean() }),
  },
  setTokenCode: {
    method: 'put',
    path: '/api/devices/{key}/token-code',
    who: 'operator',
    summary: 'Gives the device another Meeting token, made here unless given; the session with the old one ends',
    body: v.optional(v.strictObject({ token_code: v.optional(tokenCode) }), {}),
    answer: v.strictObject({ token_code: v.string() }),
  },
} as const satisfies Routes;
