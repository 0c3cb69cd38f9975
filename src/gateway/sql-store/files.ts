import { randomBytes } from 'node:crypto';
import { chmod, constants, open, readdir, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileErrorReason, syncFolder } from '../../support/atomic-file.ts';
import { Failure, systemCode } from '../../support/failures.ts';
import { Damage } from './check.ts';
import { openFile, type Sqlite } from './sqlite.ts';

/** "zfgw": tells our databases from those of other programs. */
export const APPLICATION_ID = 0x7a66_6777;
/** In `user_version`: the database that the gateway works with … */
export const LIVE = 1;
/** … and a copy of one, which has no journal yet: whatever lies beside it is another database's. */
export const COPY = 2;

/** What SQLite keeps beside a database. */
const SIDE_FILES = ['-wal', '-journal', '-shm'];

/** A copy that is not whole yet, and SQLite's journal of it. */
const UNFINISHED = /^\.gateway\.db\.[0-9a-f]{12}\.tmp(-journal)?$/;

const MAGIC = Buffer.from('SQLite format 3\0', 'latin1');
const HEADER_BYTES = 100;
/** What SQLite gives every new database. */
const PAGE_BYTES = 4096;
/** sqlite.org/fileformat2.html, "The Database Header": big-endian, four bytes each. */
const PAGE_COUNT_OFFSET = 28;
const USER_VERSION_OFFSET = 60;
const APPLICATION_ID_OFFSET = 68;

/**
 * What the first bytes of the database say, before SQLite has touched anything: to it, an empty file is a new database.
 *
 * @returns LIVE or COPY; null where there is no file
 * @throws Damage; Failure `gateway.store-failed` where it cannot be read
 */
export async function readHeader(path: string): Promise<number | null> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw new Error('it is not a regular file');
      const bytes = Buffer.alloc(HEADER_BYTES);
      const { bytesRead } = await file.read(bytes, 0, HEADER_BYTES, 0);
      if (bytesRead === 0) throw new Damage('it is empty');
      if (bytesRead < HEADER_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
        throw new Damage('it is not a database');
      }
      if (bytes.readInt32BE(APPLICATION_ID_OFFSET) !== APPLICATION_ID) {
        throw new Damage('it is a database of another program');
      }
      if (await isCutShort(path, bytes, stats.size)) throw new Damage('its end is missing');
      return bytes.readInt32BE(USER_VERSION_OFFSET);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof Damage) throw error;
    const code = systemCode(error);
    if (code === 'ENOENT') return null;
    const reason = code === 'ELOOP' ? 'it is a link' : fileErrorReason(error);
    throw new Failure('gateway.store-failed', `${path} could not be read: ${reason}`, { cause: error });
  }
}

/** SQLite reads zeros for what is missing of the last page. While there is a journal, the end may be in it. */
async function isCutShort(path: string, header: Buffer, bytes: number): Promise<boolean> {
  const journals = await Promise.all([writtenAtMs(`${path}-wal`), writtenAtMs(`${path}-journal`)]);
  if (journals.some((atMs) => atMs !== null)) return false;
  return bytes < header.readUInt32BE(PAGE_COUNT_OFFSET) * PAGE_BYTES;
}

/**
 * A copy of an open database at `target`, whole or not at all, readable for its owner only. Between its transactions.
 * @throws an error of SQLite or of the system; what was at `target` is there still
 */
export async function copyDatabase(source: Sqlite, target: string): Promise<void> {
  const fresh = join(dirname(target), `.gateway.db.${randomBytes(6).toString('hex')}.tmp`);
  try {
    source.exec(`VACUUM INTO '${fresh.replaceAll("'", "''")}'`);
    const copy = openFile(fresh);
    try {
      copy.exec('PRAGMA journal_mode = OFF');
      copy.exec(`PRAGMA user_version = ${COPY}`);
    } finally {
      copy.close();
    }
    await chmod(fresh, 0o600);
    await syncFile(fresh);
    await rename(fresh, target);
    await syncFolder(dirname(target));
  } finally {
    await removeUnfinished(dirname(target));
  }
}

/** Also what a killed gateway has left. What cannot be removed stays, and harms nobody. */
export async function removeUnfinished(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (UNFINISHED.test(name)) await unlink(join(folder, name)).catch(() => undefined);
  }
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, constants.O_RDONLY);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Gives a database, and what lies beside it, another name: `gateway.db.corrupt-20261107T120102Z`.
 *
 * @param which all of it, or only what lies beside it
 * @returns that name as a path; null where there was nothing
 */
export async function setAside(
  path: string,
  why: string,
  nowMs: number,
  which: 'all' | 'side files' = 'all',
): Promise<string | null> {
  const folder = dirname(path);
  const base = basename(path);
  const names = await readdir(folder);
  const found = [...(which === 'all' ? [''] : []), ...SIDE_FILES].filter((suffix) => names.includes(base + suffix));
  if (found.length === 0) return null;
  const time = new Date(nowMs).toISOString().replaceAll(/[-:]|\.\d+/g, '');
  let target = `${base}.${why}-${time}`;
  for (let count = 2; names.some((name) => name.startsWith(target)); count += 1) {
    target = `${base}.${why}-${time}.${count}`;
  }
  for (const suffix of found) await rename(join(folder, base + suffix), join(folder, target + suffix));
  await syncFolder(folder);
  return join(folder, target);
}

function unlessMissing(error: unknown): void {
  if (systemCode(error) !== 'ENOENT') throw error;
}

/** When a file was written last, in milliseconds of the wall clock; null where there is none. */
export async function writtenAtMs(path: string): Promise<number | null> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    unlessMissing(error);
    return null;
  }
}
