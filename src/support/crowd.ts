import type { Socket } from 'node:net';

/**
 * The open connections of a listener, at most `max`. One more pushes out the oldest of the source that has the most:
 * whoever holds many keeps nobody else out, and who has the only one of its source is the last to go.
 */
export class Crowd {
  readonly #max: number;
  /** The oldest first, with the address that each came from: a closed one has none any more. */
  readonly #sources = new Map<Socket, string>();

  constructor(max: number) {
    this.#max = max;
  }

  admit(socket: Socket): void {
    this.#sources.set(socket, socket.remoteAddress ?? '');
    socket.once('close', () => this.#sources.delete(socket));
    if (this.#sources.size > this.#max) this.#pushOut();
  }

  #pushOut(): void {
    const counts = new Map<string, number>();
    for (const source of this.#sources.values()) counts.set(source, (counts.get(source) ?? 0) + 1);
    const most = Math.max(...counts.values());
    for (const [socket, source] of this.#sources) {
      if (counts.get(source) !== most) continue;
      this.#sources.delete(socket);
      socket.destroy();
      return;
    }
  }
}
