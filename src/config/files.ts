import { isUtf8 } from 'node:buffer';
import { constants, open } from 'node:fs/promises';
import { systemCode } from '../support/failures.ts';

/** A file as it was read: gone, unusable for the reason given, or its text with its permission bits. */
export type ReadResult =
  | { readonly state: 'absent' }
  | { readonly state: 'unusable'; readonly expected: string }
  | { readonly state: 'read'; readonly text: string; readonly mode: number };

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'a file that the service may read',
  EPERM: 'a file that the service may read',
  ELOOP: 'a file, not a ring of links',
  ENOTDIR: 'a path that leads through folders only',
  ENXIO: 'a regular file',
};

/** Reads a regular file of UTF-8 text, never more than `limitBytes` of it. A byte order mark is dropped. */
export async function readText(path: string, limitBytes: number): Promise<ReadResult> {
  try {
    // Non-blocking: opening a FIFO that nobody writes to would hang.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile()) return { state: 'unusable', expected: 'a regular file' };
      const buffer = Buffer.alloc(limitBytes + 1);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      if (bytesRead > limitBytes) return { state: 'unusable', expected: `a file of at most ${limitBytes} bytes` };
      const bytes = buffer.subarray(0, bytesRead);
      if (!isUtf8(bytes)) return { state: 'unusable', expected: 'UTF-8 text' };
      return { state: 'read', text: bytes.toString('utf8').replace(/^\ufeff/, ''), mode: stat.mode & 0o777 };
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return { state: 'absent' };
    return { state: 'unusable', expected: REASONS[code ?? ''] ?? `a readable file (${code ?? 'unknown error'})` };
  }
}
