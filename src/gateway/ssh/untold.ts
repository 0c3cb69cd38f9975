import type { Socket } from 'node:net';
import type { Connection } from 'ssh2';

/**
 * What ssh2 can do and offers no way to, each with what it is needed for. This file alone knows its inner names; a test
 * holds them against the installed version, which is pinned.
 */
interface Inner {
  readonly _sock: Socket;
  readonly _protocol: {
    ping(): void;
    channelWindowAdjust(channel: number, bytes: number): void;
    readonly _cipher: { encrypt(packet: Buffer): void };
    readonly _packetRW: {
      readonly write: {
        readonly allocStartKEX: number;
        alloc(bytes: number, evenInKeyExchange: true): Buffer;
        finalize(packet: Buffer, evenInKeyExchange: true): Buffer;
      };
    };
  };
}

const inner = (connection: Connection) => connection as unknown as Inner;

/** The socket of a connection, by which we know it again. */
export const socketOf = (connection: Connection): Socket => inner(connection)._sock;

/** Asks for a sign of life, `keepalive@openssh.com` (wire 5.5): ssh2 does so by itself only, at times of its own. */
export function ping(connection: Connection): void {
  inner(connection)._protocol.ping();
}

/** Gives the client credit for a channel. ssh2 gives more than it has room for, and does not see when it is overdrawn. */
export function grantWindow(connection: Connection, channel: number, bytes: number): void {
  inner(connection)._protocol.channelWindowAdjust(channel, bytes);
}

/** Codes of SSH_MSG_DISCONNECT (RFC 4253 section 11.1). */
export const DISCONNECT = { byApplication: 11, noMoreAuthMethods: 14 } as const;
const MESSAGE_DISCONNECT = 1;

/**
 * Says goodbye with a reason in words, which OpenSSH shows and our device reads; ssh2's own has the code alone. The
 * connection is to be ended by the caller.
 */
export function disconnect(connection: Connection, code: number, words: string): void {
  const text = Buffer.from(words);
  const length = 1 + 4 + 4 + text.length + 4;
  const { _cipher, _packetRW } = inner(connection)._protocol;
  // As a part of the key exchange: a goodbye may come at any time.
  const packet = _packetRW.write.alloc(length, true);
  const at = _packetRW.write.allocStartKEX;
  packet.fill(0, at, at + length);
  packet[at] = MESSAGE_DISCONNECT;
  packet.writeUInt32BE(code, at + 1);
  packet.writeUInt32BE(text.length, at + 5);
  text.copy(packet, at + 9);
  _cipher.encrypt(_packetRW.write.finalize(packet, true));
}
