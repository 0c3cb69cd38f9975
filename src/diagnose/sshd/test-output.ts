import { cleanText } from '../../support/text.ts';

/** What `sshd -t` complains of. */
export interface ConfigFault {
  readonly kind:
    | 'no-folder'
    | 'bad-folder'
    | 'no-user'
    | 'open-host-key'
    | 'no-host-key'
    | 'missing-file'
    | 'unreadable'
    | 'unknown-option'
    | 'bad-line'
    | 'other';
  /** The line that says it. */
  readonly line: string;
  /** The file, folder, user or option that the remedy names; empty where there is none. */
  readonly thing: string;
}

const KINDS: readonly (readonly [ConfigFault['kind'], RegExp])[] = [
  ['no-folder', /^Missing privilege separation directory: (\S+)/m],
  ['bad-folder', /^(\S+) must be owned by root and not group or world-writable/m],
  ['no-user', /^Privilege separation user (\S+) does not exist/m],
  ['unknown-option', /^.*(?:Bad configuration option|Unsupported option|Unknown option): (\S+).*$/m],
  ['bad-line', /^(\S+?):? line \d+: (?!Deprecated option|Unsupported option).*$/m],
  ['unreadable', /^(\S+?): Permission denied.*$/m],
  ['missing-file', /^(\S+): No such file or directory.*$/m],
  ['open-host-key', /^Permissions \d+ for '(.+)' are too open\./m],
  ['no-host-key', /^Unable to load host key(?: "(.+?)"|: (.+?))(?:: .*)?$/m],
  ['no-host-key', /^.*no hostkeys available.*$/m],
];

/** @param output of an `sshd -t` that has failed. Pure. */
export function configFault(output: string): ConfigFault {
  for (const [kind, pattern] of KINDS) {
    const match = pattern.exec(output);
    if (match !== null) return { kind, line: cleanText(match[0]), thing: cleanText(match[1] ?? match[2] ?? '') };
  }
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  return { kind: 'other', line: cleanText(lines.at(-1) ?? 'it says nothing'), thing: '' };
}

/** Whether somebody who is not root hears of this fault just as sshd does: host keys and folders only root can judge. */
export function isCertainForAnybody({ kind }: ConfigFault): boolean {
  return kind === 'unknown-option' || kind === 'bad-line';
}

/** `OpenSSH_9.2p1 Debian-2+deb12u3, …` as numbers; null where the text says no version. */
export function opensshVersion(text: string): { readonly major: number; readonly minor: number } | null {
  const [, major, minor] = /OpenSSH_(\d+)\.(\d+)/.exec(text) ?? [];
  return major === undefined || minor === undefined ? null : { major: Number(major), minor: Number(minor) };
}

/** The line of the dynamic loader of glibc or musl that a program could not start; null where there is none. */
export function brokenProgram(output: string): string | null {
  const line = /^.*(?:error while loading shared libraries|Error loading shared library|: symbol not found).*$/m.exec(
    output,
  );
  return line === null ? null : cleanText(line[0]);
}
