import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import { Failure } from '../../support/failures.ts';
import type { DeviceChanges, Observations, Store, StoredFleet } from '../store.ts';
import type { Assignment, AuditEntry, Device, Lease } from '../types.ts';
import { AuditTable } from './audit-table.ts';
import { type Schema, type Tx, toDevice, toRow } from './schema.ts';
import { writeAddresses, writeSeen } from './sightings.ts';

/** What a database has of its own, beside SQL. */
export interface Backend {
  readonly kysely: Kysely<Schema>;
  /** What is thrown for an error of the database. */
  failure(error: unknown): Failure;
  /** Once, after the last query. */
  close(): Promise<void>;
}

/**
 * The store in an SQL database whose tables are there. It does one call after the other, in the order in which they
 * came, each in one transaction: what a call looks at first stays true until it writes.
 */
export class SqlStore implements Store {
  readonly #backend: Backend;
  readonly #audit = new AuditTable();
  #last: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | null = null;

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  load(): Promise<StoredFleet> {
    return this.#transact(async (tx) => ({
      devices: (await tx.selectFrom('devices').selectAll().execute()).map(toDevice),
      assignments: await tx.selectFrom('assignments').selectAll().execute(),
      blockedPorts: await tx.selectFrom('blockedPorts').selectAll().execute(),
      leases: await tx.selectFrom('leases').selectAll().execute(),
      addresses: await tx.selectFrom('knownAddresses').selectAll().orderBy('atMs', 'desc').execute(),
    }));
  }

  insertDevice(device: Device): Promise<void> {
    return this.#transact(async (tx) => {
      if (await isThere(tx, device.key)) {
        throw new Failure('gateway.device-exists', `there is a device ${device.key} already`);
      }
      await refuseTokenOfAnother(tx, device.key, device);
      await tx.insertInto('devices').values(toRow(device)).execute();
    });
  }

  updateDevice(key: string, changes: DeviceChanges): Promise<void> {
    return this.#transact(async (tx) => {
      await refuseUnknown(tx, key);
      await refuseTokenOfAnother(tx, key, changes);
      const row = toRow(changes);
      if (Object.keys(row).length > 0) await tx.updateTable('devices').set(row).where('key', '=', key).execute();
    });
  }

  deleteDevice(key: string): Promise<boolean> {
    return this.#transact(async (tx) => {
      const { numDeletedRows } = await tx.deleteFrom('devices').where('key', '=', key).executeTakeFirstOrThrow();
      return numDeletedRows > 0n; // what belongs to it goes by the rule of the tables
    });
  }

  setServices(key: string, services: Device['services'], dropped: readonly string[]): Promise<void> {
    return this.#transact(async (tx) => {
      await refuseUnknown(tx, key);
      await tx.updateTable('devices').set(toRow({ services })).where('key', '=', key).execute();
      for (const name of dropped) {
        await tx.deleteFrom('assignments').where('deviceKey', '=', key).where('service', '=', name).execute();
        await tx.deleteFrom('leases').where('deviceKey', '=', key).where('name', '=', name).execute();
      }
    });
  }

  assignPort(assignment: Assignment, instead?: { oldPort: number; atMs: number }): Promise<void> {
    const { deviceKey, service, port } = assignment;
    return this.#transact(async (tx) => {
      await refuseUnknown(tx, deviceKey);
      const old = await tx
        .deleteFrom('assignments')
        .where('deviceKey', '=', deviceKey)
        .where('service', '=', service)
        .returning('port')
        .executeTakeFirst();
      if (old?.port !== instead?.oldPort) {
        const [has, wanted] = [old?.port ?? 'none', instead?.oldPort ?? 'none'];
        throw new Failure('internal.unexpected', `${service} of ${deviceKey} has port ${has}, not ${wanted}`);
      }
      const blocked = await tx.selectFrom('blockedPorts').select('port').where('port', '=', port).executeTakeFirst();
      if (blocked !== undefined) throw new Failure('internal.unexpected', `port ${port} is blocked`);
      await tx.insertInto('assignments').values({ deviceKey, service, port }).execute();
      if (instead === undefined) return;
      const { oldPort, atMs } = instead;
      await tx.insertInto('blockedPorts').values({ port: oldPort, deviceKey, service, newPort: port, atMs }).execute();
    });
  }

  releaseBlockedPort(port: number): Promise<void> {
    return this.#transact(async (tx) => {
      await tx.deleteFrom('blockedPorts').where('port', '=', port).execute();
    });
  }

  putLease({ deviceKey, name, localPort, expiresAtMs }: Lease): Promise<void> {
    return this.#transact(async (tx) => {
      await refuseUnknown(tx, deviceKey);
      await tx
        .insertInto('leases')
        .values({ deviceKey, name, localPort, expiresAtMs })
        .onConflict((conflict) => conflict.columns(['deviceKey', 'name']).doUpdateSet({ localPort, expiresAtMs }))
        .execute();
    });
  }

  deleteLeases(gone: readonly Pick<Lease, 'deviceKey' | 'name'>[]): Promise<void> {
    const leases = [...gone]; // the call may have to wait, and the caller goes on with its list
    return this.#transact(async (tx) => {
      for (const { deviceKey, name } of leases) {
        await tx.deleteFrom('leases').where('deviceKey', '=', deviceKey).where('name', '=', name).execute();
      }
    });
  }

  async observe(observations: Observations): Promise<void> {
    if (this.#closed !== null) return;
    const [audit, addresses, seen] = [[...observations.audit], [...observations.addresses], [...observations.seen]];
    await this.#transact(async (tx) => {
      await writeSeen(tx, seen);
      await writeAddresses(tx, addresses);
      await this.#audit.add(tx, audit);
    });
  }

  auditOf(deviceKey: string | null, limit: number): Promise<AuditEntry[]> {
    return this.#transact((tx) => this.#audit.newest(tx, deviceKey, limit));
  }

  /** Brings the audit back into its bounds, whatever was interrupted before. Once, after the start. */
  cleanAudit(): Promise<void> {
    return this.#transact((tx) => this.#audit.cleanAll(tx));
  }

  /** Does something with the database that is no call of the store, between two of them and outside a transaction. */
  between<T>(task: () => Promise<T>): Promise<T> {
    return this.#inOrder(task);
  }

  close(): Promise<void> {
    this.#closed ??= this.#last.then(() => this.#backend.close());
    return this.#closed;
  }

  #transact<T>(task: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#inOrder(() => this.#backend.kysely.transaction().execute(task));
  }

  async #inOrder<T>(task: () => Promise<T>): Promise<T> {
    if (this.#closed !== null) throw new Failure('gateway.store-failed', 'the database is closed');
    const result = this.#last.then(task);
    // SQLite works inside the calls: without a turn of the loop, a long queue would keep all else waiting.
    this.#last = result.catch(() => undefined).then(() => nextTurn());
    try {
      return await result;
    } catch (error) {
      throw this.#backend.failure(error);
    }
  }
}

async function isThere(tx: Tx, key: string): Promise<boolean> {
  return (await tx.selectFrom('devices').select('key').where('key', '=', key).executeTakeFirst()) !== undefined;
}

async function refuseUnknown(tx: Tx, key: string): Promise<void> {
  if (!(await isThere(tx, key))) throw new Failure('gateway.device-unknown', `there is no device ${key}`);
}

async function refuseTokenOfAnother(tx: Tx, key: string, { tunnelTokenHash: hash }: DeviceChanges): Promise<void> {
  if (hash === null || hash === undefined) return;
  const others = tx.selectFrom('devices').select('key').where('tunnelTokenHash', '=', hash).where('key', '!=', key);
  if ((await others.executeTakeFirst()) === undefined) return;
  throw new Failure('gateway.device-exists', 'another device has that token');
}
