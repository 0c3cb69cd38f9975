import { readFileSync } from 'node:fs';
import { isIPv4, type Socket } from 'node:net';
import { endianness } from 'node:os';
import type { Clock } from '../support/clock.ts';

/** A TCP connection, by its two addresses. */
export interface Connection {
  localAddress: string;
  localPort: number;
  remoteAddress: string;
  remotePort: number;
}

/** What Linux tells of one end of a connection. */
export interface TcpState {
  /** Bytes written that the other end has not acknowledged, sent or not. */
  unacknowledgedBytes: number;
  /** Bytes received that the program has not read. */
  unreadBytes: number;
  /** Tries without any answer: retransmissions, or probes of a closed window. 0 as soon as the other end answers. */
  tries: number;
  /** The other end sends no more; what it sent before may still be unread. */
  peerClosed: boolean;
}

/** As the table numbers the states of a connection (Linux, include/net/tcp_states.h). */
const CLOSE_WAIT = '08';

/** The connection of a socket, or null while it has none. */
export function connectionOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): Connection | null {
  if (localAddress === undefined || remoteAddress === undefined) return null;
  if (localPort === undefined || remotePort === undefined) return null;
  return { localAddress, localPort, remoteAddress, remotePort };
}

/** Our end of a connection as the kernel sees it now; null where it cannot tell (it is gone, or this is no Linux). */
export function readTcpState(connection: Connection, read = readTable): TcpState | null {
  return findTcpState(read(isIPv4(connection.localAddress) ? 'tcp' : 'tcp6'), connection);
}

/** The other end of a connection within this machine. */
export function readPeerState(connection: Connection, read = readTable): TcpState | null {
  const peer = {
    localAddress: connection.remoteAddress,
    localPort: connection.remotePort,
    remoteAddress: connection.localAddress,
    remotePort: connection.localPort,
  };
  // A program that listens on :: has its IPv4 connections in the table of IPv6, whatever the other end has.
  const otherwise = {
    ...peer,
    localAddress: otherWriting(peer.localAddress),
    remoteAddress: otherWriting(peer.remoteAddress),
  };
  return readTcpState(peer, read) ?? readTcpState(otherwise, read);
}

/** Gives the text of one of the two tables, '' where there is none. */
export type ReadTable = (name: 'tcp' | 'tcp6') => string;

export const readTable: ReadTable = (name) => {
  try {
    return readFileSync(`/proc/net/${name}`, 'latin1');
  } catch {
    return '';
  }
};

/** The same at most once in `maxAgeMs`: with thousands of connections a reading takes milliseconds. */
export function cachedTables(clock: Clock, maxAgeMs: number, read = readTable): ReadTable {
  const kept = new Map<string, { atMs: number; text: string }>();
  return (name) => {
    const nowMs = clock.nowMs();
    const last = kept.get(name);
    if (last !== undefined && nowMs - last.atMs < maxAgeMs) return last.text;
    const text = read(name);
    kept.set(name, { atMs: nowMs, text });
    return text;
  };
}

/** Finds a connection in the text of /proc/net/tcp{,6} (Linux, Documentation/networking/proc_net_tcp.rst). */
export function findTcpState(table: string, connection: Connection): TcpState | null {
  const local = endpoint(connection.localAddress, connection.localPort);
  const remote = endpoint(connection.remoteAddress, connection.remotePort);
  const at = table.indexOf(` ${local} ${remote} `);
  if (at === -1) return null;
  const end = table.indexOf('\n', at);
  const fields = table
    .slice(at, end === -1 ? undefined : end)
    .trim()
    .split(/\s+/);
  const [, , status, queues = '', , retransmissions = '', , probes = ''] = fields;
  return {
    unacknowledgedBytes: Number.parseInt(queues.slice(0, 8), 16),
    unreadBytes: Number.parseInt(queues.slice(9), 16),
    tries: Number.parseInt(retransmissions, 16) + Number(probes),
    peerClosed: status === CLOSE_WAIT,
  };
}

function endpoint(address: string, port: number): string {
  const bytes = isIPv4(address) ? ipv4Bytes(address) : ipv6Bytes(address);
  if (endianness() === 'LE') bytes.swap32(); // the kernel prints words of 32 bits as numbers
  return `${bytes.toString('hex')}:${port.toString(16).padStart(4, '0')}`.toUpperCase();
}

const ipv4Bytes = (address: string) => Buffer.from(address.split('.').map(Number));

function ipv6Bytes(address: string): Buffer {
  const hex = address.replace(/%.*/, '').replace(/(?:\d+\.){3}\d+$/, hexWords);
  const words = (text = '') => text.split(':').filter((word) => word !== '');
  const [front = [], back = []] = hex.split('::').map(words);
  const zeros = new Array<string>(8 - front.length - back.length).fill('0');
  const all = [...front, ...zeros, ...back];
  return Buffer.from(all.map((word) => word.padStart(4, '0')).join(''), 'hex');
}

/** `7f00:1` of `127.0.0.1`, as the end of an IPv6 address. */
const hexWords = (ipv4: string) =>
  ipv4Bytes(ipv4)
    .toString('hex')
    .replace(/(?<=^.{4})/, ':');

const MAPPED = '::ffff:';

/** An IPv4 address as IPv6, and back; other addresses as they are. */
function otherWriting(address: string): string {
  if (isIPv4(address)) return `${MAPPED}${address}`;
  return address.startsWith(MAPPED) ? address.slice(MAPPED.length) : address;
}
