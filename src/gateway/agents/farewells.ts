import type { Socket } from 'node:net';
import type { SocketLink } from '../../link/socket-link.ts';
import type { Clock } from '../../support/clock.ts';

/** Refused connections that may stay for a moment; further ones are cut at once, so that a flood holds nothing. */
const AT_ONCE_MAX = 256;
/** How long a refused peer has to read its answer and to close. */
const STAY_MS = 2_000;
/** What it may still send meanwhile. */
const DISCARDED_MAX_BYTES = 16 * 1024 * 1024;

/**
 * Gives refused peers their answer. To close while they still send would reset the connection, and with it an answer
 * that they have not read: so our direction ends, theirs is read and thrown away, within bounds.
 */
export class Farewells {
  readonly #clock: Clock;
  readonly #staying = new Set<Socket>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Lets a refused connection stay for its answer, or cuts it: then false. */
  admit(socket: Socket): boolean {
    if (socket.destroyed || this.#staying.size >= AT_ONCE_MAX) {
      socket.destroy();
      return false;
    }
    const cancel = this.#clock.after(STAY_MS, () => socket.destroy());
    this.#staying.add(socket);
    socket.once('close', () => {
      cancel();
      this.#staying.delete(socket);
    });
    return true;
  }

  say(link: SocketLink, answer: Buffer): void {
    let discarded = 0;
    link.write([answer]);
    link.end();
    link.deliverTo(({ bytes }) => {
      discarded += bytes.length;
      if (discarded > DISCARDED_MAX_BYTES) link.destroy();
    });
  }

  stop(): void {
    for (const socket of [...this.#staying]) socket.destroy();
  }
}
