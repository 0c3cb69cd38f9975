/** The two service types of a device (pairing: mDNS). */
export const SERVICE_TYPES = ['_beamerzf._tcp', '_usbip._tcp'] as const;
export type ServiceType = (typeof SERVICE_TYPES)[number];

/** A DNS message as multicast-dns decodes and encodes it. What came from the network may hold anything in `data`. */
export interface Packet {
  id?: number;
  questions?: Question[];
  answers?: DnsRecord[];
  authorities?: DnsRecord[];
  additionals?: DnsRecord[];
}

export interface Question {
  name: string;
  type: string;
}

export interface DnsRecord {
  name: string;
  /** 'PTR', 'SRV', 'TXT', 'A', 'AAAA', and whatever else comes. */
  type: string;
  /** Seconds; 0 is a goodbye. */
  ttl: number;
  /** "This is all there is by this name": caches forget older records (RFC 6762 10.2). */
  flush?: boolean;
  data: unknown;
}

/** DNS compares names without regard to the case of ASCII letters. */
export const sameName = (a: string, b: string) => foldCase(a) === foldCase(b);

export const foldCase = (name: string) => name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
