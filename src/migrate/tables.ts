import { realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { startsOf } from './entries.ts';
import { namesIn, readFile, statOf } from './machine.ts';
import type { Entry, Part, Role } from './model.ts';
import { cronCommand, LINE_MARK, standsAlone, withoutLines } from './recognise.ts';

// Files of which single lines start the deployed software: tables of cron, rc.local, inittab.

const CRON_FOLDERS = ['/var/spool/cron/crontabs', '/var/spool/cron', '/etc/crontabs', '/var/cron/tabs'];
const RC_LOCAL = ['/etc/rc.local', '/etc/rc.d/rc.local'];
/** What a line may start to be taken out of force as a whole. */
const REPLACED: ReadonlySet<Role> = new Set(['agent', 'monitor', 'pairing']);

export function tableEntries(): Entry[] {
  const system = ['/etc/crontab', ...inFolder('/etc/cron.d')].map((path) => cron(path, true));
  const users = CRON_FOLDERS.flatMap(inFolder).map((path) => cron(path, false));
  const local = RC_LOCAL.map((path) =>
    linesOf(path, 'rc.local', (line) => ({ command: line, atBoot: true }), isRunnable(path)),
  );
  const inittab = linesOf('/etc/inittab', 'inittab', (line) => {
    const command = line.split(':').slice(3).join(':');
    return command === '' ? null : { command, atBoot: true };
  });
  const seen = new Set<string>();
  return [...system, ...users, ...local, inittab].filter((entry): entry is Entry => {
    if (entry === null) return false;
    return seen.has(entry.name) ? false : Boolean(seen.add(entry.name));
  });
}

function inFolder(folder: string): string[] {
  return namesIn(folder)
    .map((name) => join(folder, name))
    .filter((path) => statOf(path)?.isFile() === true && !/\.(?:update|tmp|dpkg-\w+)$/.test(basename(path)));
}

const isRunnable = (path: string) => (Number(statOf(path)?.mode ?? 0) & 0o111) !== 0;

function cron(path: string, hasUser: boolean): Entry | null {
  return linesOf(path, 'cron', (line) => {
    const found = cronCommand(line, hasUser);
    return found === null ? null : { user: basename(path), ...found };
  });
}

/** By whose right: what a user has in a table of his own must not become root's when it is started again. Pure. */
export function startWords(command: string, user: string): string[] {
  return user === 'root' ? ['sh', '-c', command] : ['su', '-s', '/bin/sh', '-c', command, '--', user];
}

type CommandOf = (line: string) => { command: string; atBoot: boolean; user?: string } | null;

function linesOf(name: string, kind: Entry['kind'], commandOf: CommandOf, enabled = true): Entry | null {
  const bytes = readFile(name);
  if (bytes === null) return null;
  const path = realpathSync(name); // a link must stay one
  const text = bytes.toString('utf8');
  const lines = text.split('\n');
  const parts: Part[] = [];
  const others: string[] = [];
  const taken = new Set<number>();
  const start: string[][] = [];
  for (const [at, line] of lines.entries()) {
    if (/^\s*#/.test(line) || line.includes(LINE_MARK)) continue;
    const found = commandOf(line);
    const starts = found === null ? null : startsOf(found.command);
    if (found === null || starts === null || starts.parts.length === 0) continue;
    parts.push(...starts.parts);
    if (starts.others.length > 0 || starts.parts.some(({ role }) => !REPLACED.has(role))) others.push(...starts.others);
    else taken.add(at);
    if (found.atBoot) start.push(startWords(found.command, found.user ?? 'root'));
  }
  if (parts.length === 0) return null;
  const broken = [...taken].find((at) => kind === 'rc.local' && !standsAlone(lines, at));
  const readable = Buffer.from(text, 'utf8').equals(bytes);
  const obstacle = !readable
    ? `${path} is not UTF-8 text`
    : kind === 'inittab'
      ? `it stands in ${path}, which this command does not change`
      : broken === undefined
        ? null
        : `in line ${broken + 1} of ${path} it is a part of a longer command`;
  const after = withoutLines(text, taken, kind === 'rc.local');
  return {
    kind,
    name: path,
    parts,
    others,
    enabled: enabled && (taken.size > 0 || others.length > 0),
    running: false,
    disable:
      enabled && taken.size > 0
        ? [
            {
              change: 'text',
              path,
              before: bytes.toString('base64'),
              after: Buffer.from(after).toString('base64'),
              mode: 0o600,
            },
          ]
        : [],
    obstacle,
    stop: [],
    start,
  };
}
