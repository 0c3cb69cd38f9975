import { type ExpressionBuilder, sql } from 'kysely';
import type { AuditEntry, AuditEvent } from '../types.ts';
import { chunksOf, type Schema, storable, type Tx } from './schema.ts';

/** The newest of each device. */
const OF_ONE = 1000;
/** Of what concerns no device: more, as strangers make most of it, and would push out what operators did. */
const OF_NOBODY = 10_000;
const IN_ALL = 200_000;
/** How far each bound may be passed before the oldest entries are removed, all at once. */
const SLACK_OF_ONE = 100;
const SLACK_IN_ALL = 1000;

/** The table of the audit, which has bounds. */
export class AuditTable {
  /** Entries added since the last cleaning of that device; what a restart forgets, `cleanAll` makes up for. */
  readonly #added = new Map<string | null, number>();
  #addedInAll = 0;

  async add(tx: Tx, entries: readonly AuditEntry[]): Promise<void> {
    for (const some of chunksOf(entries)) await tx.insertInto('audit').values(some.map(toRow)).execute();
    for (const { deviceKey } of entries) this.#added.set(deviceKey, (this.#added.get(deviceKey) ?? 0) + 1);
    this.#addedInAll += entries.length;
    for (const key of new Set(entries.map((entry) => entry.deviceKey))) {
      if ((this.#added.get(key) ?? 0) < SLACK_OF_ONE) continue;
      await removeSurplusOf(tx, key);
      this.#added.delete(key);
    }
    if (this.#addedInAll < SLACK_IN_ALL) return;
    await removeSurplus(tx);
    this.#addedInAll = 0;
    this.#added.clear(); // … so that it does not grow with every device that ever was
  }

  /** At the start: every bound holds exactly afterwards. */
  async cleanAll(tx: Tx): Promise<void> {
    const crowded = await tx
      .selectFrom('audit')
      .select('deviceKey')
      .groupBy('deviceKey')
      .having(sql<number>`count(*)`, '>', OF_ONE)
      .execute();
    for (const { deviceKey } of crowded) await removeSurplusOf(tx, deviceKey);
    await removeSurplus(tx);
  }

  async newest(tx: Tx, deviceKey: string | null, limit: number): Promise<AuditEntry[]> {
    const query = tx.selectFrom('audit').selectAll().orderBy('id', 'desc').limit(limit);
    const rows = await (deviceKey === null ? query : query.where('deviceKey', '=', deviceKey)).execute();
    return rows.map(({ id: _, event, detail, ...row }) => ({
      ...row,
      event: event as AuditEvent,
      detail: parseDetail(detail),
    }));
  }
}

function toRow({ atMs, deviceKey, event, reason, detail }: AuditEntry): Omit<Schema['audit'], 'id'> {
  return {
    atMs,
    deviceKey: deviceKey === null ? null : storable(deviceKey),
    event,
    reason: reason === null ? null : storable(reason),
    detail: JSON.stringify(detail),
  };
}

/** One line that cannot be read must not hide the others. */
function parseDetail(text: string): AuditEntry['detail'] {
  try {
    return JSON.parse(text) as AuditEntry['detail'];
  } catch {
    return { detail: 'damaged' };
  }
}

/** Removes up to the newest one that is over the bound: none where there is no such. */
async function removeSurplusOf(tx: Tx, deviceKey: string | null): Promise<void> {
  const ofDevice = (row: ExpressionBuilder<Schema, 'audit'>) =>
    deviceKey === null ? row('deviceKey', 'is', null) : row('deviceKey', '=', deviceKey);
  const newestSurplus = tx
    .selectFrom('audit')
    .select('id')
    .where(ofDevice)
    .orderBy('id', 'desc')
    .limit(1)
    .offset(deviceKey === null ? OF_NOBODY : OF_ONE);
  await tx.deleteFrom('audit').where(ofDevice).where('id', '<=', newestSurplus).execute();
}

async function removeSurplus(tx: Tx): Promise<void> {
  const newestSurplus = tx.selectFrom('audit').select('id').orderBy('id', 'desc').limit(1).offset(IN_ALL);
  await tx.deleteFrom('audit').where('id', '<=', newestSurplus).execute();
}
