import type { Stats } from 'node:fs';
import { constants, type FileHandle, lstat, open, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { makeFolder, removeLeftovers, replaceFile } from '../support/atomic-file.ts';
import { systemCode } from '../support/failures.ts';
import { readSmallFile, UnfitFile } from '../support/small-file.ts';

const MAX_BYTES = 256 * 1024; // thousands of keys
const WRITABLE_BY_OTHERS = 0o022;

export interface EditOptions {
  /** Of a file that is made; one that exists keeps its own, but for what lets others write. */
  newMode: number;
  /** A file that this one must not be, under whatever name: path and what to say. */
  never?: { path: string; why: string };
}

/**
 * Changes a file that belongs to a user of the machine, atomically. `edit` gets its bytes as latin1, so that those it
 * does not touch stay as they are, and gives the new ones, or null to leave it alone. True when it was changed.
 *
 * We may run as root in a folder whose owner may not be trusted that far: a link or a second name in place of the file
 * would have root's files copied into it. So both are refused, and every step goes through the folder that was looked
 * at, by its descriptor, whatever its name leads to meanwhile.
 *
 * @throws UnfitFile when file or folder are not safe to use; the system's error when one cannot be read or written
 */
export async function editFile(
  path: string,
  edit: (text: string) => string | null,
  { newMode, never }: EditOptions,
): Promise<boolean> {
  const folder = await openFolder(dirname(path));
  try {
    const inside = `/proc/self/fd/${folder.fd}/${basename(path)}`;
    const place = await folder.stat();
    if ((place.mode & WRITABLE_BY_OTHERS) !== 0) throw new UnfitFile('others than the owner can write to its folder');
    if (never !== undefined && (await isSameFile(inside, place, never.path))) throw new UnfitFile(never.why);
    await removeLeftovers(inside);
    const old = await read(inside);
    const text = edit(old?.text ?? '');
    if (text === null) return false;
    const mode = old === null ? newMode : old.stats.mode & 0o777 & ~WRITABLE_BY_OTHERS;
    const { uid, gid } = old?.stats ?? place;
    await replaceFile(inside, Buffer.from(text, 'latin1'), { mode, ...ownership(uid, gid) });
    return true;
  } finally {
    await folder.close();
  }
}

/** Nothing where the file is ours anyway: only root may give files away. */
function ownership(uid: number, gid: number): { owner?: { uid: number; gid: number } } {
  return process.geteuid?.() === 0 || uid !== process.geteuid?.() ? { owner: { uid, gid } } : {};
}

/** A link is followed only where nobody but root or we could have put it: `/root/.ssh -> /data/ssh`, for example. */
async function openFolder(path: string): Promise<FileHandle> {
  await makeFolder(path);
  const isOurs = ({ uid }: Stats) => uid === 0 || uid === process.geteuid?.();
  const entry = await lstat(path);
  const trusted = entry.isSymbolicLink() && isOurs(entry) && isOurs(await stat(dirname(path)));
  if (entry.isSymbolicLink() && !trusted) throw new UnfitFile('its folder is a link that another user made');
  return open(path, constants.O_RDONLY | constants.O_DIRECTORY | (trusted ? 0 : constants.O_NOFOLLOW));
}

async function read(path: string): Promise<{ text: string; stats: Stats } | null> {
  try {
    const { bytes, stats } = await readSmallFile(path, MAX_BYTES, constants.O_NOFOLLOW);
    if (stats.nlink > 1) throw new UnfitFile('it has a second name (a hard link) somewhere');
    return { text: bytes.toString('latin1'), stats };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    if (systemCode(error) === 'ELOOP') throw new UnfitFile('it is a link; set the path of the file itself');
    throw error;
  }
}

/** One file under two names: by links of either kind, or by folders that are the same; also while it does not exist. */
async function isSameFile(inside: string, place: Stats, other: string): Promise<boolean> {
  const are = (a: Stats | null, b: Stats | null) => a !== null && b !== null && a.dev === b.dev && a.ino === b.ino;
  if (are(await statOrNull(inside), await statOrNull(other))) return true;
  return basename(inside) === basename(other) && are(place, await statOrNull(dirname(other)));
}

const statOrNull = (path: string): Promise<Stats | null> => stat(path).catch(() => null);
