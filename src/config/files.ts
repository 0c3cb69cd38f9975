import { isUtf8 } from 'node:buffer';
import { constants, open } from 'node:fs/promises';
import { systemCode } from '../support/failures.ts';

/** A file as it was read: gone, unusable for the reason given, or what it holds, with its permission bits. */
export type ReadResult<Content> =
  | { readonly state: 'absent' }
  | { readonly state: 'unusable'; readonly expected: string }
  | ({ readonly state: 'read'; readonly mode: number } & Content);

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'a file that the service may read',
  EPERM: 'a file that the service may read',
  ELOOP: 'a file, not a ring of links',
  ENOTDIR: 'a path that leads through folders only',
  ENXIO: 'a regular file',
};

/** Reads a regular file of UTF-8 text of at most `limitBytes`. A byte order mark is dropped. */
export async function readText(path: string, limitBytes: number): Promise<ReadResult<{ readonly text: string }>> {
  const file = await readBytes(path, limitBytes);
  if (file.state !== 'read') return file;
  const { bytes, mode } = file;
  if (!isUtf8(bytes)) return { state: 'unusable', expected: 'UTF-8 text' };
  return { state: 'read', text: bytes.toString('utf8').replace(/^\ufeff/, ''), mode };
}

/** Reads a regular file of at most `limitBytes`, and never more of it. */
export async function readBytes(path: string, limitBytes: number): Promise<ReadResult<{ readonly bytes: Buffer }>> {
  try {
    // Non-blocking: opening a FIFO that nobody writes to would hang.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile()) return { state: 'unusable', expected: 'a regular file' };
      const buffer = Buffer.alloc(limitBytes + 1);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      if (bytesRead > limitBytes) return { state: 'unusable', expected: `a file of at most ${limitBytes} bytes` };
      return { state: 'read', bytes: buffer.subarray(0, bytesRead), mode: stat.mode & 0o777 };
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return { state: 'absent' };
    return { state: 'unusable', expected: REASONS[code ?? ''] ?? `a readable file (${code ?? 'unknown error'})` };
  }
}
