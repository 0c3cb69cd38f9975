import { endianness } from 'node:os';

/** Type and codes of `struct input_event` (Linux, include/uapi/linux/input-event-codes.h). */
const EV_SYN = 0;
const EV_KEY = 1;
const SYN_DROPPED = 3;

/** What a button did. Repeats of a held key and everything else are left out. */
export type ButtonEvent =
  | { readonly kind: 'pressed'; readonly key: number }
  | { readonly kind: 'released'; readonly key: number }
  /** The kernel's buffer ran over: a release may be among what was lost. */
  | { readonly kind: 'lost' };

/**
 * Bytes of a `struct input_event`: two words of the machine for the time, then type, code and value. A program of 32
 * bits has words of 32 bits, on a kernel of 64 bits and with a time of 64 bits, too.
 */
export const eventBytes = (arch: NodeJS.Architecture) => (/64|s390x/.test(arch) ? 24 : 16);

/** Reads events out of the bytes of an input device as they come, in pieces of any size. */
export class ButtonReader {
  readonly #bytes: number;
  readonly #bigEndian: boolean;
  #rest: Buffer = Buffer.alloc(0);

  constructor(bytes = eventBytes(process.arch), bigEndian = endianness() === 'BE') {
    this.#bytes = bytes;
    this.#bigEndian = bigEndian;
  }

  push(chunk: Buffer): ButtonEvent[] {
    const all = Buffer.concat([this.#rest, chunk]);
    const end = all.length - (all.length % this.#bytes);
    this.#rest = all.subarray(end);
    const events: ButtonEvent[] = [];
    for (let at = 0; at < end; at += this.#bytes) {
      const event = this.#read(all.subarray(at + this.#bytes - 8, at + this.#bytes));
      if (event !== null) events.push(event);
    }
    return events;
  }

  /** @param tail the last 8 bytes: type, code and value, which are the same for all machines */
  #read(tail: Buffer): ButtonEvent | null {
    const [type, key, value] = this.#bigEndian
      ? [tail.readUInt16BE(0), tail.readUInt16BE(2), tail.readInt32BE(4)]
      : [tail.readUInt16LE(0), tail.readUInt16LE(2), tail.readInt32LE(4)];
    if (type === EV_SYN && key === SYN_DROPPED) return { kind: 'lost' };
    if (type !== EV_KEY) return null;
    if (value === 1) return { kind: 'pressed', key };
    return value === 0 ? { kind: 'released', key } : null;
  }
}
