import type { SocketLink } from '../link/socket-link.ts';
import { encodeHello, type Reply, ReplyReader } from '../protocol/handshake.ts';
import type { Clock } from '../support/clock.ts';
import { deferred } from '../support/deferred.ts';
import { Failure, systemCode } from '../support/failures.ts';

export interface Identity {
  deviceKey: string;
  /** A secret. */
  token: string;
}

export interface HandshakeOptions {
  timeoutMs: number;
  clock: Clock;
  /** Ends the attempt; the promise then rejects with the signal's reason. */
  signal: AbortSignal;
}

export interface Accepted {
  /** The key under which the proxy knows this device, where it says so. */
  peerDeviceKey: string | null;
  v1: boolean;
  /** Frames that came with the reply (protocol/README 1.4). What follows them is held by the link. */
  rest: Buffer;
}

/**
 * Says who we are and reads the answer (protocol/README 1.2 to 1.6). The link is the caller's, to use or to destroy.
 *
 * @throws Failure `proxy.handshake-closed`, `proxy.handshake-silent`, `proxy.handshake-refused`, `proxy.tls-required`
 * or `proxy.not-protocol`
 */
export async function shakeHands(link: SocketLink, identity: Identity, options: HandshakeOptions): Promise<Accepted> {
  const { timeoutMs, clock, signal } = options;
  const { promise, resolve, reject } = deferred<Accepted>();
  const reader = new ReplyReader(identity.token);
  let receivedBytes = 0;

  const abort = () => reject(signal.reason as Error);
  signal.addEventListener('abort', abort);
  const cancelDeadline = clock.after(timeoutMs, () => reject(silent(receivedBytes, timeoutMs)));
  link.listen({
    drained: () => {},
    wrote: () => {},
    reading: () => {},
    ended: (error) => {
      const reply = reader.closed();
      reject(reply === null || reply.kind === 'accepted' ? closed(error) : refused(reply));
    },
  });
  link.deliverTo(({ bytes }) => {
    receivedBytes += bytes.length;
    const answer = reader.push(bytes);
    if (answer === null) return;
    link.hold();
    const { reply, rest } = answer;
    if (reply.kind === 'accepted') resolve({ peerDeviceKey: reply.deviceKey, v1: reply.v1, rest });
    else reject(refused(reply));
  });
  link.write([encodeHello(identity)]);
  try {
    signal.throwIfAborted();
    return await promise;
  } finally {
    cancelDeadline();
    signal.removeEventListener('abort', abort);
  }
}

function refused(reply: Exclude<Reply, { kind: 'accepted' }>): Failure {
  if (reply.kind === 'refused')
    return new Failure('proxy.handshake-refused', `the proxy refused this device: "${reply.reason}"`);
  return new Failure(reply.what === 'tls' ? 'proxy.tls-required' : 'proxy.not-protocol', reply.sentence);
}

function closed(error: Error | null): Failure {
  const how = systemCode(error) === 'ECONNRESET' ? ' (connection reset)' : '';
  return new Failure('proxy.handshake-closed', `the proxy closed before answering the handshake${how}`, {
    cause: error,
  });
}

function silent(receivedBytes: number, timeoutMs: number): Failure {
  const what = receivedBytes === 0 ? 'did not answer the handshake' : `sent ${receivedBytes} bytes, but no reply line,`;
  return new Failure('proxy.handshake-silent', `the proxy ${what} within ${timeoutMs / 1000} s`);
}
