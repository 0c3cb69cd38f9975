import { readFileSync } from 'node:fs';
import { isIPv4, isIPv6, type Socket } from 'node:net';
import { endianness } from 'node:os';
import type { Cancel, Clock } from '../support/clock.ts';

/** A TCP connection as the kernel's table names it. */
export interface Connection {
  localAddress: string;
  localPort: number;
  remoteAddress: string;
  remotePort: number;
}

/** What Linux knows of the bytes that the peer has not acknowledged. */
export interface Unacknowledged {
  /** Bytes written and not acknowledged, sent or not. */
  bytes: number;
  /** Tries without any answer: retransmissions of data, or probes of a closed window. 0 as soon as the peer answers. */
  tries: number;
}

/** The words of an address as /proc/net/tcp{,6} writes them: 32 bits each, in the machine's byte order. */
function addressWords(address: string): string {
  const bytes = isIPv4(address) ? Buffer.from(address.split('.').map(Number)) : ipv6Bytes(address);
  if (endianness() === 'LE') bytes.swap32();
  return bytes.toString('hex').toUpperCase();
}

function ipv6Bytes(address: string): Buffer {
  const words = (text = '') => text.split(':').filter((word) => word !== '');
  const [front, back] = address.replace(/%.*/, '').split('::').map(words);
  const zeros = 8 - (front?.length ?? 0) - (back?.length ?? 0);
  const all = [...(front ?? []), ...new Array<string>(zeros).fill('0'), ...(back ?? [])];
  return Buffer.from(all.map((word) => word.padStart(4, '0')).join(''), 'hex');
}

const endpoint = (address: string, port: number) =>
  `${addressWords(address)}:${port.toString(16).toUpperCase().padStart(4, '0')}`;

/**
 * Finds a connection in the text of /proc/net/tcp or /proc/net/tcp6 (Linux: Documentation/networking/proc_net_tcp.rst);
 * null when it is not there.
 */
export function findUnacknowledged(table: string, connection: Connection): Unacknowledged | null {
  const local = endpoint(connection.localAddress, connection.localPort);
  const remote = endpoint(connection.remoteAddress, connection.remotePort);
  const at = table.indexOf(` ${local} ${remote} `);
  if (at === -1) return null;
  const end = table.indexOf('\n', at);
  const [, , , queues = '', , retransmissions = '', , probes = ''] = table
    .slice(at, end === -1 ? undefined : end)
    .trim()
    .split(/\s+/);
  return {
    bytes: Number.parseInt(queues.slice(0, 8), 16),
    tries: Number.parseInt(retransmissions, 16) + Number(probes),
  };
}

/** The connection of a socket, or null while it has none. */
export function connectionOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): Connection | null {
  if (localAddress === undefined || remoteAddress === undefined) return null;
  if (localPort === undefined || remotePort === undefined) return null;
  return { localAddress, localPort, remoteAddress, remotePort };
}

/** The kernel's present view of a connection; null where it cannot tell (the connection is gone, or no Linux). */
export function readUnacknowledged(connection: Connection): Unacknowledged | null {
  try {
    const table = readFileSync(isIPv6(connection.localAddress) ? '/proc/net/tcp6' : '/proc/net/tcp', 'latin1');
    return findUnacknowledged(table, connection);
  } catch {
    return null;
  }
}

/** Between two looks. Nothing is looked at while nothing was written. */
const LOOK_MS = 5000;

/** So long without any answer to our tries, and the peer is dead: noticed within 30 s, of the 45 that wire 4 allows. */
const DEAD_MS = 20_000;

/** And at least so many tries: on a bad line an answer may take its time (the pause between two tries doubles). */
const DEAD_TRIES = 4;

/**
 * Notices that a peer no longer acknowledges what we wrote. TCP keepalive does not run while data is under way, and
 * the kernel itself goes on trying for a quarter of an hour.
 */
export class UnacknowledgedWatch {
  readonly #clock: Clock;
  readonly #read: () => Unacknowledged | null;
  readonly #dead: (forMs: number) => void;
  #cancel: Cancel | null = null;
  #stopped = false;
  #silentSinceMs: number | null = null;
  #tries = 0;

  /**
   * @param read the present state, as `readUnacknowledged`
   * @param dead called once, with the time for which the peer has not answered
   */
  constructor(clock: Clock, read: () => Unacknowledged | null, dead: (forMs: number) => void) {
    this.#clock = clock;
    this.#read = read;
    this.#dead = dead;
  }

  /** Something was written: look whether it arrives. */
  wrote(): void {
    if (this.#stopped || this.#cancel !== null) return;
    this.#cancel = this.#clock.after(LOOK_MS, () => this.#look());
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  #look(): void {
    this.#cancel = null;
    const state = this.#read();
    if (state === null || state.bytes === 0) {
      this.#silentSinceMs = null;
      return;
    }
    const nowMs = this.#clock.nowMs();
    // Fewer tries than at the last look: there was an answer in between, and the count began again.
    if (state.tries === 0 || state.tries < this.#tries) this.#silentSinceMs = null;
    else this.#silentSinceMs ??= nowMs;
    this.#tries = state.tries;
    const silentMs = this.#silentSinceMs === null ? 0 : nowMs - this.#silentSinceMs;
    if (silentMs >= DEAD_MS && state.tries >= DEAD_TRIES) {
      this.stop();
      this.#dead(silentMs);
    } else {
      this.wrote();
    }
  }
}
