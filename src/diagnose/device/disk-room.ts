// How full a file system is, and what that means, by the numbers of statfs(2).

export interface Room {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** 0 where the file system has no such limit. */
  readonly files: number;
  readonly freeFiles: number;
}

export function roomOf(stat: { bsize: number; blocks: number; bavail: number; files: number; ffree: number }): Room {
  const { bsize, blocks, bavail, files, ffree } = stat;
  return { totalBytes: blocks * bsize, freeBytes: bavail * bsize, files, freeFiles: ffree };
}

/** What the service writes are some kilobytes: only where these are in question is it worth a word. */
const LEAST_BYTES = 4 * 1024 * 1024;
const LEAST_FILES = 200;
/** A small disk is not full because it is small. */
const LEAST_SHARE = 0.05;

/** Where it is nearly full, which of the two; null where there is room. */
export function scarce({ totalBytes, freeBytes, files, freeFiles }: Room): 'space' | 'inodes' | null {
  if (totalBytes > 0 && freeBytes < LEAST_BYTES && freeBytes < LEAST_SHARE * totalBytes) return 'space';
  if (files > 0 && freeFiles < LEAST_FILES && freeFiles < LEAST_SHARE * files) return 'inodes';
  return null;
}

/** `1.5 MiB of 64 MiB, 12 of 100 inodes are free`. */
export function describeRoom({ totalBytes, freeBytes, files, freeFiles }: Room): string {
  const space = `${mebibytes(freeBytes)} of ${mebibytes(totalBytes)}`;
  return `${space}${files > 0 ? `, ${freeFiles} of ${files} inodes` : ''} are free`;
}

function mebibytes(bytes: number): string {
  const MIB = 1024 * 1024;
  return `${bytes < 10 * MIB ? (bytes / MIB).toFixed(1) : Math.round(bytes / MIB)} MiB`;
}
