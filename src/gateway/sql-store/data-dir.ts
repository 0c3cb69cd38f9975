import { chmod, mkdir, readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import Libsql from 'libsql';
import { fileErrorReason, makeFolder, syncFolder } from '../../support/atomic-file.ts';
import { Failure, systemCode } from '../../support/failures.ts';

/** Always empty: only the lock on it counts. */
const LOCK_FILE = 'gateway.lock';
/** Where SQLite keeps the lock of a writer: sqlite.org/fileformat2.html, "The Lock-Byte Page", and one on. */
const WRITER_BYTE = 0x4000_0001;
const GROUP_AND_OTHERS = 0o077;

/** The data folder, held by this process alone. */
export interface DataDir {
  readonly path: string;
  /** Lets another gateway have it. */
  release(): void;
}

/**
 * Makes the data folder where it is missing (0700), checks that nobody else can reach into it, and locks it.
 *
 * The lock is that of a writer of an empty SQLite database. Node itself has no file locks; this one is the kernel's, so
 * it ends with its process however that ends, needs no cleaning, and holds between containers that share the folder,
 * where pids and abstract sockets do not.
 *
 * @throws Failure `gateway.data-dir-unusable`, `gateway.running`
 */
export async function openDataDir(folder: string): Promise<DataDir> {
  const path = resolve(folder);
  try {
    await makeOwnFolder(path);
    await refuseUnsafe(path);
  } catch (error) {
    throw unusable(path, error);
  }
  return { path, release: await lock(path) };
}

async function makeOwnFolder(path: string): Promise<void> {
  await makeFolder(dirname(path));
  try {
    await mkdir(path, 0o700); // not makeFolder: made by root, it would belong to the owner of the folder above
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return;
    throw error;
  }
  await syncFolder(dirname(path));
}

async function refuseUnsafe(path: string): Promise<void> {
  const stats = await stat(path);
  const user = process.geteuid?.();
  if (!stats.isDirectory()) throw new Error('it is not a folder');
  if (stats.uid !== user) throw new Error(`it belongs to user ${stats.uid}, not to the gateway's user ${user}`);
  if ((stats.mode & GROUP_AND_OTHERS) === 0) return;
  throw new Error(`it is open to others: mode ${(stats.mode & 0o7777).toString(8).padStart(4, '0')}, 0700 is needed`);
}

/** No other code may open the lock file: POSIX takes all locks of a process on a file away when it closes it anywhere. */
async function lock(path: string): Promise<() => void> {
  const file = join(path, LOCK_FILE);
  try {
    const database = new Libsql(file);
    try {
      database.exec('PRAGMA journal_mode = MEMORY'); // nothing is written at all, so a full disk can be locked
      database.exec('BEGIN IMMEDIATE');
      await chmod(file, 0o600);
    } catch (error) {
      database.close();
      throw error;
    }
    return () => {
      if (!database.open) return;
      database.exec('ROLLBACK');
      database.close();
    };
  } catch (error) {
    const code = systemCode(error);
    if (code === 'SQLITE_BUSY') {
      throw new Failure('gateway.running', `${await holderOf(file)} uses the data folder ${path} already`, {
        cause: error,
      });
    }
    if (code === 'SQLITE_NOTADB')
      throw unusable(path, new Error(`${LOCK_FILE} is not empty, as it must be; remove it`));
    throw unusable(path, error);
  }
}

/** By the kernel's own list, as a number in a file could be an old one; it is not told across containers. */
async function holderOf(file: string): Promise<string> {
  const unknown = 'another process';
  try {
    const { ino } = await stat(file);
    const line = (await readFile('/proc/locks', 'utf8')).split('\n').find((text) => {
      const [, , , , , place, start] = text.split(/\s+/);
      return place?.endsWith(`:${ino}`) && Number(start) === WRITER_BYTE;
    });
    const pid = Number(line?.split(/\s+/)[4]);
    return pid > 0 ? `another process (pid ${pid})` : unknown;
  } catch {
    return unknown;
  }
}

function unusable(path: string, error: unknown): Failure {
  const sentence = `the data folder ${path} cannot be used: ${fileErrorReason(error)}`;
  return new Failure('gateway.data-dir-unusable', sentence, { cause: error });
}
