import type { Secret } from '../../config/secret.ts';
import type { Clock } from '../../support/clock.ts';
import type { Log } from '../../support/log.ts';
import type { Operations } from '../operations.ts';

/** What the API is made of. */
export interface ApiParts {
  readonly operations: Operations;
  readonly adminToken: Secret;
  readonly version: string;
  /** Where devices reach the SSH entry, and people the API: in URLs, commands and files. */
  readonly publicHost: string;
  /** Where people reach the public ports of services. */
  readonly tunnelHost: string;
  readonly sshPort: number;
  /** Of the SSH entry, `type base64`. */
  readonly hostKey: string;
  /** Of this API, `https://gateway.example.org:9443`. */
  readonly baseUrl: string;
  /** The gateway is about to stop. */
  readonly draining: () => boolean;
  readonly metrics: { text(): Promise<string>; answered(route: string, status: number): void };
  readonly clock: Clock;
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly log: Log;
}
