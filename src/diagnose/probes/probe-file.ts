import { randomBytes } from 'node:crypto';
import { open, constants as openFlags, stat, statfs, unlink } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileErrorReason } from '../../support/atomic-file.ts';
import { systemCode } from '../../support/failures.ts';
import { type Room, roomOf } from '../device/disk-room.ts';

/** How writing to a folder went. */
export interface Writing {
  /** Where it was tried: the folder, or, where that is missing, the one in which it would be made. */
  readonly folder: string;
  /** Null where it could be written. */
  readonly problem: { readonly code: string; readonly why: string } | null;
  /** Null where nobody can tell. */
  readonly room: Room | null;
}

/** A page of memory and a block of most disks: less may fit into what is full. */
const BYTES = 4096;

/**
 * Writes a file of its own to a folder, waits until it is on the disk, and removes it: what the service does there
 * fails for the same reasons. No other file is touched, and no link is followed but those in the folder's path.
 */
export async function tryWriting(wanted: string): Promise<Writing> {
  let folder = wanted;
  try {
    folder = await nearestFolder(wanted);
    await writeAndRemove(join(folder, `.zeroforce-diagnose.${randomBytes(6).toString('hex')}.tmp`));
    return { folder, problem: null, room: await roomAt(folder) };
  } catch (error) {
    return { folder, problem: problemOf(error), room: await roomAt(folder) };
  }
}

function problemOf(error: unknown): { code: string; why: string } {
  // Node has no name for it.
  if ((error as NodeJS.ErrnoException).errno === -constants.errno.EDQUOT) {
    return { code: 'EDQUOT', why: 'disk quota exceeded (EDQUOT)' };
  }
  return { code: systemCode(error) ?? 'unknown', why: fileErrorReason(error) };
}

/** @throws the system's error for what stands in the way and is no folder */
async function nearestFolder(path: string): Promise<string> {
  try {
    const stats = await stat(path);
    if (stats.isDirectory()) return path;
    throw Object.assign(new Error(`${path} is not a folder`), { code: 'ENOTDIR' });
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' || path === dirname(path)) throw error;
    return nearestFolder(dirname(path));
  }
}

async function writeAndRemove(path: string): Promise<void> {
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = openFlags;
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    await file.writeFile(Buffer.alloc(BYTES));
    await file.sync();
  } finally {
    await file.close();
    await unlink(path);
  }
}

async function roomAt(folder: string): Promise<Room | null> {
  return statfs(folder).then(roomOf, () => null);
}
