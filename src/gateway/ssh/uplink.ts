import type { Socket } from 'node:net';
import type { Channel, Connection } from 'ssh2';
import { grantWindow, ping } from './untold.ts';

/** Above this no stream gives more: what waits in front of a keystroke of another is bounded by it. */
const MAX_QUEUED_BYTES = 128 * 1024;

/**
 * The way to an SSH client, shared by its streams. ssh2 writes whatever it is given, at once, and in three pieces a
 * packet; so the pieces of one turn of the event loop are sent together, and `busy` tells when to give no more.
 */
export class Uplink {
  readonly #connection: Connection;
  readonly #socket: Socket;
  readonly #waiting = new Set<() => void>();
  #exchangingKeys = false;
  #corked = false;

  constructor(connection: Connection, socket: Socket) {
    this.#connection = connection;
    this.#socket = socket;
    socket.prependListener('data', () => this.#gather());
    socket.on('drain', () => this.#free());
    connection.on('rekey', () => {
      this.#exchangingKeys = false;
      this.#free();
    });
  }

  get busy(): boolean {
    return this.#exchangingKeys || this.#socket.writableLength > MAX_QUEUED_BYTES;
  }

  /** Calls `ready` once, when it is no longer busy; it may be again by then. */
  whenFree(ready: () => void): void {
    this.#waiting.add(ready);
  }

  /** Sends as much as the client gave credit for; the rest follows by itself, then `done` is called. */
  send(channel: Channel, bytes: Buffer, done: () => void): void {
    this.#gather();
    const before = this.#socket.writableLength;
    channel.write(bytes, done);
    // While keys are exchanged ssh2 keeps all packets back, without a bound: a client could take its time with it.
    if (channel.writableLength === 0 && this.#socket.writableLength === before) this.#exchangingKeys = true;
  }

  grant(channel: number, bytes: number): void {
    this.#gather();
    grantWindow(this.#connection, channel, bytes);
  }

  ping(): void {
    this.#gather();
    ping(this.#connection);
  }

  #gather(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
    process.nextTick(() => {
      this.#corked = false;
      this.#socket.uncork();
    });
  }

  #free(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const ready of waiting) ready();
  }
}
