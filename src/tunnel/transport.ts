import { Failure, type FailureCode } from '../support/failures.ts';
import type { Ending } from './reconnect.ts';

/** One way to reach this device from outside: through the Meeting proxy, or through an SSH gateway. */
export interface Transport {
  name: 'meeting' | 'ssh';
  /** The other end, for the status. */
  peer: { host: string; port: number; tls: boolean };
  /** What must appear in no log and no status, whoever says it; '' for nothing. */
  secret: string;
  /**
   * One session, from the first step to the end of its last. Never called while another one runs.
   *
   * @param stop ends the session in order when aborted, within seconds
   * @throws Failure where no session came about
   */
  connect(events: SessionEvents, stop: AbortSignal): Promise<SessionEnd>;
  /** Ends what outlives a session, once the last is over. */
  close(): Promise<void>;
}

/** A session that stands. */
export interface UpSession {
  protocol: 'v1' | 'legacy' | 'ssh';
  /** The key under which the proxy knows this device, where it said so. */
  peerDeviceKey: string | null;
  /** Streams that are open now. */
  streams(): number;
  /** The services that the other end listens for, where the session says so. */
  forwards: readonly ForwardStatus[];
}

export interface ForwardStatus {
  name: string;
  localPort: number;
  /** Where the gateway listens for it. */
  remotePort: number;
}

export interface SessionEvents {
  /** The other end has accepted us. */
  up(session: UpSession): void;
  /** Something about one stream. @param port of the local service, where that failed */
  note(code: FailureCode, sentence: string, port?: number): void;
  /** A local service has answered a stream. */
  served(port: number): void;
}

/** How a session that was up has ended. */
export interface SessionEnd {
  ending: Exclude<Ending, { kind: 'failed' }>;
  /** Null after our own stop. */
  failure: Failure | null;
}

/** Reason that a session is given which made room for a newer one with the same key (protocol/README 4.8, wire 5.11). */
const REPLACED = 'session_replaced';

/** Whether the other end says that another device, or an older session of ours, took its place. */
export const saysReplaced = (words: string): boolean => words.includes(REPLACED);

/** What an operator did, in the words of our gateway (protocol/README 4.8, docs/gateway-ssh.md); other proxies use some. */
const BY_OPERATOR: readonly (readonly [RegExp, FailureCode])[] = [
  [/\bpaused_by_operator\b|\bdevice is paused\b/, 'operator.paused'],
  [/\bnot authori[sz]ed\b/i, 'operator.not-authorized'],
  [/\btoken_rotated\b/, 'operator.token-rotated'],
  [/\boperator_disconnect\b/, 'operator.disconnected'],
];
/** The failures whose sentences hold words of the other end. */
const ITS_WORDS: ReadonlySet<FailureCode> = new Set<FailureCode>([
  'proxy.handshake-refused',
  'ssh.closed',
  'session.closed',
  'session.going-away',
]);

/** A failure by the name of what an operator did, where the other end says so: then no setting of ours is at fault. */
export function namedByOperator(failure: Failure): Failure {
  const found = ITS_WORDS.has(failure.code) ? BY_OPERATOR.find(([words]) => words.test(failure.message)) : undefined;
  return found === undefined ? failure : new Failure(found[1], failure.message, { cause: failure });
}

/** The session, with its failure named so. */
export async function named(session: Promise<SessionEnd>): Promise<SessionEnd> {
  try {
    const { ending, failure } = await session;
    return { ending, failure: failure && namedByOperator(failure) };
  } catch (error) {
    throw error instanceof Failure ? namedByOperator(error) : error;
  }
}
