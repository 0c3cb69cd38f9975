import type { LogLevel } from '../support/log.ts';
import type { Secret } from './secret.ts';

/**
 * The configuration as the service uses it: every value checked, every time in milliseconds. What each value means,
 * and under which names it is set, is in the table of options.ts and in docs/options.md.
 */
export interface Config {
  readonly runDir: string;
  readonly stateDir: string;
  readonly logLevel: LogLevel;
  readonly transport: 'meeting' | 'none';
  readonly tunnel: { readonly port: number };
  readonly monitor: {
    readonly enabled: boolean;
    readonly intervalMs: number;
    readonly confirmMs: number;
    readonly count: 'local' | 'either';
    readonly netstat: string;
  };
  readonly pairing: {
    readonly policy: 'open';
    readonly timeoutMs: number;
    readonly remember: boolean;
    readonly authorizedKeysFile: string;
    /** The restriction in front of the installed key, or null for none. */
    readonly keyOptions: string | null;
    /** Lower case. */
    readonly allowedHosts: readonly string[];
  };
  readonly http: { readonly host: string; readonly port: number };
  /** Null when no tunnel is to be kept: transport `none`, or no identity. */
  readonly meeting: MeetingConfig | null;
  /** The allow-list of the tunnel: service name to local port. */
  readonly services: Readonly<Record<string, number>>;
  readonly reconnect: { readonly minMs: number; readonly maxMs: number };
  readonly handshakeTimeoutMs: number;
}

export interface MeetingConfig {
  readonly deviceKey: string;
  readonly token: Secret;
  readonly proxy: {
    readonly host: string;
    readonly port: number;
    readonly tls: boolean;
    /** Path of a PEM file, or null for the system's authorities. */
    readonly ca: string | null;
    /** SHA-256 of the server's SubjectPublicKeyInfo, 64 lower-case hex digits, or null for no pin. */
    readonly pin: string | null;
  };
}
