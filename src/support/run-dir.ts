import type { Stats } from 'node:fs';
import { constants, type FileHandle, open } from 'node:fs/promises';
import { makeFolder } from './atomic-file.ts';
import { Failure, systemCode } from './failures.ts';

const FOLDER_MODE = 0o755;
const GROUP_OR_WORLD_WRITE = 0o022;
const WORLD_WRITE = 0o002;

/**
 * Makes sure that the run folder is a real folder, owned by this process and writable by nobody else: then no other
 * user can put a link where we write. A folder that only the group may write to (OpenRC makes them so) is tightened;
 * one that everybody could write to may hold anything already, and is refused.
 *
 * @throws Failure run-dir.unwritable
 */
export async function prepareRunDir(runDir: string): Promise<void> {
  try {
    const folder = await openRunDir(runDir);
    try {
      const stats = await folder.stat();
      refuseUnsafe(runDir, stats);
      if ((stats.mode & GROUP_OR_WORLD_WRITE) !== 0) await folder.chmod(stats.mode & 0o777 & ~GROUP_OR_WORLD_WRITE);
    } finally {
      await folder.close();
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure('run-dir.unwritable', `the run folder ${runDir} cannot be used: ${folderErrorReason(error)}`, {
      cause: error,
    });
  }
}

/** Opens the run folder itself (a link is refused), made first where it is missing: it vanishes with a tmpfs. */
async function openRunDir(runDir: string): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  try {
    return await open(runDir, flags);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    await makeFolder(runDir, FOLDER_MODE);
    return open(runDir, flags);
  }
}

function refuseUnsafe(runDir: string, stats: Stats): void {
  const serviceUid = process.geteuid?.();
  if (stats.uid !== serviceUid) {
    throw new Failure(
      'run-dir.unwritable',
      `the run folder ${runDir} belongs to user ${stats.uid}, not to the service's user ${serviceUid}`,
    );
  }
  if ((stats.mode & WORLD_WRITE) !== 0) {
    const mode = (stats.mode & 0o7777).toString(8).padStart(4, '0');
    throw new Failure('run-dir.unwritable', `the run folder ${runDir} has mode ${mode}: anybody may write to it`);
  }
}

/** Why something in the run folder could not be made, in words where the system's own say little. */
export function folderErrorReason(error: unknown): string {
  const code = systemCode(error);
  if (code === 'ENOTDIR') return 'it, or a part of its path, is a link or no folder';
  if (code === 'ENOTEMPTY') return 'it is a folder with files in it';
  return error instanceof Error ? error.message : String(error);
}
