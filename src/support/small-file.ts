import type { Stats } from 'node:fs';
import { constants, open } from 'node:fs/promises';

/** A file that cannot be used as what it is there for; the message goes on after a colon: `…: it is a link`. */
export class UnfitFile extends Error {}

/**
 * Reads a regular file of at most `maxBytes` to its end.
 * @param flags further flags of open(2), O_NOFOLLOW for example
 * @throws UnfitFile when it is something else or larger; the system's error when it cannot be read
 */
export async function readSmallFile(
  path: string,
  maxBytes: number,
  flags = 0,
): Promise<{ bytes: Buffer; stats: Stats }> {
  // Non-blocking: opening a FIFO that nobody writes to would hang.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new UnfitFile('it is not a regular file');
    if (stats.size > maxBytes) throw new UnfitFile(`it has more than ${maxBytes} bytes`);
    return { bytes: await file.readFile(), stats };
  } finally {
    await file.close();
  }
}
