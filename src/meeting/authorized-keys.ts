import { isKey, isKeyType, type SshKey } from './ssh-key.ts';

/**
 * The file with `key` among its lines, or null when it is there already, by type and base64, whatever options stand
 * before it. The line ends in `mark`, by which we know it again: another key in a line with our mark is one that the
 * server had before, and is exchanged where it stands, so that options put before it by hand go on to hold.
 */
export function withKey(file: string, key: SshKey, mark: string): string | null {
  const parts = file.split('\n').map((line) => ({ line, ...keyOf(line) }));
  const isSame = (part: Partial<SshKey>) => part.type === key.type && part.base64 === key.base64;
  const outdated = parts.filter((part) => part.comment === mark && !isSame(part));
  let present = parts.some(isSame);
  if (present && outdated.length === 0) return null;

  const lines = parts.flatMap((part) => {
    if (!outdated.includes(part)) return [part.line];
    if (present) return [];
    present = true;
    return [`${part.options}${key.type} ${key.base64} ${mark}`];
  });
  if (present) return lines.join('\n');
  if (lines.at(-1) !== '') lines.push(''); // the last line gets its end
  lines.splice(-1, 0, `${key.type} ${key.base64} ${mark}`);
  return lines.join('\n');
}

/** What stands before a key: words and quoted texts without a blank between them; only `\"` is an escape (sshd(8)). */
const OPTIONS = /^[ \t]*(?:[^\s"]|"(?:\\"|\\(?!")|[^"\\])*")+[ \t]+/;

function keyOf(line: string): { options: string; comment: string } & Partial<SshKey> {
  const options = isKeyType(wordsOf(line)[0] ?? '') ? '' : (OPTIONS.exec(line)?.[0] ?? '');
  const [type = '', base64 = '', ...comment] = wordsOf(line.slice(options.length));
  if (line.trimStart().startsWith('#') || !isKey(type, base64)) return { options: '', comment: '' };
  return { options, type, base64, comment: comment.join(' ') };
}

const wordsOf = (text: string): string[] => text.trim().split(/[ \t]+/);
