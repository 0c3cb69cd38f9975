import type { Socket } from 'node:net';
import { type SecureContext, TLSSocket, type TLSSocketOptions } from 'node:tls';
import { adopt } from '../../link/adopt.ts';
import { type BufferPool, PooledReader } from '../../link/buffer-pool.ts';
import { SocketLink } from '../../link/socket-link.ts';
import type { Clock } from '../../support/clock.ts';
import { deferred } from '../../support/deferred.ts';
import type { EntryHost, Place } from '../entry.ts';
import { plainAddress } from '../source.ts';
import type { Device } from '../types.ts';
import { Farewells } from './farewells.ts';
import { encodeAccepted, encodeRefused, type FirstLine, HelloReader, isTls } from './hello.ts';

export interface ReceptionOptions {
  readonly tls: 'off' | 'optional' | 'required';
  /** For the wait for admission, and again for TLS and the first line together. */
  readonly handshakeTimeoutMs: number;
  readonly entryHost: EntryHost;
  readonly pool: BufferPool;
  /** Null where no TLS is spoken. */
  readonly secureContext: () => SecureContext | null;
  readonly clock: Clock;
  readonly arrived: (arrived: Arrived) => void;
}

/** An agent that was accepted, and has been told so. */
export interface Arrived {
  readonly link: SocketLink;
  /** Frames that came with the hello. */
  readonly rest: Buffer;
  readonly device: Device;
  readonly address: string;
}

const BUSY = 'the gateway is busy, try again later';
/** A fatal alert `access_denied` (RFC 8446, section 6): to a TLS client our JSON would look like a plain port. */
const TLS_REFUSAL = Buffer.from([0x15, 3, 3, 0, 2, 2, 49]);

/** Takes connections from their accepting to the authenticated agent, or to the refusal. */
export class Reception {
  readonly #options: ReceptionOptions;
  readonly #farewells: Farewells;
  readonly #visitors = new Set<Socket>();

  constructor(options: ReceptionOptions) {
    this.#options = options;
    this.#farewells = new Farewells(options.clock);
  }

  /** Connections that are not authenticated yet. */
  get size(): number {
    return this.#visitors.size;
  }

  stop(): void {
    this.#farewells.stop();
    for (const socket of [...this.#visitors]) socket.destroy();
  }

  /** @param socket just accepted, paused, nothing read */
  async receive(socket: Socket): Promise<void> {
    const { remoteAddress } = socket;
    socket.on('error', () => {}); // whoever owns the socket at that moment listens too
    if (remoteAddress === undefined) {
      socket.destroy(); // gone already
      return;
    }
    const address = plainAddress(remoteAddress);
    const gone = new AbortController();
    const closed = () => {
      this.#visitors.delete(socket);
      gone.abort();
    };
    this.#visitors.add(socket);
    socket.once('close', closed);
    const place = await this.#admit(socket, address, gone);
    try {
      if (place !== null) await this.#shakeHands(socket, address, place);
    } finally {
      place?.leave();
      if (!this.#visitors.has(socket)) socket.off('close', closed);
    }
  }

  /** A place, or null where the connection was ended. */
  async #admit(socket: Socket, address: string, gone: AbortController): Promise<Place | null> {
    const { clock, entryHost, handshakeTimeoutMs } = this.#options;
    // No agent waits longer itself, and a socket that is not read does not tell that its peer has gone.
    const cancel = clock.after(handshakeTimeoutMs, () => {
      gone.abort();
      void this.#turnAway(socket);
    });
    const place = await entryHost.admit('agent', address, gone.signal);
    cancel();
    if (!gone.signal.aborted) {
      if (place === null) void this.#turnAway(socket);
      return place;
    }
    place?.leave();
    return null;
  }

  /** Answers a connection that gets no place. */
  async #turnAway(socket: Socket): Promise<void> {
    this.#visitors.delete(socket);
    if (!this.#farewells.admit(socket)) return;
    const first = this.#options.tls === 'off' ? null : await peek(socket);
    if (!socket.destroyed) this.#farewells.say(this.#plain(socket), isTls(first) ? TLS_REFUSAL : encodeRefused(BUSY));
  }

  async #shakeHands(socket: Socket, address: string, place: Place): Promise<void> {
    const { entryHost, arrived } = this.#options;
    const { link, line } = await this.#firstLine(socket);
    if (line === null) return; // closed without a word
    if ('none' in line) {
      entryHost.rejected('agent', address, line.none.reason);
      this.#refuse(socket, link, line.none.reason);
      return;
    }
    const { deviceKey, token } = line.hello;
    const answer = await entryHost.authenticateAgent({ deviceKey, token, address });
    place.leave();
    if (socket.destroyed) return;
    if ('refusal' in answer) {
      this.#refuse(socket, link, answer.refusal.reason);
      return;
    }
    this.#visitors.delete(socket);
    link.write([encodeAccepted(answer.device.key)]);
    arrived({ link, rest: line.rest, device: answer.device, address });
  }

  #refuse(socket: Socket, link: SocketLink, reason: string): void {
    this.#visitors.delete(socket);
    if (this.#farewells.admit(socket)) this.#farewells.say(link, encodeRefused(reason));
  }

  /** TLS where it is spoken, then the first line; null where the peer closed without a word. */
  async #firstLine(socket: Socket): Promise<{ link: SocketLink; line: FirstLine | null }> {
    const { clock, handshakeTimeoutMs, tls } = this.#options;
    const late = deferred<FirstLine>();
    const cancel = clock.after(handshakeTimeoutMs, () =>
      late.resolve(none(`no complete first line within ${handshakeTimeoutMs / 1000} s`)),
    );
    try {
      const first = tls === 'off' ? null : await Promise.race([peek(socket), late.promise]);
      const context = isTls(first) ? this.#options.secureContext() : null;
      const link = context === null ? this.#plain(socket) : this.#secure(socket, context);
      if (tls === 'required' && context === null && typeof first === 'number')
        return { link, line: none('TLS is required on this port') };
      const line = await Promise.race([readLine(link), late.promise]);
      link.hold();
      return { link, line: line ?? (context === null ? null : none('TLS came to no end')) };
    } finally {
      cancel();
    }
  }

  #plain(socket: Socket): SocketLink {
    return new SocketLink(adopt(socket, this.#options.pool));
  }

  /** What was read of the greeting stands in the socket's buffer, where TLS takes it from. */
  #secure(raw: Socket, secureContext: SecureContext): SocketLink {
    const reader = new PooledReader(this.#options.pool);
    const options = { isServer: true, secureContext, onread: reader.onread };
    const socket = new TLSSocket(raw, options as TLSSocketOptions);
    if (reader.inUse) reader.attach(socket);
    else reader.attachEvents(socket);
    return new SocketLink({ socket, reader });
  }
}

const none = (reason: string): FirstLine => ({ none: { what: 'other', reason } });

/** The first byte of a socket that was not read yet, which stays to be read; null where it ends before. */
function peek(socket: Socket): Promise<number | null> {
  return new Promise((resolve) => {
    const look = () => {
      const bytes = socket.read() as Buffer | null;
      if (bytes === null) return;
      done(bytes[0] ?? null);
      socket.unshift(bytes);
    };
    const end = () => done(null);
    const done = (first: number | null) => {
      socket.off('readable', look).off('end', end).off('close', end);
      resolve(first);
    };
    socket.on('readable', look).on('end', end).on('close', end);
  });
}

/** Null where the peer closed before a byte. */
async function readLine(link: SocketLink): Promise<FirstLine | null> {
  const { promise, resolve } = deferred<FirstLine | null>();
  const reader = new HelloReader();
  link.listen({
    drained: () => {},
    wrote: () => {},
    reading: () => {},
    ended: () => resolve(reader.length === 0 ? null : none('closed in the middle of the first line')),
  });
  link.deliverTo(({ bytes }) => {
    const line = reader.push(bytes);
    if (line === null) return;
    link.hold();
    resolve(line);
  });
  return promise;
}
