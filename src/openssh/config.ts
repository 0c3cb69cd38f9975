import { Failure } from '../support/failures.ts';
import type { Endpoint, Forward } from './types.ts';

/** The name under which the server's key stands in our known_hosts: no address, so that none has to be quoted there. */
export const HOST_KEY_ALIAS = 'zeroforce';

/** A peer that is gone is noticed after 20 to 30 s: the gateway's own limit is 45 s, the promise 60 s (wire 5.5). */
const ALIVE = { intervalSeconds: 10, unanswered: 2 };

export interface RenderOptions {
  host: string;
  port: number;
  user: string;
  identityFile: string | null;
  knownHosts: string;
  /** Takes whatever key the server has, and writes it into `knownHosts`, which is to be empty then. */
  acceptNew: boolean;
  forwards: readonly Forward[];
  connectTimeoutMs: number;
}

/**
 * The whole configuration of one run of ssh. Nothing else is read: `-F` keeps the configurations of the user and the
 * system out, so only what differs from the defaults of the program stands here.
 *
 * @throws Failure `ssh.unusable-value` for a value that could mean something else to ssh
 */
export function renderConfig(options: RenderOptions): string {
  const { identityFile } = options;
  const lines = [
    'Host *',
    `HostName ${word('host', options.host, HOST)}`,
    `Port ${options.port}`,
    `User ${word('user', options.user, USER)}`,
    'LogLevel DEBUG1', // where it says what became of the forwards
    'BatchMode yes',
    'RequestTTY no',
    'EscapeChar none',
    `ConnectTimeout ${Math.max(1, Math.ceil(options.connectTimeoutMs / 1000))}`,
    `ServerAliveInterval ${ALIVE.intervalSeconds}`,
    `ServerAliveCountMax ${ALIVE.unanswered}`,
    'ExitOnForwardFailure yes',
    `HostKeyAlias ${HOST_KEY_ALIAS}`,
    `StrictHostKeyChecking ${options.acceptNew ? 'accept-new' : 'yes'}`,
    `UserKnownHostsFile ${path(options.knownHosts)}`,
    'GlobalKnownHostsFile /dev/null',
    'CheckHostIP no',
    'HashKnownHosts no',
    'UpdateHostKeys no',
    'IdentitiesOnly yes',
    'IdentityAgent none',
    `IdentityFile ${identityFile === null ? 'none' : path(identityFile)}`,
    `PreferredAuthentications ${identityFile === null ? 'none' : 'publickey'}`,
    'ControlMaster no',
    'ControlPath none',
    ...options.forwards.map(forwardLine),
  ];
  return `${lines.join('\n')}\n`;
}

function forwardLine(forward: Forward): string {
  const target = endpoint(forward.target);
  // Without an address to listen on: the request then says "localhost", and port 0 leaves the choice to the gateway.
  return forward.kind === 'remote' ? `RemoteForward 0 ${target}` : `LocalForward ${endpoint(forward.listen)} ${target}`;
}

const endpoint = ({ host, port }: Endpoint) => `[${word('host of a forward', host, HOST)}]:${port}`;

/** A name or an address; the zone of a link-local one may stand behind a percent sign. */
const HOST = /^[A-Za-z0-9_:][A-Za-z0-9._:-]*(?:%[A-Za-z0-9._-]+)?$/;
const USER = /^[A-Za-z0-9_][A-Za-z0-9._@+-]*$/;
const LONGEST = 253;

/** The value is not repeated: it may be the secret. A percent sign begins a token in ssh, two stand for one. */
function word(what: string, value: string, pattern: RegExp): string {
  if (value.length > LONGEST || !pattern.test(value)) {
    throw new Failure(
      'ssh.unusable-value',
      `the ${what} cannot be given to ssh: it has characters that ssh may misread`,
    );
  }
  return value.replaceAll('%', '%%');
}

/** Blanks are quoted and percent signs doubled; for what else has a meaning, ssh has no quoting in every version. */
function path(value: string): string {
  if (!value.startsWith('/') || /["\\$\u0000-\u001f\u007f]/.test(value)) {
    throw new Failure(
      'ssh.unusable-value',
      `ssh cannot be given the path ${JSON.stringify(value)}: it must be absolute, without quotes, backslashes and dollar signs`,
    );
  }
  return `"${value.replaceAll('%', '%%')}"`;
}
