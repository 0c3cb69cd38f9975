import { randomBytes } from 'node:crypto';
import { constants, type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

export interface FileOwner {
  uid: number;
  gid: number;
}

/**
 * Replaces a file as a whole: at every moment, power cuts included, `path` is the old file or the new one.
 * Temporary file in the same folder, mode and owner set before a byte is visible under the name, fsync, rename,
 * fsync of the folder. On any error the old file is untouched, the temporary file is gone, and the error is thrown.
 *
 * @param mode permission bits of the new file, 0o600 for example (the umask does not apply)
 * @param owner set where given; the process needs the right to do so
 */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  options: { mode: number; owner?: FileOwner },
): Promise<void> {
  const folder = dirname(path);
  const temporary = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  try {
    await writeDurably(temporary, content, options);
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  await syncFolder(folder);
}

async function writeDurably(
  path: string,
  content: string | Uint8Array,
  { mode, owner }: { mode: number; owner?: FileOwner },
): Promise<void> {
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = constants;
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  try {
    await file.chmod(mode);
    if (owner !== undefined) await file.chown(owner.uid, owner.gid);
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes a rename or an unlink in `folder` survive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  let handle: FileHandle | null = null;
  try {
    handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    await handle.sync();
  } finally {
    await handle?.close();
  }
}
