import type { LogLevel } from '../support/log.ts';
import type { Secret } from './secret.ts';

/** The configuration of the gateway: every value checked, every time in milliseconds. */
export interface GatewayConfig {
  readonly dataDir: string;
  readonly agent: { readonly host: string; readonly port: number; readonly tls: 'off' | 'optional' | 'required' };
  readonly ssh: { readonly host: string; readonly port: number };
  /** `insecure`: without TLS also on other addresses than loopback. */
  readonly http: { readonly host: string; readonly port: number; readonly insecure: boolean };
  /** Where the public ports of the devices' services listen. */
  readonly bindHost: string;
  /** In URLs and commands; null for the name of this machine. */
  readonly publicHost: string | null;
  /** Both inclusive. */
  readonly portRange: { readonly start: number; readonly end: number };
  readonly leaseMs: number;
  /** Null: read from `adminTokenFile`, which is made at the first start. */
  readonly adminToken: Secret | null;
  readonly adminTokenFile: string;
  /** New connections a second, and handshakes in flight, of each entry. */
  readonly connectionRate: number;
  readonly maxPending: number;
  readonly handshakeTimeoutMs: number;
  readonly keepalive: { readonly intervalMs: number; readonly timeoutMs: number };
  /** Paths of PEM files; null without TLS. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly logLevel: LogLevel;
}
