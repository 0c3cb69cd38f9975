import { createHmac } from 'node:crypto';
import type { HostKeyLine } from './answers.ts';

/** A machine that belongs to the Meeting server. */
export interface ServerHost {
  readonly host: string;
  /** Ports that a hashed name may hide; a plain name may have any. */
  readonly ports: readonly number[];
}

/**
 * The lines of an answer that are about the server itself, with plain names in lower case. Whatever it says about
 * other hosts is left out: who runs the Meeting server must not be able to stand in for anybody else.
 */
export function linesAbout(hosts: readonly ServerHost[], answer: readonly HostKeyLine[]): HostKeyLine[] {
  const candidates = hosts.flatMap(({ host, ports }) => [host, ...ports.map((port) => `[${host}]:${port}`)]);
  const own = new Set(hosts.map(({ host }) => host));
  const plain = (name: string): string | null => {
    if (name.startsWith('|')) return candidates.find((candidate) => isHashOf(name, candidate)) ?? null;
    const lower = name.toLowerCase();
    const host = /^\[(.+)\]:\d{1,5}$/.exec(lower)?.[1] ?? lower;
    return own.has(host) ? lower : null;
  };
  return answer
    .map(({ names, key }) => ({ names: [...new Set(names.map(plain).filter((name) => name !== null))], key }))
    .filter(({ names }) => names.length > 0);
}

/**
 * The file with `lines` in place of all that it says about the names in them, or null when it says just that. Other
 * lines, comments, markers (@revoked, @cert-authority) and patterns keep their place; of a line that also names other
 * hosts only our names are taken.
 */
export function replaceHostKeys(file: string, lines: readonly HostKeyLine[]): string | null {
  const names = [...new Set(lines.flatMap((line) => line.names))];
  const wanted = new Set(
    lines.flatMap((line) => line.names.map((name) => entry(name, line.key.type, line.key.base64))),
  );
  const found = new Set<string>();
  const kept: string[] = [];
  let place: number | null = null;
  for (const line of file.split('\n')) {
    const [, margin = '', patterns = '', rest = '', type = '', base64 = ''] = LINE.exec(line) ?? [];
    const others = patterns.split(',').filter((pattern) => {
      const name = names.find((each) => isHashOf(pattern, each)) ?? pattern.toLowerCase();
      if (!names.includes(name)) return true;
      found.add(entry(name, type, base64));
      return false;
    });
    if (others.length === patterns.split(',').length) {
      kept.push(line);
      continue;
    }
    place ??= kept.length;
    if (others.length > 0) kept.push(`${margin}${others.join(',')}${rest}`);
  }
  if (found.size === wanted.size && [...wanted].every((one) => found.has(one))) return null;
  const fresh = lines.map((line) => `${line.names.join(',')} ${line.key.type} ${line.key.base64}`);
  if (kept.at(-1) !== '') kept.push(''); // the last line gets its end
  kept.splice(place ?? kept.length - 1, 0, ...fresh);
  return kept.join('\n');
}

const entry = (name: string, type: string, base64: string) => `${name} ${type} ${base64}`;

/** Names, type and base64 of a line; neither comments nor markers. */
const LINE = /^([ \t]*)([^\s#@]\S*)([ \t]+(\S+)[ \t]+(\S+).*)$/s;

/** `|1|salt|hash`: HMAC-SHA1 of the name under the salt, both in base64 (ssh-keygen -H). */
function isHashOf(pattern: string, name: string): boolean {
  const [, salt, hash] = /^\|1\|([A-Za-z0-9+/=]+)\|([A-Za-z0-9+/=]+)$/.exec(pattern) ?? [];
  if (salt === undefined) return false;
  return createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest('base64') === hash;
}
