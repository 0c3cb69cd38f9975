import { isDeepStrictEqual } from 'node:util';
import { type DnsRecord, type Packet, type Question, sameName } from './packet.ts';

/** Seconds: an answer to a program that is no mDNS program is not to be kept (RFC 6762 6.7). */
const LEGACY_TTL = 10;

/**
 * What `records` have to say to a query: the answers that are asked for and not known to the one who asks (RFC 6762
 * 7.1), and what will be asked for next. Null for nothing.
 */
export function answerTo(
  query: Packet,
  records: readonly DnsRecord[],
): { answers: DnsRecord[]; additionals: DnsRecord[] } | null {
  const known = query.answers ?? [];
  const isKnown = (record: DnsRecord) =>
    known.some((other) => isSameRecord(other, record) && other.ttl >= record.ttl / 2);
  const answers = records.filter((record) => isAskedFor(record, query.questions ?? []) && !isKnown(record));
  if (answers.length === 0) return null;
  const additionals = new Set<DnsRecord>();
  const add = (name: unknown, types: readonly string[]) => {
    if (typeof name !== 'string') return;
    for (const record of records) {
      if (types.includes(record.type) && sameName(record.name, name)) additionals.add(record);
    }
  };
  for (const { type, data } of answers) if (type === 'PTR') add(data, ['SRV', 'TXT']);
  for (const { type, data } of [...answers, ...additionals]) {
    if (type === 'SRV') add((data as { target: string }).target, ['A', 'AAAA']);
  }
  return { answers, additionals: [...additionals].filter((record) => !answers.includes(record)) };
}

/** The same for a resolver that knows nothing of mDNS, as it expects it: with its id and its question, and short-lived. */
export function legacyAnswerTo(query: Packet, records: readonly DnsRecord[]): Packet | null {
  const answer = answerTo({ ...query, answers: [] }, records);
  if (answer === null) return null;
  const plain = (all: readonly DnsRecord[]) =>
    all.map((record) => ({ ...record, flush: false, ttl: Math.min(record.ttl, LEGACY_TTL) }));
  const questions = (query.questions ?? []).filter((question) =>
    records.some((record) => isAskedFor(record, [question])),
  );
  return {
    id: query.id ?? 0,
    questions: questions.map(({ name, type }) => ({ name, type })),
    answers: plain(answer.answers),
    additionals: plain(answer.additionals),
  };
}

const isAskedFor = (record: DnsRecord, questions: readonly Question[]) =>
  questions.some(({ name, type }) => (type === record.type || type === 'ANY') && sameName(name, record.name));

const isSameRecord = (a: DnsRecord, b: DnsRecord) =>
  a.type === b.type && sameName(a.name, b.name) && isDeepStrictEqual(a.data, b.data);
