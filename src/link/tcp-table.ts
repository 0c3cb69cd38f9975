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

/** As the table numbers the states of a socket (Linux, include/net/tcp_states.h). */
const CLOSE_WAIT = '08';
const LISTEN = '0A';

/** The connection of a socket, or null while it has none. */
export function connectionOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): Connection | null {
  if (localAddress === undefined || remoteAddress === undefined) return null;
  if (localPort === undefined || remotePort === undefined) return null;
  return { localAddress, localPort, remoteAddress, remotePort };
}

/** Our end of a connection as the kernel sees it now; null where it cannot tell (it is gone, or this is no Linux). */
export function readTcpState(connection: Connection, find = findLine): TcpState | null {
  const { localAddress, localPort, remoteAddress, remotePort } = connection;
  const addresses = `${endpoint(localAddress, localPort)} ${endpoint(remoteAddress, remotePort)}`;
  const line = find(isIPv4(localAddress) ? 'tcp' : 'tcp6', addresses);
  return line === undefined ? null : parseLine(line);
}

/** The other end of a connection within this machine. */
export function readPeerState(connection: Connection, find = findLine): TcpState | null {
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
  return readTcpState(peer, find) ?? readTcpState(otherwise, find);
}

type TableName = 'tcp' | 'tcp6';

/** Finds the line of a connection in /proc/net/tcp{,6} (Linux, Documentation/networking/proc_net_tcp.rst). */
export type FindLine = (table: TableName, addresses: string) => string | undefined;

const findLine: FindLine = (table, addresses) => lineIn(readTable(table), addresses);

function readTable(name: TableName): string {
  try {
    return readFileSync(`/proc/net/${name}`, 'latin1');
  } catch {
    return '';
  }
}

export function lineIn(table: string, addresses: string): string | undefined {
  const at = table.indexOf(` ${addresses} `);
  if (at === -1) return undefined;
  const end = table.indexOf('\n', at);
  return table.slice(at, end === -1 ? undefined : end);
}

/** Less than the pause between two looks at the streams of a session (protocol/backlog.ts): each round sees a new one. */
const CACHED_MS = 400;

/**
 * The same for many connections that are looked for at about the same time: a table is read and searched once for all.
 * After many short connections it is long, with those that Linux still remembers.
 */
export function cachedLines(clock: Clock, read = readTable): FindLine {
  const kept = new Map<TableName, { atMs: number; lines: Map<string, string> }>();
  return (table, addresses) => {
    const nowMs = clock.nowMs();
    let last = kept.get(table);
    if (last === undefined || nowMs - last.atMs >= CACHED_MS) {
      last = { atMs: nowMs, lines: linesByAddresses(read(table)) };
      kept.set(table, last);
    }
    return last.lines.get(addresses);
  };
}

/** `sl: local remote st …`, right-aligned numbers in front. */
const LINE = /^ *\d+:( (\S+ \S+) (\S+).*)$/gm;

function linesByAddresses(table: string): Map<string, string> {
  const lines = new Map<string, string>();
  for (const [, line = '', addresses = '', status] of table.matchAll(LINE)) {
    if (status !== LISTEN) lines.set(addresses, line);
  }
  return lines;
}

/** @param line from the two addresses on */
export function parseLine(line: string): TcpState {
  const [, , status, queues = '', , retransmissions = '', , probes = ''] = line.trim().split(/\s+/);
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
