import type { Stats } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { KeyPath, PathFact } from '../keys/strict-modes.ts';

/**
 * A key file as sshd looks at it: links are followed first, then every folder is looked at up to the home folder of
 * the user, or to `/` where the file lies elsewhere.
 *
 * @throws the system's error: ENOENT where there is no such file, EACCES where this user may not look
 */
export async function readKeyPath(path: string, home: string): Promise<KeyPath> {
  const real = await realpath(path);
  const realHome = await realpath(home).catch(() => null);
  const file = factOf(real, await stat(real));
  const folders: PathFact[] = [];
  for (let folder = dirname(real); ; folder = dirname(folder)) {
    folders.push(factOf(folder, await stat(folder)));
    if (folder === realHome || folder === '/') return { file, folders };
  }
}

function factOf(path: string, stats: Stats): PathFact {
  const kind = stats.isFile() ? 'file' : stats.isDirectory() ? 'folder' : 'other';
  return { path, uid: stats.uid, gid: stats.gid, mode: stats.mode & 0o7777, kind };
}
