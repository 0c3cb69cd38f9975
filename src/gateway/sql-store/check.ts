import type { Sqlite } from './sqlite.ts';

/** The file is not, or no longer, a whole database of ours. */
export class Damage extends Error {}

/** Few rows, and what decides who may have which port: these are compared with their indexes, too. */
const SMALL_TABLES = ['schema_version', 'devices', 'assignments', 'blocked_ports', 'leases', 'known_addresses'];

/**
 * Reads the whole file and looks at its structure: 40 ms for the largest database, where comparing all indexes would
 * take 270 ms. What nobody can see is a changed letter within a text: SQLite keeps no checksums.
 *
 * @throws Damage; an error of SQLite
 */
export function checkFile(sqlite: Sqlite): void {
  const checks = ['quick_check(1)', ...SMALL_TABLES.map((table) => `integrity_check(${table})`)];
  for (const check of checks) {
    const [finding] = sqlite.pragma(check);
    if (finding !== 'ok') throw new Damage(String(finding).replaceAll(/\s+/g, ' '));
  }
  if (sqlite.pragma('foreign_key_check').length > 0) throw new Damage('rows of devices that are not there');
}
