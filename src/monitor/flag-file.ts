import { lstatSync } from 'node:fs';
import { constants, lstat, open, rename, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, systemCode } from '../support/failures.ts';
import { folderErrorReason, prepareRunDir } from '../support/run-dir.ts';

/** Exists while a tunnel is up. The name is a contract with the shell script of older firmware. */
export const FLAG_NAME = 'tunnel_active';
/** Whole seconds since the tunnel was lost, and 0 while it is up; later firmware reads it. */
export const SINCE_CONNECTED_NAME = 'since-connected';

export type FlagState = 'present' | 'absent';

/** Others read these files, only the service writes them. */
const FILE_MODE = 0o644;

/**
 * Whether the flag exists. Doubt counts as present, because presence keeps pairing closed: an entry of any type (a
 * link that leads nowhere too), a run folder that is a link or no folder, an error other than "no such file".
 */
export function readFlag(runDir: string): FlagState {
  try {
    if (!lstatSync(runDir).isDirectory()) return 'present';
    lstatSync(join(runDir, FLAG_NAME));
    return 'present';
  } catch (error) {
    return systemCode(error) === 'ENOENT' ? 'absent' : 'present';
  }
}

/**
 * Makes the flag exist or not. A flag that is right already is not touched; anything of that name that is no regular
 * file is replaced, never followed.
 *
 * @throws Failure run-dir.unwritable, monitor.flag-unwritable
 */
export async function writeFlag(runDir: string, state: FlagState): Promise<void> {
  await prepareRunDir(runDir);
  const path = join(runDir, FLAG_NAME);
  await writing(path, async () => {
    if (state === 'absent') return remove(path);
    if (await isRegularFile(path)) return;
    await remove(path);
    await create(path, '');
  });
}

/**
 * Writes the file `since-connected`: a reader sees the old number or the new one. Not synced to the disk: the run
 * folder does not outlive a power cut, and flash must not wear out every five seconds where it is no tmpfs.
 *
 * @throws Failure run-dir.unwritable, monitor.flag-unwritable
 */
export async function writeSinceConnected(runDir: string, seconds: number): Promise<void> {
  await prepareRunDir(runDir);
  const path = join(runDir, SINCE_CONNECTED_NAME);
  const temporary = join(runDir, `.${SINCE_CONNECTED_NAME}.tmp`);
  await writing(path, async () => {
    await remove(temporary); // of a run that was killed between the two steps
    await create(temporary, `${seconds}\n`);
    if (!(await isRegularFile(path))) await remove(path); // rename would not replace a folder
    await rename(temporary, path);
  });
}

async function isRegularFile(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isFile();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Removes the entry itself, never what it points to. A folder is removed only when it is empty. */
async function remove(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return;
    if (code !== 'EISDIR') throw error;
    await rmdir(path);
  }
}

async function create(path: string, content: string): Promise<void> {
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = constants;
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, FILE_MODE);
  try {
    await file.writeFile(content);
  } finally {
    await file.close();
  }
}

async function writing(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new Failure('monitor.flag-unwritable', `${path} cannot be written: ${folderErrorReason(error)}`, {
      cause: error,
    });
  }
}
