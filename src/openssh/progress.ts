import { Failure, type FailureCode } from '../support/failures.ts';
import { hostAndPort } from '../support/text.ts';
import type { LogEvent, Trouble } from './log-lines.ts';
import type { Endpoint, Forward } from './types.ts';

/** How far a run of ssh has come, told by its own lines. Begin with `START`. */
export interface Progress {
  readonly phase: 'connecting' | 'connected' | 'greeted' | 'authenticated' | 'up';
  /** The key that the server has shown. */
  readonly hostKey: { type: string; fingerprint: string } | null;
  readonly hostKeyRefused: boolean;
  /** Ports of the remote forwards that stand, in the order of the requests. */
  readonly remotePorts: readonly number[];
  readonly forwardRefused: boolean;
  readonly interactive: boolean;
  /** Why the last address for a local forward was not to be had. */
  readonly bindFailure: { port: number; why: string } | null;
  /** The first local forward that does not stand. */
  readonly localFailure: { port: number; why: string } | null;
  readonly identityFailure: string | null;
  readonly beforeBanner: string | null;
  /** The server's goodbye. */
  readonly reason: string | null;
  readonly trouble: { name: Trouble; sentence: string } | null;
  /** Channels of ssh that carry a connection. */
  readonly streams: ReadonlySet<number>;
}

export const START: Progress = {
  phase: 'connecting',
  hostKey: null,
  hostKeyRefused: false,
  remotePorts: [],
  forwardRefused: false,
  interactive: false,
  bindFailure: null,
  localFailure: null,
  identityFailure: null,
  beforeBanner: null,
  reason: null,
  trouble: null,
  streams: new Set(),
};

/** The progress after one more line. Pure. */
export function step(before: Progress, event: LogEvent, forwards: readonly Forward[]): Progress {
  const after = read(before, event);
  const remote = forwards.filter(({ kind }) => kind === 'remote').length;
  // Local forwards: with ExitOnForwardFailure ssh does not come as far as that when one of them failed.
  const stands = after.phase === 'authenticated' && after.interactive && after.remotePorts.length === remote;
  return stands && !after.forwardRefused ? { ...after, phase: 'up' } : after;
}

function read(before: Progress, event: LogEvent): Progress {
  switch (event.kind) {
    case 'connecting':
      return { ...before, phase: 'connecting' };
    case 'connected':
      return { ...before, phase: 'connected' };
    case 'before-banner':
      return { ...before, beforeBanner: event.text };
    case 'banner':
      return { ...before, phase: 'greeted' };
    case 'host-key':
      // A later one belongs to a change of the session's keys; ssh insists that it is the same.
      return { ...before, hostKey: before.hostKey ?? { type: event.type, fingerprint: event.fingerprint } };
    case 'host-key-refused':
      return { ...before, hostKeyRefused: true };
    case 'authenticated':
      // What was told before was the server's banner, for people.
      return { ...before, phase: 'authenticated', trouble: null };
    case 'interactive':
      return { ...before, interactive: true };
    case 'remote-forward':
      return before.phase === 'authenticated'
        ? { ...before, remotePorts: [...before.remotePorts, event.port] }
        : before;
    case 'remote-forward-refused':
      return { ...before, forwardRefused: true };
    case 'bind-failed':
      return { ...before, bindFailure: { port: event.port, why: event.why } };
    case 'local-forward-failed': {
      const { port } = event;
      const why = before.bindFailure?.port === port ? before.bindFailure.why : 'no address for it';
      return { ...before, localFailure: before.localFailure ?? { port, why } };
    }
    case 'identity-unusable':
      return { ...before, identityFailure: event.sentence };
    case 'disconnected':
      return { ...before, reason: event.reason };
    case 'stream-opened':
      return { ...before, streams: new Set([...before.streams, event.id]) };
    case 'stream-closed':
      return { ...before, streams: new Set([...before.streams].filter((id) => id !== event.id)) };
    case 'trouble': {
      // The first is the cause, and what ssh knows a word for says more than what it does not.
      const keep = before.trouble !== null && (before.trouble.name !== 'other' || event.trouble === 'other');
      return keep ? before : { ...before, trouble: { name: event.trouble, sentence: event.sentence } };
    }
    case 'target-reached':
    case 'target-failed':
    case 'nothing':
      return before;
  }
}

/** What the sentences of a failure name. */
export interface Context {
  host: string;
  port: number;
  identityFile: string | null;
  forwards: readonly Forward[];
  /** The fingerprint that is demanded; null where any key would have done. */
  expected: string | null;
}

const shown = ({ host, port }: Endpoint) => hostAndPort(host, port);

/** Why no session came about. Pure. @param how the end of the program itself, in words */
export function failureBeforeUp(progress: Progress, context: Context, how: string): Failure {
  const server = shown(context);
  const { hostKey, localFailure, trouble, reason, identityFailure, phase } = progress;
  if (progress.hostKeyRefused) {
    const offered = hostKey === null ? 'another' : `${hostKey.type} ${hostKey.fingerprint}`;
    return new Failure(
      'ssh.host-key-changed',
      `the host key of ${server} is ${offered}; expected is ${context.expected ?? 'none'}`,
    );
  }
  if (progress.forwardRefused) {
    const remote = context.forwards.filter(({ kind }) => kind === 'remote');
    const number = progress.remotePorts.length;
    const target = remote[number]?.target;
    const which = `${number + 1} of ${remote.length}${target === undefined ? '' : `, to ${shown(target)}`}`;
    return new Failure('ssh.forward-refused', `${server} refused remote forward ${which}`);
  }
  if (localFailure !== null && phase === 'authenticated') {
    return new Failure('ssh.local-port', `ssh cannot listen on port ${localFailure.port}: ${localFailure.why}`);
  }
  if (trouble?.name === 'auth-refused') {
    if (identityFailure !== null)
      return new Failure('ssh.identity-unusable', `ssh cannot use the key: ${identityFailure}`);
    const what = context.identityFile === null ? 'the token' : 'the key';
    const methods = /\((.+)\)/.exec(trouble.sentence)?.[1];
    const offers = methods === undefined ? '' : ` (it offers: ${methods})`;
    return new Failure('ssh.auth-refused', `${server} does not accept ${what}${offers}`);
  }
  if (reason !== null) return new Failure('ssh.closed', `${server} refused the session: ${reason}`);
  if (trouble === null) return new Failure('ssh.failed', `ssh made no session with ${server}: it ${how}`);
  const [code, words] = BEFORE_UP[trouble.name];
  const said = progress.beforeBanner === null ? '' : `; it said ${JSON.stringify(progress.beforeBanner)}`;
  return new Failure(code, `${server} ${words}: ${trouble.sentence}${said}`);
}

const BEFORE_UP: Record<Exclude<Trouble, 'auth-refused'>, [FailureCode, string]> = {
  dns: ['ssh.dns', 'is not known'],
  refused: ['ssh.refused', 'refused the connection'],
  unreachable: ['ssh.unreachable', 'cannot be reached'],
  timeout: ['ssh.timeout', 'did not accept the connection in time'],
  silent: ['ssh.silent', 'accepted the connection and says nothing'],
  'peer-dead': ['ssh.silent', 'stopped answering'],
  'not-ssh': ['ssh.not-ssh', 'speaks no SSH'],
  'no-common': ['ssh.no-common', 'and this ssh have no algorithm in common'],
  closed: ['ssh.closed', 'closed the connection before the session stood'],
  reset: ['ssh.closed', 'broke the connection before the session stood'],
  other: ['ssh.failed', 'was not reached, ssh says'],
};

/** What did not come in time. Pure. */
export function overdue({ phase, beforeBanner }: Progress, context: Context, seconds: number): Failure {
  const server = shown(context);
  const within = `within ${seconds} s`;
  switch (phase) {
    case 'connecting':
      return new Failure('ssh.timeout', `${server} did not accept the connection ${within}`);
    case 'connected':
      return beforeBanner === null
        ? new Failure('ssh.silent', `${server} accepted the connection and said nothing ${within}`)
        : new Failure('ssh.not-ssh', `${server} speaks no SSH: it said ${JSON.stringify(beforeBanner)}`);
    case 'greeted':
      return new Failure('ssh.silent', `${server} did not finish the handshake ${within}`);
    case 'authenticated':
    case 'up':
      return new Failure('ssh.silent', `${server} did not answer the requests for forwards ${within}`);
  }
}

/** Why a session that was up has ended. Pure. @param how the end of the program itself, in words */
export function failureAfterUp({ trouble, reason }: Progress, context: Context, how: string): Failure {
  const server = shown(context);
  if (reason !== null) return new Failure('session.closed', `${server} ended the session: ${reason}`);
  if (trouble?.name === 'peer-dead') {
    return new Failure('session.peer-dead', `${server} does not answer any more: ${trouble.sentence}`);
  }
  if (trouble?.name === 'reset') {
    return new Failure('session.reset', `the connection to ${server} broke: ${trouble.sentence}`);
  }
  if (trouble?.name === 'closed') return new Failure('session.closed', `${server} closed the connection`);
  return new Failure('session.closed', `ssh ${how}${trouble === null ? '' : `: ${trouble.sentence}`}`);
}
