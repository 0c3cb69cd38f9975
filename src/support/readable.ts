import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/**
 * Looks at the files of the system, /proc above all, of which each may be gone, or not for this user: then there is
 * nothing. For what a person has written, and for what must be known, read the file and say why it cannot be.
 */
export function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

/** The names in a folder, in no order. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Where a link leads; null where there is none. */
export function linkTarget(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
