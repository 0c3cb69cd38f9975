// /etc/hosts.allow and /etc/hosts.deny, as libwrap reads them (hosts_access(5), hosts_options(5)).

/** One rule, its continuation lines put together. */
export interface AccessRule {
  readonly file: string;
  /** Of its first line, from 1. */
  readonly line: number;
  /** Without the end of the line. */
  readonly text: string;
  readonly daemons: readonly string[];
  readonly clients: readonly string[];
  readonly options: readonly string[];
}

/** One of the two files. */
export interface AccessFile {
  readonly rules: readonly AccessRule[];
  /**
   * The line at which libwrap gives up, because its end is missing or too far away; be it a comment. What comes after it
   * is not read, and in hosts.deny everybody is kept out then (Debian's libwrap 7.6.q).
   */
  readonly broken: AccessRule | null;
}

export const NO_RULES: AccessFile = { rules: [], broken: null };

/** Reads one of the files; a line without a colon is passed over, as libwrap does. Pure. */
export function readAccessFile(file: string, content: string): AccessFile {
  const rules: AccessRule[] = [];
  for (const { line, text, ended } of logicalLines(content)) {
    const rule = { file, line, text, daemons: [], clients: [], options: [] };
    if (!ended || Buffer.byteLength(text) > MAX_LINE_BYTES) return { rules, broken: rule };
    const [daemons = '', clients, options] = partsOf(text);
    if (text.startsWith('#') || clients === undefined) continue;
    rules.push({ ...rule, daemons: words(daemons), clients: words(clients), options: optionsOf(options) });
  }
  return { rules, broken: null };
}

/** What libwrap takes of a line, without its end. */
const MAX_LINE_BYTES = 2046;

const words = (list: string) => list.split(/[, \t\r\n]+/).filter((word) => word !== '');

/** Lines that end with a backslash go on in the next one. */
function logicalLines(text: string): { line: number; text: string; ended: boolean }[] {
  const physical = text.split('\n');
  const rest = physical.pop() ?? '';
  const found: { line: number; text: string; ended: boolean }[] = [];
  let open: { line: number; text: string } | null = null;
  for (const [index, each] of physical.entries()) {
    const start: { line: number; text: string } = open ?? { line: index + 1, text: '' };
    open = each.endsWith('\\') ? { line: start.line, text: start.text + each.slice(0, -1) } : null;
    if (open === null) found.push({ line: start.line, text: start.text + each, ended: true });
  }
  const { line, text: begun } = open ?? { line: physical.length + 1, text: '' };
  if (open !== null || rest !== '') found.push({ line, text: begun + rest, ended: false });
  return found;
}

/** By colons, but not by those of an IPv6 address in brackets. */
function partsOf(line: string): string[] {
  const parts = [''];
  let depth = 0;
  for (const character of line) {
    if (character === '[') depth += 1;
    if (character === ']') depth -= 1;
    if (character === ':' && depth === 0 && parts.length < 3) parts.push('');
    else parts[parts.length - 1] += character;
  }
  return parts;
}

/** By colons that have no backslash before them. */
function optionsOf(rest: string | undefined): string[] {
  if (rest === undefined) return [];
  return rest.split(/(?<!\\):/).map((option) => option.replaceAll('\\:', ':').trim());
}
