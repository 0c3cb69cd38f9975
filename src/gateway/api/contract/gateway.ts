import * as v from 'valibot';
import { count, time } from './fields.ts';
import type { Routes } from './route.ts';

const health = v.strictObject({ ok: v.boolean(), status: v.picklist(['ok', 'draining']) });

/** The gateway itself. */
export const GATEWAY_ROUTES = {
  showApi: {
    method: 'get',
    path: '/api',
    who: 'anyone',
    summary: 'Name and version of the gateway, and where its description is',
    answer: v.strictObject({ name: v.string(), version: v.string(), openapi: v.string(), health: v.string() }),
  },
  showHealth: {
    method: 'get',
    path: '/api/health',
    who: 'anyone',
    summary: 'Whether the gateway takes devices; 503 while it drains',
    answer: health,
    others: { 503: health },
  },
  showOpenApi: {
    method: 'get',
    path: '/api/openapi.json',
    who: 'anyone',
    summary: 'This description',
    answer: v.looseObject({ openapi: v.string() }),
  },
  showMetrics: {
    method: 'get',
    path: '/metrics',
    who: 'operator',
    summary: 'Metrics in the text format of Prometheus',
    answer: 'text/plain',
  },
  showHostKey: {
    method: 'get',
    path: '/api/ssh-hostkey',
    who: 'anyone',
    summary: 'The host key of the SSH entry, as a line of known_hosts',
    answer: 'text/plain',
  },
  showPublicKey: {
    method: 'get',
    path: '/api/ssh/pubkey',
    who: 'anyone',
    summary: 'Always 404: this gateway logs in to no device, so it has no key to be let in with',
    answer: 'text/plain',
    errors: ['No public key'],
  },
  showTunnels: {
    method: 'get',
    path: '/api/tunnels',
    who: 'operator',
    summary: 'The public ports that are open on request now',
    answer: v.strictObject({
      tunnels: v.array(
        v.strictObject({
          device_key: v.string(),
          service: v.string(),
          port: count,
          local_port: count,
          expires_at: time,
        }),
      ),
    }),
  },
} as const satisfies Routes;
