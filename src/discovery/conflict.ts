import { isUnique } from './announcement.ts';
import { type DnsRecord, foldCase, type Packet, sameName } from './packet.ts';

/**
 * Whether an answer gives one of our names to somebody else (RFC 6762 9). The addresses of this machine are no
 * conflict, whoever tells them: another mDNS program may run on it, and it may be on the same network twice. Texts are
 * not looked at: who has another text by our name has another port or host behind it, too, or is us a moment ago.
 */
export function isConflict(
  packet: Packet,
  mine: readonly DnsRecord[],
  isOwnAddress: (address: string) => boolean,
): boolean {
  const own = mine.filter(isUnique);
  const isOurs = ({ name, type, data }: DnsRecord) =>
    type === 'SRV'
      ? own.some((record) => record.type === 'SRV' && sameName(record.name, name) && isSameTarget(record.data, data))
      : isOwnAddress(String(data));
  return [...(packet.answers ?? []), ...(packet.additionals ?? [])].some(
    (record) =>
      record.ttl > 0 &&
      ['SRV', 'A', 'AAAA'].includes(record.type) &&
      own.some(({ name }) => sameName(name, record.name)) &&
      !isOurs(record),
  );
}

/**
 * Who of two that ask for the same name at the same time steps back (RFC 6762 8.2): the one whose records come first
 * in the order of their bytes. True when that is us.
 */
export function losesTieBreak(packet: Packet, mine: readonly DnsRecord[]): boolean {
  const own = mine.filter(isUnique);
  const names = new Set(own.map(({ name }) => foldCase(name)));
  return [...names].some((name) => {
    const named = (record: DnsRecord) => foldCase(record.name) === name;
    const theirs = (packet.authorities ?? []).filter(named);
    return theirs.length > 0 && compare(own.filter(named).map(bytesOf), theirs.map(bytesOf)) < 0;
  });
}

/** Record by record, each list in its own order; who runs out first comes first. */
function compare(ours: Buffer[], theirs: Buffer[]): number {
  ours.sort(Buffer.compare);
  theirs.sort(Buffer.compare);
  for (const [index, bytes] of ours.entries()) {
    const other = theirs[index];
    if (other === undefined) return 1;
    const order = Buffer.compare(bytes, other);
    if (order !== 0) return order;
  }
  return ours.length - theirs.length;
}

const TYPE_NUMBERS: Record<string, number> = { A: 1, TXT: 16, AAAA: 28, SRV: 33 };

/** Type and data as they stand on the wire, names uncompressed; the class is the same for all. */
function bytesOf({ type, data }: DnsRecord): Buffer {
  const number = Buffer.from([TYPE_NUMBERS[type] ?? 255]);
  return Buffer.concat([number, dataBytes(type, data)]);
}

function dataBytes(type: string, data: unknown): Buffer {
  if (type === 'A') return Buffer.from(String(data).split('.').map(Number));
  if (type === 'AAAA') return ipv6Bytes(String(data));
  if (type === 'TXT' && Array.isArray(data)) return Buffer.concat(data.flatMap(lengthAndBytes));
  if (type !== 'SRV') return Buffer.alloc(0);
  const { priority = 0, weight = 0, port = 0, target = '' } = data as Partial<Record<string, unknown>>;
  const numbers = [priority, weight, port].flatMap((value) => [Number(value) >> 8, Number(value) & 0xff]);
  return Buffer.concat([Buffer.from(numbers), ...String(target).split('.').flatMap(lengthAndBytes), Buffer.alloc(1)]);
}

function lengthAndBytes(value: unknown): Buffer[] {
  const bytes = Buffer.from(value as string | Buffer);
  return [Buffer.from([bytes.length]), bytes];
}

function ipv6Bytes(address: string): Buffer {
  const words = (text = '') => text.split(':').filter((word) => word !== '');
  const [front = [], back = []] = address.split('::').map(words);
  const zeros = new Array<string>(Math.max(0, 8 - front.length - back.length)).fill('0');
  return Buffer.from([...front, ...zeros, ...back].map((word) => word.padStart(4, '0')).join(''), 'hex');
}

function isSameTarget(ours: unknown, theirs: unknown): boolean {
  const [a, b] = [ours, theirs] as { port?: unknown; target?: unknown }[];
  return a?.port === b?.port && sameName(String(a?.target), String(b?.target));
}
