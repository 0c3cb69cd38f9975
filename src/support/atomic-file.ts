import { randomBytes } from 'node:crypto';
import {
  constants,
  type FileHandle,
  lchown,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  stat,
  unlink,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { getSystemErrorMap } from 'node:util';
import { systemCode } from './failures.ts';

export interface FileOwner {
  uid: number;
  gid: number;
}

/**
 * Replaces a file as a whole: at every moment, power cuts included, `path` is the old file or the new one.
 * Temporary file in the same folder, mode and owner set before a byte is visible under the name, fsync, rename,
 * fsync of the folder. A link at `path` is replaced itself; what it points to stays as it is.
 *
 * When it throws, the old file is in place, also when it was the last step that failed: the old file is kept under a
 * second name until the folder is on the disk, and put back otherwise. Only if that fails too does the new file stay;
 * then nothing is thrown and `durable` is false: the new file is in force, but a power cut may bring back the old one.
 *
 * @param mode permission bits of the new file, 0o600 for example (the umask does not apply)
 * @param owner set where given; the process needs the right to do so
 */
export async function replaceFile(
  path: string,
  content: string | Uint8Array,
  options: { mode: number; owner?: FileOwner },
): Promise<{ durable: boolean }> {
  const fresh = temporaryName(path);
  const kept = temporaryName(path);
  try {
    await writeDurably(fresh, content, options);
    const hadOld = await linkIfThere(path, kept);
    await rename(fresh, path);
    try {
      await syncFolder(dirname(path));
      return { durable: true };
    } catch (error) {
      if (await putBack(path, hadOld ? kept : null)) throw error;
      return { durable: false };
    }
  } finally {
    await unlink(fresh).catch(() => undefined);
    await unlink(kept).catch(() => undefined);
  }
}

/**
 * Removes what a killed `replaceFile` of this path left behind. Not to be called while one is under way.
 * What cannot be removed stays: it harms nobody, and the replacement that follows reports what is wrong.
 */
export async function removeLeftovers(path: string): Promise<void> {
  const folder = dirname(path);
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    if (isTemporaryName(name, basename(path))) await unlink(join(folder, name)).catch(() => undefined);
  }
}

/**
 * Removes a file, or a link itself; when it resolves, there is none after a power cut either. Also where there is none
 * now: who removed it may have been killed before the last step. Not to be called while a `replaceFile` of it is under way.
 */
export async function removeFile(path: string): Promise<void> {
  await removeLeftovers(path);
  await unlink(path).catch(unlessMissing);
  await syncFolder(dirname(path)).catch(unlessMissing);
}

function unlessMissing(error: unknown): void {
  if (systemCode(error) !== 'ENOENT') throw error;
}

/**
 * Makes a folder, and those above it that are missing (0700), so that they survive a power cut. Made by root, they
 * belong to the owner of the folder they are made in. What exists is left as it is.
 *
 * Not `mkdir` with `recursive`: it hides the reason of a failure (EIO comes out as ENOENT), and never ends below /proc.
 */
export async function makeFolder(folder: string, mode = 0o700): Promise<void> {
  if (await isThere(folder)) return;
  const parent = dirname(resolve(folder));
  await makeFolder(parent);
  try {
    await mkdir(folder, mode);
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return; // somebody else was faster
    throw error;
  }
  if (process.geteuid?.() === 0) {
    const { uid, gid } = await stat(parent);
    if (!isOf(await lstat(folder), { uid, gid })) await lchown(folder, uid, gid);
  }
  await syncFolder(parent);
}

/** Then it is not changed: a sandbox may forbid the very call. */
function isOf(one: FileOwner, { uid, gid }: FileOwner): boolean {
  return one.uid === uid && one.gid === gid;
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
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

/** The reason of a failed file operation in words, `no space left on device (ENOSPC)`, without paths. */
export function fileErrorReason(error: unknown): string {
  const code = systemCode(error);
  const words = getSystemErrorMap().get((error as NodeJS.ErrnoException)?.errno ?? 0)?.[1];
  if (code !== null && words !== undefined) return `${words} (${code})`;
  return error instanceof Error ? error.message : String(error);
}

const RANDOM_BYTES = 6;

/** A name in the same folder that `removeLeftovers` knows. */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(RANDOM_BYTES).toString('hex')}.tmp`);
}

function isTemporaryName(name: string, base: string): boolean {
  const [start, end] = [`.${base}.`, '.tmp'];
  if (!name.startsWith(start) || !name.endsWith(end)) return false;
  const random = name.slice(start.length, -end.length);
  return random.length === 2 * RANDOM_BYTES && /^[0-9a-f]+$/.test(random);
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
    if (owner !== undefined && !isOf(await file.stat(), owner)) await file.chown(owner.uid, owner.gid);
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Gives the file, or the link itself where it is one, a second name; false when there is none. */
async function linkIfThere(path: string, secondName: string): Promise<boolean> {
  try {
    await link(path, secondName);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Undoes the rename; true when it is undone. The fsync that failed before may fail again: it changes nothing here. */
async function putBack(path: string, kept: string | null): Promise<boolean> {
  try {
    await (kept === null ? unlink(path) : rename(kept, path));
  } catch {
    return false;
  }
  await syncFolder(dirname(path)).catch(() => undefined);
  return true;
}
