import { chmod, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, systemCode } from '../../support/failures.ts';
import type { Log } from '../../support/log.ts';
import type { Store, StoredFleet } from '../store.ts';
import { checkFile, Damage } from './check.ts';
import {
  APPLICATION_ID,
  COPY,
  copyDatabase,
  LIVE,
  readHeader,
  removeUnfinished,
  setAside,
  writtenAtMs,
} from './files.ts';
import { MIGRATIONS, migrate, versionOf } from './migrations.ts';
import { DamagedRow } from './schema.ts';
import { SqlStore } from './sql-store.ts';
import { isDamage, openFile, SQLITE_SPELLING, type Sqlite, sqliteFailure } from './sqlite.ts';

const DATABASE_FILE = 'gateway.db';
/** The newest good copy. */
const COPY_FILE = 'gateway.db.backup';
/** How old the newest copy may become. */
const COPY_INTERVAL_MS = 24 * 60 * 60 * 1000;

export interface OpenedStore {
  readonly store: Store;
  /** What is in it: `load()` need not be asked again. */
  readonly fleet: StoredFleet;
  /**
   * Makes a copy where the newest is older than a day and something was written since. To be called after the start and
   * every hour or so.
   *
   * @returns whether one was made
   * @throws Failure `gateway.store-failed`; the newest copy is there still
   */
  keepCopy(): Promise<boolean>;
}

export interface StoreOptions {
  /** Held by the caller: `openDataDir`. */
  readonly dataDir: string;
  /** Where the database is missing, begin with an empty one on purpose. One that is there is never emptied. */
  readonly emptyStore?: boolean;
  /** Names of files in the folder which show that a gateway ran here, beside those known here: the host key. */
  readonly traces?: readonly string[];
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly log: Log;
}

/**
 * Opens the database of the gateway, checked and of the newest version. Where nothing is there it is a first start, and
 * begins empty.
 *
 * @throws Failure `gateway.store-corrupt` where it is damaged, and now set aside; `gateway.store-missing` where it has
 * gone and other traces of a gateway are there; `gateway.store-newer`; `gateway.store-failed`
 */
export async function openStore(options: StoreOptions): Promise<OpenedStore> {
  const path = join(options.dataDir, DATABASE_FILE);
  const copyPath = join(options.dataDir, COPY_FILE);
  try {
    await removeUnfinished(options.dataDir);
    const state = (await readHeader(path)) ?? (await makeEmpty(path, copyPath, options));
    if (state === COPY) await setSideFilesAside(path, options);
    await chmod(path, 0o600); // one that was put back by hand
    const sqlite = openFile(path);
    try {
      return await prepare(sqlite, { state, path, copyPath }, options);
    } catch (error) {
      sqlite.close();
      throw error;
    }
  } catch (error) {
    if (isDamaged(error)) throw await corrupt(error, path, options);
    throw sqliteFailure(error);
  }
}

async function prepare(
  sqlite: Sqlite,
  { state, path, copyPath }: { state: number; path: string; copyPath: string },
  { nowMs, log }: StoreOptions,
): Promise<OpenedStore> {
  const version = await versionOf(sqlite.kysely);
  if (version === null) throw new Damage('it has no version');
  if (version > MIGRATIONS.length) {
    const sentence = `the database has version ${version}, and this gateway knows ${MIGRATIONS.length} at most`;
    throw new Failure('gateway.store-newer', sentence);
  }
  checkFile(sqlite);
  // Before there can be a journal: with one, this would stand in the journal only.
  if (state !== LIVE) sqlite.exec(`PRAGMA user_version = ${LIVE}`);
  if (version < MIGRATIONS.length) {
    await copyDatabase(sqlite, copyPath);
    await migrate(sqlite.kysely, SQLITE_SPELLING, version);
    log.info({ from: version, to: MIGRATIONS.length }, 'the database was brought to the version of this gateway');
  }

  const store = new SqlStore({
    kysely: sqlite.kysely,
    failure: sqliteFailure,
    close: async () => {
      leaveOneFile(sqlite);
      await sqlite.kysely.destroy();
      sqlite.close();
    },
  });
  const fleet = await store.load();
  await store.auditOf(null, 1); // it can be read
  useJournal(sqlite, log);
  await store.cleanAudit().catch((error: unknown) => log.warn({ err: error }, 'the audit was not cleaned'));
  const keepCopy = async () => {
    if (!(await isCopyDue(path, copyPath, nowMs()))) return false;
    await store.between(() => copyDatabase(sqlite, copyPath));
    return true;
  };
  return { store, fleet, keepCopy };
}

/** Write-ahead: a decision costs one fsync. A full disk has no place for it now; the old way works then, with three. */
function useJournal(sqlite: Sqlite, log: Log): void {
  try {
    sqlite.exec('PRAGMA journal_mode = WAL');
  } catch (error) {
    if (isDamage(error)) throw error;
    log.warn({ err: error }, 'the database cannot have a write-ahead log now');
  }
}

/** All is in the one file then, which can be copied; and its lock is free, though libsql keeps it open for a while. */
function leaveOneFile(sqlite: Sqlite): void {
  try {
    sqlite.exec('PRAGMA journal_mode = DELETE');
    sqlite.exec('PRAGMA locking_mode = NORMAL');
    sqlite.exec('SELECT 1 FROM schema_version');
  } catch {
    // The next start reads the journal.
  }
}

/** The database of a first start, or of one after a loss that is to begin empty. Gives its state. */
async function makeEmpty(path: string, copyPath: string, options: StoreOptions): Promise<number> {
  const { dataDir, emptyStore = false, traces = [], nowMs, log } = options;
  const isTrace = (name: string) => name.startsWith(DATABASE_FILE) || name === 'gateway.key' || traces.includes(name);
  const found = (await readdir(dataDir)).filter(isTrace).sort();
  if (found.length > 0) {
    if (!emptyStore) {
      const sentence = `${path} is missing, and a gateway ran here before: there is ${found.join(', ')}`;
      throw new Failure('gateway.store-missing', `${sentence}; ${await newestCopy(dataDir)}`);
    }
    await setAside(path, 'lost', nowMs());
    await setAside(copyPath, 'before', nowMs()); // else the empty one would take its place after a day
    log.warn({ found }, 'the database is missing; the gateway begins with an empty one, as it was told to');
  }
  const sqlite = openFile(':memory:');
  try {
    sqlite.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
    await migrate(sqlite.kysely, SQLITE_SPELLING, 0);
    await copyDatabase(sqlite, path); // whole, or not there: half a database would be taken for a damaged one
  } finally {
    sqlite.close();
  }
  return COPY;
}

/** A journal that a copy was put beside belongs to the database before it: SQLite would mix the two. */
async function setSideFilesAside(path: string, { nowMs, log }: StoreOptions): Promise<void> {
  const target = await setAside(path, 'before', nowMs(), 'side files');
  if (target !== null) log.warn({ target }, 'a copy was put in place of the database, whose journal was set aside');
}

async function isCopyDue(path: string, copyPath: string, nowMs: number): Promise<boolean> {
  const copiedAtMs = await writtenAtMs(copyPath);
  if (copiedAtMs === null) return true;
  const ageMs = nowMs - copiedAtMs;
  if (ageMs <= -COPY_INTERVAL_MS) return true; // the clock went back
  if (ageMs < COPY_INTERVAL_MS) return false;
  const writtenMs = await Promise.all([writtenAtMs(path), writtenAtMs(`${path}-wal`)]);
  return writtenMs.some((atMs) => atMs !== null && atMs > copiedAtMs);
}

function isDamaged(error: unknown): boolean {
  const origin = error instanceof Failure && error.cause !== undefined ? error.cause : error;
  // SQLITE_ERROR: there is no such table, or column.
  return (
    origin instanceof Damage ||
    origin instanceof DamagedRow ||
    isDamage(origin) ||
    systemCode(origin) === 'SQLITE_ERROR'
  );
}

async function corrupt(error: unknown, path: string, options: StoreOptions): Promise<Failure> {
  const { dataDir, nowMs } = options;
  const why = error instanceof Error ? error.message : String(error);
  let fate: string;
  try {
    fate = `it was set aside as ${await setAside(path, 'corrupt', nowMs())}`;
  } catch (reason) {
    fate = `it could not be set aside: ${reason instanceof Error ? reason.message : String(reason)}`;
  }
  const sentence = `the database ${path} is damaged (${why}); ${fate}; ${await newestCopy(dataDir)}`;
  return new Failure('gateway.store-corrupt', sentence, { cause: error });
}

/** Where to look for what was lost, as the end of a sentence. */
async function newestCopy(dataDir: string): Promise<string> {
  const names = (await readdir(dataDir)).filter((name) => name.startsWith(COPY_FILE));
  const copies = await Promise.all(
    names.map(async (name) => ({ path: join(dataDir, name), atMs: (await writtenAtMs(join(dataDir, name))) ?? 0 })),
  );
  for (const { path, atMs } of copies.sort((a, b) => b.atMs - a.atMs)) {
    if (await isSound(path)) return `the newest good copy is ${path}, of ${new Date(atMs).toISOString()}`;
  }
  return 'there is no good copy of it here';
}

async function isSound(path: string): Promise<boolean> {
  try {
    if ((await readHeader(path)) !== COPY) return false;
    const sqlite = openFile(path);
    try {
      checkFile(sqlite);
      return true;
    } finally {
      sqlite.close();
    }
  } catch {
    return false;
  }
}
