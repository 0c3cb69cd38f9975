import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileErrorReason } from '../../support/atomic-file.ts';
import { systemCode } from '../../support/failures.ts';
import { readSmallFile } from '../../support/small-file.ts';
import { type HostNames, hostNames } from '../access/host-names.ts';
import { type AccessFile, NO_RULES, readAccessFile } from '../access/rules.ts';
import type { Facts, Probe } from '../facts.ts';
import { perRole, type Role, sshServer } from './sshd.ts';
import { sshdProgram } from './sshd-config.ts';

const ALLOW = '/etc/hosts.allow';
const DENY = '/etc/hosts.deny';
const MAX_FILE_BYTES = 1024 * 1024;

/** What libwrap reads. */
export interface HostsFiles {
  readonly allow: AccessFile;
  readonly deny: AccessFile;
  readonly nameOf: HostNames;
}

/** @throws Error for a file that this user may not read */
export const hostsFiles: Probe<HostsFiles> = async () => {
  const [allow, deny, hosts] = await Promise.all([read(ALLOW), read(DENY), read('/etc/hosts').catch(() => null)]);
  return {
    allow: allow === null ? NO_RULES : readAccessFile(ALLOW, allow),
    deny: deny === null ? NO_RULES : readAccessFile(DENY, deny),
    nameOf: hostNames(hosts ?? ''),
  };
};

async function read(path: string): Promise<string | null> {
  try {
    return (await readSmallFile(path, MAX_FILE_BYTES)).bytes.toString('latin1');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw new Error(`${path} cannot be read: ${fileErrorReason(error)}`, { cause: error });
  }
}

/** The words of a file that a pattern names; null where it cannot be read. */
export function wordsOf(path: string): readonly string[] | null {
  try {
    return readFileSync(path, 'latin1')
      .split(/\s+/)
      .filter((word) => word !== '');
  } catch (error) {
    return systemCode(error) === 'ENOENT' ? [] : null;
  }
}

/** Since OpenSSH 9.8 another program of it speaks with the client. */
const SESSION_PROGRAMS = ['openssh', 'ssh'].flatMap((folder) =>
  ['/usr/lib', '/usr/libexec'].map((root) => `${root}/${folder}/sshd-session`),
);
const SESSION_PROGRAM = '/usr/libexec/sshd-session';

/** Whether a server asks libwrap at all. */
export interface Wrapping {
  /** Names by which rules may call it; none where it does not ask. */
  readonly names: readonly string[];
  /** The files that were looked at. */
  readonly programs: readonly string[];
}

/** @throws Error where its program cannot be found or read */
export const wrapping = perRole(look);

async function look(facts: Facts, role: Role): Promise<Wrapping> {
  const { daemon } = await facts.get(sshServer(role));
  const program = daemon?.program.path ?? (await facts.get(sshdProgram))?.path ?? null;
  if (program === null) throw new Error('the program of the SSH server was not found');
  const linked = isLinked(program);
  if (linked === null) throw new Error(`${program} cannot be read`);
  const name = basename(program);
  if (linked) return { names: [name], programs: [program] };
  const session = [...SESSION_PROGRAMS, SESSION_PROGRAM].find(isLinked);
  if (session === undefined || name !== 'sshd') return { names: [], programs: [program] };
  return { names: [name, basename(session)], programs: [program, session] };
}

/** A program that links a library holds its name. Null where it cannot be read. */
function isLinked(program: string): boolean | null {
  try {
    return readFileSync(program).includes('libwrap.so');
  } catch {
    return null;
  }
}
