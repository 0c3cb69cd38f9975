import { type BufferPool, ownedLease } from '../link/buffer-pool.ts';
import { PausedWatch } from '../link/paused-watch.ts';
import { SocketLink } from '../link/socket-link.ts';
import { connectionOf, readTcpState } from '../link/tcp-table.ts';
import { UnacknowledgedWatch } from '../link/unacknowledged-watch.ts';
import type { OpenLocal } from '../protocol/endpoints.ts';
import { DEVICE_LIMITS } from '../protocol/limits.ts';
import { Mux } from '../protocol/mux.ts';
import type { Clock } from '../support/clock.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { dial, type ProxyAddress } from './dialer.ts';
import { type Accepted, type Identity, shakeHands } from './handshake.ts';
import { type SessionEnd, type SessionEvents, saysReplaced } from './transport.ts';

export interface SessionOptions {
  proxy: ProxyAddress;
  identity: Identity;
  /** For the connection with its TLS, and again for the proxy's answer. */
  handshakeTimeoutMs: number;
  openLocal: OpenLocal;
  pool: BufferPool;
  clock: Clock;
}

/**
 * One connection to the proxy, from its dialling to its end: dial, shake hands, carry streams. When the promise
 * settles the connection is closed; local ends may still be taking what came for them.
 *
 * @param stop ends the session in order when aborted, within seconds
 * @throws Failure where no session came about (see `dial` and `shakeHands`)
 */
export async function runSession(
  options: SessionOptions,
  events: SessionEvents,
  stop: AbortSignal,
): Promise<SessionEnd> {
  const limits = { clock: options.clock, timeoutMs: options.handshakeTimeoutMs, signal: stop };
  const link = new SocketLink(await dial(options.proxy, { ...limits, pool: options.pool }));
  try {
    const accepted = await shakeHands(link, options.identity, limits);
    return await carry(link, accepted, options, events, stop);
  } finally {
    link.destroy();
  }
}

/** Carries streams until the end. */
function carry(
  link: SocketLink,
  accepted: Accepted,
  options: SessionOptions,
  events: SessionEvents,
  stop: AbortSignal,
): Promise<SessionEnd> {
  const { clock, openLocal } = options;
  const upAtMs = clock.nowMs();
  let failure: Failure | null = null;
  let announced: { minMs: number; maxMs: number; text: string; atMs: number } | null = null;

  const mux = new Mux({
    role: 'agent',
    v1: accepted.v1,
    link,
    clock,
    limits: DEVICE_LIMITS,
    openLocal,
    events: {
      ended: (why) => {
        failure ??= why;
      },
      goingAway: (minMs, maxMs, text) => {
        announced = { minMs, maxMs, text, atMs: clock.nowMs() };
      },
      note: events.note,
    },
  });
  // v1 has pings; a legacy peer that is gone is found by what it leaves unacknowledged, or by keepalive when idle.
  const watch = accepted.v1
    ? null
    : watchUnacknowledged(link, clock, (dead) => {
        failure = dead;
        link.destroy();
      });
  const paused = watchPaused(link, clock, (gone) => {
    failure ??= gone;
    link.destroy();
  });
  const close = () => mux.close('shutdown');

  return new Promise((resolve) => {
    link.listen({
      drained: () => mux.drained(),
      wrote: () => watch?.wrote(),
      reading: (on) => paused?.reading(on),
      ended: (error) => {
        watch?.stop();
        paused?.stop();
        failure ??= unanswered(error);
        stop.removeEventListener('abort', close);
        mux.linkEnded(error);
        const nowMs = clock.nowMs();
        const goingAway = announced === null ? null : { ...announced, agoMs: nowMs - announced.atMs };
        resolve({ ending: endingOf(nowMs - upAtMs, goingAway), failure });
      },
    });
    events.up({
      protocol: accepted.v1 ? 'v1' : 'legacy',
      peerDeviceKey: accepted.peerDeviceKey,
      streams: () => mux.stats().streams,
      forwards: [],
    });
    stop.addEventListener('abort', close);
    if (stop.aborted) close();
    if (accepted.rest.length > 0) mux.receive(ownedLease(accepted.rest));
    link.deliverTo((lease) => mux.receive(lease));
  });
}

/** @param announced what the proxy had said of its going away, and how long before the end */
function endingOf(
  heldMs: number,
  announced: { minMs: number; maxMs: number; text: string; agoMs: number } | null,
): SessionEnd['ending'] {
  if (announced === null) return { kind: 'lost', heldMs };
  const { text, ...range } = announced;
  return saysReplaced(text) ? { kind: 'replaced', heldMs } : { kind: 'going-away', heldMs, ...range };
}

function watchUnacknowledged(link: SocketLink, clock: Clock, dead: (failure: Failure) => void): UnacknowledgedWatch {
  const connection = connectionOf(link.socket);
  const read = () => (connection === null ? null : readTcpState(connection));
  return new UnacknowledgedWatch(clock, read, (forMs) => {
    const seconds = Math.round(forMs / 1000);
    dead(new Failure('session.peer-dead', `the proxy has acknowledged nothing for ${seconds} s`));
  });
}

/** Null where the table of connections cannot be read: there no absence tells anything. */
function watchPaused(link: SocketLink, clock: Clock, gone: (failure: Failure) => void): PausedWatch | null {
  const connection = connectionOf(link.socket);
  if (connection === null || readTcpState(connection) === null) return null;
  return new PausedWatch(
    clock,
    () => readTcpState(connection),
    () => gone(new Failure('session.closed', 'the proxy closed the connection while slow services held it up')),
  );
}

/** What the kernel says when keepalive got no answer: idle peers of either protocol may be found dead by it. */
function unanswered(error: Error | null): Failure | null {
  const code = systemCode(error);
  if (code !== 'ETIMEDOUT' && code !== 'EHOSTUNREACH') return null;
  return new Failure('session.peer-dead', `the proxy does not answer any more: ${code}`, { cause: error });
}
