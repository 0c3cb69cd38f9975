import { type Kysely, sql } from 'kysely';
import type { Schema } from './schema.ts';

/** How a database spells what the tables need. */
export interface Spelling {
  /** A whole number up to 2^53. */
  readonly integer: string;
  /** A key that counts up and never gives a number again. */
  readonly counter: string;
  /** At the end of each table. */
  readonly end: string;
}

/** The statements that make one version out of the one before. */
export type Migration = (spelling: Spelling) => readonly string[];

const firstTables: Migration = ({ integer, counter, end }) => [
  `create table devices (
    key text not null primary key,
    type text not null,
    distribution text not null,
    product_serial text,
    authorized ${integer} not null,
    paused_until_ms ${integer},
    created_at_ms ${integer} not null,
    services text not null,
    token_code_hash text not null,
    token_code_strong ${integer} not null,
    tunnel_token_hash text unique,
    tunnel_token_sealed text,
    public_key text,
    last_connected_at_ms ${integer},
    last_seen_at_ms ${integer},
    heartbeat text
  ) ${end}`,
  `create table assignments (
    device_key text not null references devices (key) on delete cascade,
    service text not null,
    port ${integer} not null unique,
    primary key (device_key, service)
  ) ${end}`,
  `create table blocked_ports (
    port ${integer} not null primary key,
    device_key text not null,
    service text not null,
    new_port ${integer} not null,
    at_ms ${integer} not null
  ) ${end}`,
  `create table leases (
    device_key text not null references devices (key) on delete cascade,
    name text not null,
    local_port ${integer} not null,
    expires_at_ms ${integer} not null,
    primary key (device_key, name)
  ) ${end}`,
  `create table known_addresses (
    device_key text not null references devices (key) on delete cascade,
    address text not null,
    at_ms ${integer} not null,
    primary key (device_key, address)
  ) ${end}`,
  `create table audit (
    id ${counter},
    at_ms ${integer} not null,
    device_key text,
    event text not null,
    reason text,
    detail text not null
  ) ${end}`,
  'create index audit_of_device on audit (device_key, id)',
];

/** The first makes version 1 out of nothing. One that was ever released is not changed any more. */
export const MIGRATIONS: readonly Migration[] = [firstTables];

/** The version of the tables; null where there is none, and so nothing that we made. */
export async function versionOf(db: Kysely<Schema>): Promise<number | null> {
  return (await db.selectFrom('schemaVersion').select('version').executeTakeFirst())?.version ?? null;
}

/**
 * Brings the tables to the newest version, each step as a whole or not at all. Not kysely's Migrator: with SQLite it
 * runs its steps without a transaction, so that a power cut leaves half of one.
 *
 * @param from the version of the tables; 0 for a database without any
 */
export async function migrate(
  db: Kysely<Schema>,
  spelling: Spelling,
  from: number,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<void> {
  for (const [at, migration] of migrations.entries()) {
    if (at < from) continue;
    await db.transaction().execute(async (tx) => {
      if (at === 0) {
        await sql.raw(`create table schema_version (version ${spelling.integer} not null) ${spelling.end}`).execute(tx);
        await tx.insertInto('schemaVersion').values({ version: 0 }).execute();
      }
      for (const statement of migration(spelling)) await sql.raw(statement).execute(tx);
      await tx
        .updateTable('schemaVersion')
        .set({ version: at + 1 })
        .execute();
    });
  }
}
