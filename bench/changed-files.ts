import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Every entry below a folder, with what changes when it is written or replaced. */
export type Snapshot = ReadonlyMap<string, string>;

export async function snapshotOf(folder: string): Promise<Snapshot> {
  const names = await readdir(folder, { recursive: true });
  const entries = names.map(async (name): Promise<[string, string]> => {
    const { ino, size, mtimeMs, ctimeMs } = await stat(join(folder, name));
    return [name, `${ino} ${size} ${mtimeMs} ${ctimeMs}`];
  });
  return new Map(await Promise.all(entries));
}

/** What was made, changed or removed between two snapshots. */
export function changedFiles(before: Snapshot, after: Snapshot): string[] {
  return [...new Set([...before.keys(), ...after.keys()])].filter((name) => before.get(name) !== after.get(name));
}
