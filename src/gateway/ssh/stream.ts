import type { Socket } from 'node:net';
import type { Channel } from 'ssh2';
import type { Uplink } from './uplink.ts';

/** Credit that every channel begins with; ssh2 knows no other. So much a stalled public client can keep here. */
const WINDOW_BYTES = 2 * 1024 * 1024;
/** What is left of it in the long run: more would only wait in front of a keystroke of another stream. */
const LASTING_WINDOW_BYTES = WINDOW_BYTES / 4;
/** Given back in portions of this size. */
const GRANT_BYTES = LASTING_WINDOW_BYTES / 4;

/** Pieces below this size that have to wait are put together: a queue of single bytes would hold 500 times its size. */
const SMALL_BYTES = 4 * 1024;
const GATHER_BYTES = 32 * 1024;

/**
 * A client that takes less in one packet makes us spend a packet on every few bytes, and one that takes nothing (0)
 * makes ssh2 run for ever. RFC 4253 section 6.1 wants 32,768 to be supported; OpenSSH and Dropbear say 32 and 24 KiB.
 */
const LEAST_PACKET_BYTES = 1024;

/** What ssh2 knows of its two directions of a channel; public properties without a type. */
interface Directions {
  readonly incoming: { window: number };
  readonly outgoing: { readonly id: number; readonly packetSize: number };
}

/** A public connection that is joined to a channel of the device: both ways, each with its own end. */
export class SshStream {
  readonly #channel: Channel & Directions;
  readonly #socket: Socket;
  readonly #uplink: Uplink;
  readonly #cut: (why: string) => void;
  #credit = WINDOW_BYTES;
  /** Below zero until as much of the first credit is used up as is not given back. */
  #owed = LASTING_WINDOW_BYTES - WINDOW_BYTES;
  #small: Buffer | null = null;
  #smallBytes = 0;
  /** The public client has sent all; the device has. */
  #clientEnded = false;
  #deviceEnded = false;

  /**
   * @param socket not read yet
   * @param cut the client broke the rules of SSH, and the stream was ended for it
   */
  constructor(options: { channel: Channel; socket: Socket; uplink: Uplink; cut: (why: string) => void }) {
    const { channel, socket, uplink, cut } = options;
    this.#channel = channel as Channel & Directions;
    this.#socket = socket;
    this.#uplink = uplink;
    this.#cut = cut;
    channel.on('error', () => this.abort());
    channel.on('data', (bytes: Buffer) => this.#fromDevice(bytes));
    channel.once('end', () => this.#deviceEnd());
    channel.once('close', () => socket.destroySoon());
    socket.on('data', (bytes: Buffer) => this.#fromClient(bytes));
    socket.once('end', () => {
      this.#clientEnded = true;
      this.#goOn();
    });
    socket.once('close', () => {
      this.#deviceEnded = true; // nobody takes what it may still send
      this.#goOn();
      if (!this.#clientEnded) channel.close();
    });

    // From here on the credit is ours to count: ssh2 gives it back before the bytes were taken.
    this.#channel.incoming.window = Number.MAX_SAFE_INTEGER;
    if (this.#channel.outgoing.packetSize < LEAST_PACKET_BYTES) this.#break('it takes packets of a few bytes only');
    else socket.resume();
  }

  /** Ends both sides now; what the device has sent in full still reaches the public client, if that takes it soon. */
  abort(): void {
    if (this.#deviceEnded) this.#socket.destroySoon();
    else this.#socket.resetAndDestroy();
    this.#channel.close();
  }

  #break(why: string): void {
    this.#cut(why);
    this.#socket.resetAndDestroy();
    this.#channel.close();
  }

  #fromClient(bytes: Buffer): void {
    this.#socket.pause();
    this.#uplink.send(this.#channel, bytes, () => this.#goOn());
  }

  /** Called when something may go on towards the device: reading, or the end of it. */
  readonly #goOn = (): void => {
    if (this.#channel.writableLength > 0) return; // credit is missing; the callback of the write comes here
    if (this.#uplink.busy) this.#uplink.whenFree(this.#goOn);
    else if (!this.#clientEnded) this.#socket.resume();
    else {
      this.#channel.eof();
      if (this.#deviceEnded) this.#channel.close();
    }
  };

  #fromDevice(bytes: Buffer): void {
    if (this.#socket.destroyed) return;
    this.#credit -= bytes.length;
    if (this.#credit < 0) {
      this.#break('it sends more than it was given credit for');
      return;
    }
    if (bytes.length < SMALL_BYTES && (this.#small !== null || this.#socket.writableLength > 0)) this.#gather(bytes);
    else {
      this.#flush();
      this.#write(bytes);
    }
  }

  #write(bytes: Buffer): void {
    this.#socket.write(bytes, () => this.#taken(bytes.length));
  }

  #gather(bytes: Buffer): void {
    if (this.#small !== null && this.#smallBytes + bytes.length > GATHER_BYTES) this.#flush();
    this.#small ??= Buffer.allocUnsafeSlow(GATHER_BYTES);
    this.#smallBytes += bytes.copy(this.#small, this.#smallBytes);
  }

  #flush(): void {
    if (this.#small === null) return;
    const bytes = this.#small.subarray(0, this.#smallBytes);
    this.#small = null;
    this.#smallBytes = 0;
    this.#write(bytes);
  }

  /** The kernel has these bytes: the device may send as many again. */
  #taken(bytes: number): void {
    if (this.#socket.destroyed) return;
    if (this.#socket.writableLength === 0) this.#flush();
    this.#owed += bytes;
    if (this.#owed < GRANT_BYTES || this.#deviceEnded) return;
    this.#uplink.grant(this.#channel.outgoing.id, this.#owed);
    this.#credit += this.#owed;
    this.#owed = 0;
  }

  #deviceEnd(): void {
    this.#deviceEnded = true;
    this.#flush();
    this.#socket.end();
    this.#goOn();
  }
}
