import type { Sqlite } from './sqlite.ts';

/** The file is not, or no longer, a whole database of ours. */
export class Damage extends Error {}

/**
 * Reads the whole file and looks at its structure: 40 ms for the largest database. Comparing every index would take
 * 270 ms, most of them for the audit; so this is done for all but the audit. What nobody can see is a changed letter
 * within a text: SQLite keeps no checksums.
 *
 * @throws Damage; an error of SQLite
 */
export function checkFile(sqlite: Sqlite): void {
  refuseFinding(sqlite, 'quick_check(1)');
  for (const table of sqlite.column("select name from sqlite_schema where type = 'table' and name <> 'audit'")) {
    refuseFinding(sqlite, `integrity_check("${String(table)}")`);
  }
  const [stray] = sqlite.column('pragma foreign_key_check');
  if (stray !== undefined) throw new Damage(`${String(stray)} has rows of a device that is not there`);
}

function refuseFinding(sqlite: Sqlite, check: string): void {
  const [finding] = sqlite.column(`pragma ${check}`);
  if (finding !== 'ok') throw new Damage(String(finding).replaceAll(/\s+/g, ' '));
}
