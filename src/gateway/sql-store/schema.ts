import type { Generated, Transaction } from 'kysely';
import type { KnownAddress } from '../store.ts';
import type { Assignment, AuditEntry, BlockedPort, Device, Lease } from '../types.ts';

export type Tx = Transaction<Schema>;

/** Yes and no, in every database. */
type Flag = 0 | 1;

/**
 * The tables, as code sees them: names are in camel case here and in snake case there (kysely's CamelCasePlugin). What
 * is always read and written as a whole (services in their order, heartbeat, detail) is JSON text in its row.
 */
export interface Schema {
  /** One row, one number: the newest migration that was done. */
  schemaVersion: { version: number };
  devices: DeviceRow;
  assignments: Assignment;
  /** Without reference to a device: the port stays blocked when the device is gone. */
  blockedPorts: BlockedPort;
  leases: Lease;
  knownAddresses: KnownAddress;
  /** `id` counts up; the order of the entries is that of their writing, whatever the wall clock did. */
  audit: Omit<AuditEntry, 'detail' | 'event'> & { id: Generated<number>; event: string; detail: string };
}

export type DeviceRow = Omit<Device, 'authorized' | 'tokenCodeStrong' | 'services' | 'heartbeat'> & {
  authorized: Flag;
  tokenCodeStrong: Flag;
  services: string;
  heartbeat: string | null;
};

type Columns = { readonly [Name in keyof Device]: (value: Device[Name]) => DeviceRow[Name] };

const same = <T>(value: T): T => value;
const flag = (value: boolean): Flag => (value ? 1 : 0);

const COLUMNS: Columns = {
  key: same,
  type: same,
  distribution: same,
  productSerial: same,
  authorized: flag,
  pausedUntilMs: same,
  createdAtMs: same,
  services: (services) => JSON.stringify(services.map(({ name, localPort }) => ({ name, localPort }))),
  tokenCodeHash: same,
  tokenCodeStrong: flag,
  tunnelTokenHash: same,
  tunnelTokenSealed: same,
  publicKey: same,
  lastConnectedAtMs: same,
  lastSeenAtMs: same,
  heartbeat: (fields) => (fields === null ? null : JSON.stringify(fields)),
};

/** The columns of what is given of a device, and no others. */
export function toRow(device: Device): DeviceRow;
export function toRow(part: Partial<Device>): Partial<DeviceRow>;
export function toRow(part: Partial<Device>): Partial<DeviceRow> {
  const names = Object.keys(COLUMNS) as (keyof Device)[];
  const given = names.filter((name) => Object.hasOwn(part, name) && part[name] !== undefined);
  return Object.fromEntries(given.map((name) => [name, (COLUMNS[name] as (value: unknown) => unknown)(part[name])]));
}

/** @throws DamagedRow */
export function toDevice(row: DeviceRow): Device {
  return {
    ...row,
    authorized: row.authorized === 1,
    tokenCodeStrong: row.tokenCodeStrong === 1,
    services: parse(row.services, row.key, isServices),
    heartbeat: row.heartbeat === null ? null : parse(row.heartbeat, row.key, isTexts),
  };
}

/** Something in the database that we never wrote: it is damaged, though the file is whole. */
export class DamagedRow extends Error {}

function parse<T>(text: string, key: string, fits: (value: unknown) => value is T): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // as what does not fit
  }
  if (fits(value)) return value;
  throw new DamagedRow(`the row of device ${key} is damaged`);
}

function isServices(value: unknown): value is Device['services'] {
  return (
    Array.isArray(value) &&
    value.every(
      (one: unknown) =>
        isObject(one) && typeof one.name === 'string' && (one.localPort === null || Number.isInteger(one.localPort)),
    )
  );
}

function isTexts(value: unknown): value is Readonly<Record<string, string>> {
  return isObject(value) && Object.values(value).every((text) => typeof text === 'string');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What databases cannot keep in a text, as a sign that something stood there: for texts that strangers send. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\u{fffd}');
}

const ROWS_AT_ONCE = 100;

/** Parts of a list that are short enough for one statement. */
export function chunksOf<T>(list: readonly T[]): T[][] {
  const count = Math.ceil(list.length / ROWS_AT_ONCE);
  return Array.from({ length: count }, (_, at) => list.slice(at * ROWS_AT_ONCE, (at + 1) * ROWS_AT_ONCE));
}
