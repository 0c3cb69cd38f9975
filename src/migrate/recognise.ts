import type { Part, Role } from './model.ts';

// What the software deployed before is known by. Nothing here is a guess by resemblance: what is not known by these
// names, its source or its answers is unknown, and left alone.

/** Ours is `tunnel-agent`, with a hyphen and without an end. */
const AGENT = /^(?:meeting[-_])?(?:tunnel_agent(?:\.py|\.sh)?|tunnel-agent\.(?:py|sh))$/;
const MONITOR = /^zeroforce[-_]tunnel[-_]monitor(?:\.sh)?$/;
const SSHD_CONFIG = /^beamer-ssh-tunnel$/;
const OUR_SSHD_CONFIG = '/etc/zeroforce/sshd_config';

export const baseName = (path: string) => path.slice(path.lastIndexOf('/') + 1);

/** The role that a file name alone tells; null for all others. */
export function roleOfName(path: string): Role | null {
  const name = baseName(path);
  if (AGENT.test(name)) return 'agent';
  if (MONITOR.test(name)) return 'monitor';
  return SSHD_CONFIG.test(name) ? 'sshd' : null;
}

/** Programs that run other programs, or do the small work of scripts; where they stand says nothing. */
const INTERPRETER = /^(?:python|pypy|node|perl|lua)[\d.]*$|^(?:ba|da|a)?sh$|^busybox$|^env$/;
/** Folders of the system's own programs and of data. */
const OF_THE_SYSTEM = /^\/(?:usr\/)?s?bin\/|^\/(?:dev|proc|sys|run|tmp|lib|usr\/lib|usr\/share|var)\/|^\/etc\//;
const WORD = /[\w.@%+:${}~/-]+/g;

/**
 * What in the text of an init script, a command line or a line of cron may be a program: known names, absolute paths
 * outside of the system's folders, and files of Python or shell. Comments are passed over.
 */
export function mentionedPrograms(text: string): string[] {
  const found = new Set<string>();
  for (const line of text.split('\n')) {
    if (/^\s*#/.test(line)) continue;
    for (const word of line.match(WORD) ?? []) {
      const path = word.replace(/^-+[\w-]*/, '').replace(/[:.]+$/, '');
      if (INTERPRETER.test(baseName(path))) continue;
      const known = roleOfName(path) !== null;
      const named = /\.(?:py|sh)$/.test(path) && !OF_THE_SYSTEM.test(path);
      const foreign = /^\/\w/.test(path) && !OF_THE_SYSTEM.test(path);
      if (known || named || foreign) found.add(path);
    }
  }
  return [...found];
}

/** The script or program that the words of a process run: `python3 -u /opt/x/tunnel_agent.py` → the path. Null: none of interest. */
export function programOfWords(words: readonly string[]): string | null {
  const [head = '', ...rest] = words;
  if (!INTERPRETER.test(baseName(head))) return head === '' ? null : head;
  for (let at = 0; at < rest.length; at += 1) {
    const word = rest[at] ?? '';
    if (word === '-m') return rest[at + 1] ?? null;
    if (word === '-c') return null; // its text is no program of the deployed software
    if (word === '-X' || word === '-W') at += 1;
    else if (!/^-|^\w+=/.test(word) && !INTERPRETER.test(baseName(word))) return word;
  }
  return null;
}

/** Whether a process is ours: the service, its launcher, one of its helpers, or the sshd of the paired tunnel. */
export function isOurs(words: readonly string[]): boolean {
  if (isSshd(words)) return wordsOfSshd(words).includes(OUR_SSHD_CONFIG);
  return words.slice(0, 6).some((word) => /^tunnel-agent(?:\.[cm]?js)?$/.test(baseName(word)));
}

const isSshd = ([head = '']: readonly string[]) => /^(?:\S*\/)?sshd\b/.test(head);
/** It writes one text over its words: `sshd: /usr/sbin/sshd -f FILE [listener] 0 of 10 startups`. */
const wordsOfSshd = (words: readonly string[]) => words.flatMap((word) => word.split(' '));

/** What the source of a Python program tells of it. */
export interface SourceFacts {
  /** The routes that it serves. */
  readonly routes: readonly string[];
  /** Something by which it may do more than its routes say; null where there is nothing of that kind. */
  readonly more: string | null;
  /** Modules that it takes from its own folder, by name. */
  readonly imports: readonly string[];
}

const ROUTE = /\.(?:route|get|post|put|patch|delete|add_url_rule)\(\s*[rbfu]{0,2}(['"])(\/[^'"\n]*)\1/g;
const UNREADABLE_ROUTE = /\.(?:route|add_url_rule)\(\s*(?![rbu]{0,2}['"]\/)/;
/** It starts programs, loads code by name, or answers what no route names. */
const MORE: readonly (readonly [RegExp, string])[] = [
  [/\b(?:subprocess|os\.system|os\.popen|os\.exec\w*|os\.spawn\w*|pty\.)/, 'it starts other programs'],
  [/\b(?:importlib|__import__|exec\(|eval\(|runpy)/, 'it loads code that its source does not name'],
  [/\b(?:SocketServer|socketserver|http\.server|asyncio\.start_server|\.bind\()/, 'it opens sockets of its own'],
  [/\.(?:errorhandler\(404|before_request|url_map)\b/, 'it answers paths that it does not name'],
];

/** Reads the source of a program in Python, without its comments. Pure. */
export function readSource(text: string): SourceFacts {
  const code = text.replace(/^\s*#.*$/gm, '');
  const routes = [...code.matchAll(ROUTE)].map(([, , route = '']) => route);
  const why = MORE.find(([pattern]) => pattern.test(code))?.[1] ?? null;
  const unreadable = UNREADABLE_ROUTE.test(code) ? 'a route of it cannot be read' : null;
  const names = [...code.matchAll(/^\s*(?:from\s+([.\w]+)\s+import|import\s+([\w.,\t ]+))/gm)].flatMap(
    ([, from, names = '']) =>
      from !== undefined ? [from] : names.split(',').map((name) => name.trim().split(/\s/)[0] ?? ''),
  );
  const imports = names.map((name) => name.replace(/^\.+/, '').split('.')[0] ?? '').filter((name) => name !== '');
  return { routes, more: why ?? unreadable, imports: [...new Set(imports)] };
}

/** Whether a source is that of a pairing application at all. */
export function servesPairing({ routes }: Pick<SourceFacts, 'routes'>): boolean {
  return routes.some((route) => /^\/zeroforce\//.test(route) || route === '/api/exported-devices');
}

/** What is known of a pairing application. */
export interface AppFacts {
  /** Of its source with all that it imports from its own folder; null where it cannot be read. */
  readonly source: Pick<SourceFacts, 'routes' | 'more'> | null;
  /** What it answers, where it runs: the status of `GET /api/exported-devices`; null where it was not asked or silent. */
  readonly exportedDevices: number | null;
  /** The ports that it listens on, where it runs. */
  readonly ports: readonly number[];
}

/**
 * Whether an application is for pairing and nothing else, which must be known: what does more, or may do more, is not
 * ours to stop.
 */
export function judgeApp({ source, exportedDevices, ports }: AppFacts): {
  role: 'pairing' | 'more' | 'usb';
  why: string;
} {
  if (source !== null && !source.routes.some((route) => route.startsWith('/zeroforce/'))) {
    return { role: 'usb', why: 'it serves USB devices' };
  }
  const more = (why: string) => ({ role: 'more' as const, why });
  if (exportedDevices !== null && exportedDevices !== 404) {
    return more(`it answers /api/exported-devices (${exportedDevices}): it serves USB devices, too`);
  }
  if (ports.length > 1) return more(`it listens on ${ports.join(' and ')}`);
  if (source === null) return more('its source cannot be read, so nobody knows what else it does');
  const others = source.routes.filter((route) => !route.startsWith('/zeroforce/'));
  if (others.length > 0) return more(`it serves ${others.slice(0, 3).join(', ')}, too`);
  if (source.more !== null) return more(source.more);
  return { role: 'pairing', why: 'it serves /zeroforce/ and nothing else' };
}

/** Where the flag is, in the text of a monitor; null where the text does not say. */
export function flagFolderOf(text: string): string | null {
  const direct = /(\/[\w./-]+)\/tunnel_active\b/.exec(text)?.[1];
  if (direct !== undefined) return direct;
  return (
    /^\s*(?:readonly\s+|export\s+)?\w*(?:DIR|FOLDER|dir)\w*=["']?(\/(?:var\/)?run\/[\w./-]+)/m.exec(text)?.[1] ?? null
  );
}

/** What the configuration of an sshd says before its first Match block; the first of each wins (sshd_config(5)). */
export function readSshdConfig(text: string): { port: number | null; keysFile: string | null } {
  const global = text.split(/^\s*Match\b/im)[0] ?? '';
  const first = (keyword: string) =>
    new RegExp(`^[ \\t]*${keyword}[ \\t=]+"?([^\\s"#]+)`, 'im').exec(global)?.[1] ?? null;
  const port = Number(first('Port') ?? Number.NaN);
  const file = first('AuthorizedKeysFile');
  const expanded = file?.replaceAll('%%', '%').replaceAll('%h', '/root').replaceAll('%u', 'root') ?? null;
  const keysFile =
    expanded === null || expanded === 'none' ? null : expanded.startsWith('/') ? expanded : `/root/${expanded}`;
  return { port: Number.isInteger(port) && port > 0 && port < 65_536 ? port : null, keysFile };
}

/** Takes lines of a table of cron or of rc.local out of force, so that each can be read again. */
export const LINE_MARK = '# taken over by zeroforce: ';

/**
 * The text with these lines out of force.
 * @param lines by number, from 0
 * @param noop for a shell script: a line between `then` and `fi` must stay a command
 */
export function withoutLines(text: string, lines: ReadonlySet<number>, noop: boolean): string {
  return text
    .split('\n')
    .map((line, at) => (lines.has(at) ? `${noop ? ': ' : ''}${LINE_MARK}${line}` : line))
    .join('\n');
}

/** Whether a line is a command of its own, and not a part of one that goes over several lines. */
export function standsAlone(lines: readonly string[], at: number): boolean {
  const continued = /(?:\\|&&|\|\|?|\bthen|\bdo|\{|\()\s*$/;
  const [before = '', line = ''] = [lines[at - 1], lines[at]];
  const opens = /^\s*(?:if|while|until|for|case)\b|\b(?:then|do|fi|done)\b|<<|[{}]\s*$/;
  return !/\\\s*$|(?:&&|\|\|?)\s*$/.test(before) && !continued.test(line) && !opens.test(line);
}

/** The command of a line of cron, and as whom where the line says that; null for settings and comments. */
export function cronCommand(
  line: string,
  hasUser: boolean,
): { command: string; atBoot: boolean; user?: string } | null {
  const text = line.trim();
  if (text === '' || text.startsWith('#') || /^\w+\s*=/.test(text)) return null;
  const atBoot = /^@reboot\s/.test(text);
  const rest = text.startsWith('@') ? text.replace(/^@\w+\s+/, '') : text.replace(/^(?:\S+\s+){5}/, '');
  if (!hasUser) return { command: rest, atBoot };
  return { command: rest.replace(/^\S+\s+/, ''), atBoot, user: /^\S*/.exec(rest)?.[0] ?? '' };
}

/** The part that a process of these words is, by its name; null for all others. */
export function partOfWords(words: readonly string[]): Part | null {
  const program = programOfWords(words);
  if (program === null || isOurs(words)) return null;
  if (isSshd(words)) {
    const config = wordsOfSshd(words).find((word) => roleOfName(word) === 'sshd');
    return config === undefined ? null : { role: 'sshd', program: config };
  }
  const role = roleOfName(program);
  return role === null || role === 'sshd' ? null : { role, program };
}
