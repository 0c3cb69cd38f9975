import { createHash } from 'node:crypto';
import { constants, open } from 'node:fs/promises';
import { fileErrorReason } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';

/** What follows in a larger file does not count, but its size does. */
const READ_MAX_BYTES = 64 * 1024;

/**
 * What tells the contents of the boot file apart: SHA-256 of its size and its first 64 KiB, in hex. An empty file is a
 * content, too. Null where there is none.
 *
 * @throws Failure `reset.file-unreadable`
 */
export async function bootFileContent(path: string): Promise<string | null> {
  try {
    // O_NONBLOCK: a named pipe in that place must not hang the start.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw new Error('it is not a regular file');
      const { buffer, bytesRead } = await file.read(Buffer.alloc(READ_MAX_BYTES), 0, READ_MAX_BYTES, 0);
      return createHash('sha256').update(`${stats.size}\n`).update(buffer.subarray(0, bytesRead)).digest('hex');
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return null; // no such partition perhaps
    throw new Failure('reset.file-unreadable', `${path} could not be read: ${fileErrorReason(error)}`, {
      cause: error,
    });
  }
}
