import { open } from 'node:fs/promises';
import { fileErrorReason } from '../../support/atomic-file.ts';
import { cleanText } from '../../support/text.ts';
import type { Facts } from '../facts.ts';

/** A piece of a file in the bundle: what was asked, and what it said, or why it said nothing. */
export type Piece =
  | { readonly title: string; readonly text: string }
  | { readonly title: string; readonly reason: string };

export type Part = (facts: Facts) => Promise<Piece>;

const PROGRAM_TIMEOUT_MS = 2_500;
const MAX_FILE_BYTES = 512 * 1024;

/** What a program prints. One that ends with a fault has something to say all the same, if it prints anything. */
export function program(command: string, ...args: string[]): Part {
  const title = [command, ...args].join(' ');
  return async (facts) => {
    const end = await facts.run(command, args, PROGRAM_TIMEOUT_MS);
    if (end.kind === 'ended') {
      if (end.stdout.trim() !== '') return { title, text: end.stdout };
      if (end.exitCode === 0) return { title, text: end.stderr.trim() === '' ? '(nothing)' : end.stderr };
      return { title, reason: firstLine(end.stderr) || `it ended with ${end.exitCode}` };
    }
    return { title, reason: REASONS[end.kind] };
  };
}

export const REASONS = {
  failed: 'it could not be run',
  missing: 'there is no such program',
  'too-much': 'it prints too much',
  timeout: `it did not end within ${PROGRAM_TIMEOUT_MS / 1000} s`,
  stopped: 'there was no time left',
};

/** A file, of a long one its end; without its comments where it is a configuration: people write anything into them. */
export function file(path: string, { comments = true }: { comments?: boolean } = {}): Part {
  return async () => {
    try {
      const text = await endOf(path, MAX_FILE_BYTES);
      return { title: path, text: comments ? text : withoutComments(text) };
    } catch (error) {
      return { title: path, reason: fileErrorReason(error) };
    }
  };
}

/** What a function of ours finds out. */
export function found(title: string, look: (facts: Facts) => Promise<string>): Part {
  return async (facts) => {
    try {
      return { title, text: await look(facts) };
    } catch (error) {
      return { title, reason: cleanText(fileErrorReason(error)) };
    }
  };
}

/** The first that says anything. */
export function firstOf(...parts: readonly Part[]): Part {
  return async (facts) => {
    const failed: string[] = [];
    for (const part of parts) {
      const piece = await part(facts);
      if ('text' in piece) return { ...piece, text: [...failed.map((each) => `(${each})`), piece.text].join('\n') };
      failed.push(`${piece.title}: ${piece.reason}`);
    }
    return { title: 'none of these', reason: failed.join('; ') };
  };
}

/** At most so many bytes of the end of a regular file, or of one of /proc, beginning with a whole line. */
export async function endOf(path: string, maxBytes: number): Promise<string> {
  const handle = await open(path, 'r');
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new Error('it is not a regular file');
    const start = Math.max(0, stats.size - maxBytes);
    const bytes = Buffer.alloc(maxBytes);
    let length = 0;
    // Those of /proc have no size, and come in pages.
    for (let read = -1; read !== 0 && length < maxBytes; length += read) {
      ({ bytesRead: read } = await handle.read(bytes, length, maxBytes - length, start + length));
    }
    const text = bytes.toString('utf8', 0, length);
    return start === 0 ? text : text.slice(text.indexOf('\n') + 1);
  } finally {
    await handle.close();
  }
}

export function withoutComments(text: string): string {
  return text
    .split('\n')
    .map((line) => line.replace(/(?:^|\s)[#;].*$/, ''))
    .filter((line) => line.trim() !== '')
    .join('\n');
}

const firstLine = (text: string) => cleanText(text.trim().split('\n')[0] ?? '', 200);
