import type { Link } from './links.ts';
import { type DnsRecord, type Packet, type Question, SERVICE_TYPES, sameName } from './packet.ts';

/** What is announced, on every link. */
export interface Identity {
  /** Instance name and host name at once; one DNS label. */
  name: string;
  /** Of both services. */
  tunnelPort: number;
  /** Null while HTTP does not listen. */
  httpPort: number | null;
  model: string;
}

/** Seconds, as RFC 6762 10 recommends: records that hold a host name or address, and all others. */
const HOST_TTL = 120;
const OTHER_TTL = 4500;
/** So that an announcement fits into one Ethernet frame in all but strange cases. */
const MAX_ADDRESSES = 8;
const META_QUERY = '_services._dns-sd._udp.local';

export const hostOf = ({ name }: Identity) => `${name}.local`;
const instanceOf = ({ name }: Identity, type: string) => `${name}.${type}.local`;

/** All that is true of the device on this link, with the addresses of this link and no other. */
export function recordsOf(identity: Identity, { ipv4, ipv6 }: Link): DnsRecord[] {
  const host = hostOf(identity);
  const txt = textOf(identity).map((text) => Buffer.from(text));
  const srv = { priority: 0, weight: 0, port: identity.tunnelPort, target: host };
  const services = SERVICE_TYPES.flatMap((type): DnsRecord[] => {
    const instance = instanceOf(identity, type);
    return [
      { name: META_QUERY, type: 'PTR', ttl: OTHER_TTL, data: `${type}.local` },
      { name: `${type}.local`, type: 'PTR', ttl: OTHER_TTL, data: instance },
      { name: instance, type: 'SRV', ttl: HOST_TTL, flush: true, data: srv },
      { name: instance, type: 'TXT', ttl: OTHER_TTL, flush: true, data: txt },
    ];
  });
  const addresses = [
    ...ipv4.map(({ address }) => ({ type: 'A', address })),
    ...ipv6.map(({ address }) => ({ type: 'AAAA', address })),
  ].slice(0, MAX_ADDRESSES);
  return [
    ...services,
    ...addresses.map(({ type, address }) => ({ name: host, type, ttl: HOST_TTL, flush: true, data: address })),
  ];
}

/** The question whether somebody has these names already, with what is meant to be theirs (RFC 6762 8.1, 8.2). */
export function probeFor(records: readonly DnsRecord[]): Packet {
  const own = records.filter(isUnique);
  const questions = [...new Set(own.map(({ name }) => name))].map((name): Question => ({ name, type: 'ANY' }));
  return { questions, authorities: own.map((record) => ({ ...record, flush: false })) };
}

/**
 * That the services end (RFC 6762 10.1). Without the host's addresses and without "there are such services here":
 * another program of this machine may say the same, and others have such services, too.
 */
export function goodbyeFor(records: readonly DnsRecord[]): Packet {
  const instances = records.filter(({ type }) => type === 'SRV').map(({ name }) => name);
  const ours = (record: DnsRecord) =>
    instances.some((instance) => sameName(record.name, instance) || record.data === instance);
  return { answers: records.filter(ours).map((record) => ({ ...record, ttl: 0 })) };
}

/** Records that nobody else may have by the same name; the others are shared. */
export const isUnique = ({ flush }: DnsRecord) => flush === true;

/** RFC 6763 6: `txtvers` first. */
function textOf({ httpPort, model }: Identity): string[] {
  return ['txtvers=1', 'path=/zeroforce', ...(httpPort === null ? [] : [`http=${httpPort}`]), `model=${model}`];
}
