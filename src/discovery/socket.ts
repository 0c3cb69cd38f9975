import { createSocket, type Socket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import Bonjour from 'bonjour-service';
import { Failure, systemCode } from '../support/failures.ts';
import { isLinkLocal, isOnLink } from './addresses.ts';
import { type Link, linksOf } from './links.ts';
import type { Packet } from './packet.ts';

export const MDNS_PORT = 5353;
const GROUPS = { IPv4: '224.0.0.251', IPv6: 'ff02::fb' } as const;
/** Packets beyond this are refused by RFC 6762 17, and here. */
const MAX_PACKET_BYTES = 9_000;
/** No answer of mDNS leaves its link (RFC 6762 11). */
const MULTICAST_TTL = 255;

export type Family = keyof typeof GROUPS;

/** Where a packet came from; the address of an IPv6 sender has its zone. */
export interface Sender {
  address: string;
  port: number;
}

/** One multicast socket, on one link, in one family, with bonjour-service on top. */
export interface MdnsSocket {
  family: Family;
  /** To everybody on the link, or to one. Rejects when the packet cannot leave. */
  send(packet: Packet, kind: 'query' | 'response', to?: Sender): Promise<void>;
  close(): Promise<void>;
}

export interface Receive {
  onQuery?(packet: Packet, from: Sender): void;
  onResponse?(packet: Packet, from: Sender): void;
}

/** What is used of bonjour-service and of the multicast-dns inside; their types keep it private. */
interface BonjourInside {
  server: {
    mdns: {
      on(event: 'query' | 'response', listener: (packet: Packet, from: Sender & { size: number }) => void): void;
      on(event: 'error' | 'warning', listener: (error: unknown) => void): void;
      removeAllListeners(event: 'query'): void;
      send(packet: object, to: Sender | null, done: (error?: Error | null) => void): void;
    };
  };
  destroy(done: () => void): void;
}

/** The links of this machine at this moment. */
export function presentLinks(): Link[] {
  return linksOf(networkInterfaces(), interfaceIndex);
}

/** The families that mDNS can be spoken in on a link. */
export function familiesOf({ ipv4, ipv6 }: Link): Family[] {
  const families: Family[] = [];
  if (ipv4.length > 0) families.push('IPv4');
  if (ipv6.some(({ address }) => isLinkLocal(address))) families.push('IPv6');
  return families;
}

/**
 * Opens the socket. bonjour-service is given one that is bound and joined already: left to itself it joins every
 * interface with one socket, sends by the default route only, and swallows the errors.
 *
 * @throws Failure `mdns.socket`
 */
export async function openMdns(link: Link, family: Family, { onQuery, onResponse }: Receive): Promise<MdnsSocket> {
  const socket = await openSocket(link, family);
  const options = { socket, bind: false, multicast: false, ip: GROUPS[family], port: MDNS_PORT, interface: link.name };
  const ignore = () => undefined;
  const bonjour = new Bonjour(options as object, ignore) as unknown as BonjourInside;
  const { mdns } = bonjour.server;
  // Errors of sending come back from `send`; what cannot be decoded is somebody's noise.
  mdns.on('error', ignore);
  mdns.on('warning', ignore);
  // Its own answers go to the wrong place in several cases; ours are in responder.ts.
  mdns.removeAllListeners('query');
  // One socket hears the groups that any socket of the machine has joined, so the sender must be from this link
  // (RFC 6762 11). The IPv6 socket is bound to its link.
  const fromHere = ({ address, size }: Sender & { size: number }) =>
    size <= MAX_PACKET_BYTES && (family === 'IPv6' || isOnLink(link, address));
  mdns.on('query', (packet, from) => {
    if (fromHere(from)) onQuery?.(packet, from);
  });
  mdns.on('response', (packet, from) => {
    // An answer comes from the port of mDNS, or somebody made it up (RFC 6762 6).
    if (fromHere(from) && from.port === MDNS_PORT) onResponse?.(packet, from);
  });
  return {
    family,
    send: (packet, kind, to) =>
      new Promise((resolve, reject) => {
        const flags = kind === 'response' ? AUTHORITATIVE_ANSWER : 0;
        mdns.send({ ...packet, type: kind, flags }, to ?? null, (error) => (error ? reject(error) : resolve()));
      }),
    close: () => new Promise((resolve) => bonjour.destroy(resolve)),
  };
}

const AUTHORITATIVE_ANSWER = 1 << 10;

async function openSocket({ name, ipv4 }: Link, family: Family): Promise<Socket> {
  const group = GROUPS[family];
  const on = family === 'IPv4' ? (ipv4[0]?.address ?? '') : `::%${name}`;
  const socket = createSocket(
    family === 'IPv4' ? { type: 'udp4', reuseAddr: true } : { type: 'udp6', reuseAddr: true, ipv6Only: true },
  );
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      // Bound to the group and not to all addresses: packets for one machine stay with its other mDNS program.
      socket.bind({ port: MDNS_PORT, address: family === 'IPv4' ? group : `${group}%${name}` }, () => {
        socket.off('error', reject);
        resolve();
      });
    });
    socket.addMembership(group, on);
    socket.setMulticastInterface(on);
    socket.setMulticastTTL(MULTICAST_TTL);
    socket.setMulticastLoopback(true);
    return socket;
  } catch (error) {
    socket.on('error', () => undefined);
    socket.close();
    const reason = systemCode(error) === 'EADDRINUSE' ? 'another program keeps it to itself' : systemCode(error);
    throw new Failure('mdns.socket', `mDNS cannot use UDP port ${MDNS_PORT} on ${name} (${family}): ${reason}`, {
      cause: error,
    });
  }
}

function interfaceIndex(name: string): number | null {
  try {
    return Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8'));
  } catch {
    return null;
  }
}
