import { sql } from 'kysely';
import type { KnownAddress, Observations } from '../store.ts';
import { chunksOf, storable, type Tx, toRow } from './schema.ts';

/** The newest addresses that are kept of each device. */
const ADDRESSES_OF_ONE = 16;

/** When devices were seen; one that is no longer there is passed over. */
export async function writeSeen(tx: Tx, seen: Observations['seen']): Promise<void> {
  for (const { key, ...times } of seen) {
    const row = toRow(times);
    if (Object.keys(row).length > 0) await tx.updateTable('devices').set(row).where('key', '=', key).execute();
  }
}

/** Where devices came from; of one that is no longer there, nothing is kept. */
export async function writeAddresses(tx: Tx, found: readonly KnownAddress[]): Promise<void> {
  for (const some of chunksOf(found)) {
    const keys = [...new Set(some.map((one) => one.deviceKey))];
    const known = await tx.selectFrom('devices').select('key').where('key', 'in', keys).execute();
    const isKnown = new Set(known.map((device) => device.key));
    for (const { deviceKey, address, atMs } of some.filter((one) => isKnown.has(one.deviceKey))) {
      await tx
        .insertInto('knownAddresses')
        .values({ deviceKey, address: storable(address), atMs })
        .onConflict((conflict) =>
          conflict.columns(['deviceKey', 'address']).doUpdateSet({ atMs }).where('knownAddresses.atMs', '<', atMs),
        )
        .execute();
    }
    const crowded = await tx
      .selectFrom('knownAddresses')
      .select('deviceKey')
      .where('deviceKey', 'in', keys)
      .groupBy('deviceKey')
      .having(sql<number>`count(*)`, '>', ADDRESSES_OF_ONE)
      .execute();
    for (const { deviceKey } of crowded) await keepNewest(tx, deviceKey);
  }
}

async function keepNewest(tx: Tx, deviceKey: string): Promise<void> {
  const newest = tx
    .selectFrom('knownAddresses')
    .select('address')
    .where('deviceKey', '=', deviceKey)
    .orderBy('atMs', 'desc')
    .limit(ADDRESSES_OF_ONE);
  await tx.deleteFrom('knownAddresses').where('deviceKey', '=', deviceKey).where('address', 'not in', newest).execute();
}
