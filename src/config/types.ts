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
  readonly transport: 'meeting' | 'ssh' | 'none';
  readonly tunnel: { readonly port: number };
  readonly monitor: {
    readonly enabled: boolean;
    readonly intervalMs: number;
    readonly confirmMs: number;
    readonly count: 'local' | 'either';
    readonly netstat: string;
  };
  readonly pairing: {
    readonly policy: 'open' | 'pin' | 'locked';
    readonly timeoutMs: number;
    readonly remember: boolean;
    readonly authorizedKeysFile: string;
    /** The restriction in front of the installed key, or null for none. */
    readonly keyOptions: string | null;
    /** Lower case. */
    readonly allowedHosts: readonly string[];
    readonly resetFile: string;
    /** Null for no button. */
    readonly resetButton: string | null;
  };
  readonly mdns: {
    readonly enabled: boolean;
    /** Null for the name that the board gives itself. */
    readonly model: string | null;
  };
  readonly http: { readonly host: string; readonly port: number };
  /** Null when no tunnel is to be kept: transport `none`, or no identity. */
  readonly meeting: MeetingConfig | null;
  /** Null with another transport than `ssh`, or without its identity. */
  readonly ssh: SshConfig | null;
  /** Null without a device key, a token and an address of the API. */
  readonly meetingApi: MeetingApiConfig | null;
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

/** The SSH gateway, and what it is to reach. */
export interface SshConfig {
  readonly host: string;
  readonly port: number;
  readonly token: Secret;
  /** `type base64`, or null where the first key seen is to be stored (`trustFirst`). */
  readonly hostKey: string | null;
  readonly trustFirst: boolean;
  /** Name to local port, in the order of the requests. */
  readonly forwards: Readonly<Record<string, number>>;
  readonly program: string;
}

export interface MeetingApiConfig {
  /** Without a slash at its end. */
  readonly url: string;
  readonly deviceKey: string;
  readonly token: Secret;
  /** Path of a PEM file, or null for the system's authorities. */
  readonly ca: string | null;
  readonly heartbeatMs: number;
  /** Null: none is published. */
  readonly publicKeyFile: string | null;
  /** Null: none is kept. */
  readonly knownHostsFile: string | null;
  readonly maintenanceKeysFiles: readonly string[];
}
