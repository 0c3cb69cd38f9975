import type { Clock } from '../support/clock.ts';
import type { Failure, FailureCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';

export interface Endpoint {
  host: string;
  port: number;
}

export type Forward =
  /** The gateway listens, on a port of its choice, and we connect to `target`: `-R 0:host:port`. */
  | { kind: 'remote'; target: Endpoint }
  /** We listen, and the server connects to `target`: `-L`. */
  | { kind: 'local'; listen: Endpoint; target: Endpoint };

export type HostKeys =
  /** `type base64`: no other key will do. */
  | { kind: 'pinned'; key: string }
  /**
   * The key of the first session is stored in this file (`type base64`, mode 0600), and demanded from then on. One file
   * a server: its name should hold the server's.
   */
  | { kind: 'first-use'; knownHostsFile: string };

export interface SshOptions {
  /** Name or absolute path of the ssh program. */
  program: string;
  host: string;
  port: number;
  /**
   * Stands in a file of mode 0600 alone, while ssh connects. Without `identityFile` it is what lets us in, a secret
   * then, and in no sentence.
   */
  user: string;
  /** Path of a private key without passphrase, or null for the authentication method `none`. */
  identityFile: string | null;
  hostKeys: HostKeys;
  forwards: readonly Forward[];
  /**
   * Where the files of the run go, made with mode 0700; a folder of this purpose alone, on a tmpfs where there is one.
   * One run at a time: an ssh that an earlier, killed process left running with this folder is ended first.
   */
  folder: string;
  /** For each address to be connected to, for the handshake up to the authentication, and for the forwards. */
  connectTimeoutMs: number;
  clock: Clock;
  /** Gets every line of ssh at level trace. */
  log: Log;
}

export interface SshSession {
  /** In the order of the options, each with the port that is listened on: the gateway's, or ours. */
  forwards: { forward: Forward; port: number }[];
  /** Connections through the forwards that are open now. */
  streams(): number;
}

export interface SshEvents {
  /** ssh itself has said that it is authenticated and that every forward stands. */
  up(session: SshSession): void;
  /** Something about one connection through a forward (`port` is that of its target), or about the stored host key. */
  note(code: FailureCode, sentence: string, port?: number): void;
  /** A connection through a remote forward has reached its target. */
  served?(port: number): void;
}

/** How a session that was up has ended. */
export interface SshEnd {
  heldMs: number;
  /** Null after our own stop. */
  failure: Failure | null;
  /** The reason that the server gave when it disconnected, in its own words; null where it gave none. */
  reason: string | null;
}
