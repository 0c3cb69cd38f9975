import { accessSync, constants, readFileSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { cleanText } from '../../support/text.ts';
import type { Facts, Probe } from '../facts.ts';
import { EffectiveConfig } from '../sshd/effective.ts';
import { matchesPattern } from '../sshd/patterns.ts';
import {
  brokenProgram,
  type ConfigFault,
  configFault,
  isCertainForAnybody,
  opensshVersion,
} from '../sshd/test-output.ts';
import { perRole, type Role, type SshServer, sshServer } from './sshd.ts';

/** The sshd of this machine. */
export interface SshdProgram {
  readonly path: string;
  /** `OpenSSH_9.2p1 …`; null where it does not say. */
  readonly said: string | null;
  readonly version: { readonly major: number; readonly minor: number } | null;
  /** Why it cannot run at all; null where it can. */
  readonly broken: string | null;
  /** How long it took to start and to say its version, which is most of what it does for a greeting, too. */
  readonly startMs: number;
}

const FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/sbin', '/usr/bin', '/usr/local/bin', '/opt/sbin'];

/** The file of the sshd that runs, else the one that is installed; null where there is none. */
export const sshdProgram: Probe<SshdProgram | null> = async (facts) => {
  const running = (await Promise.all([facts.get(sshServer('sshd')), facts.get(sshServer('paired'))]))
    .map(({ daemon }) => daemon?.program)
    .find((program) => program?.name === 'sshd')?.path;
  const path = [running, ...FOLDERS.map((folder) => join(folder, 'sshd'))].find(isProgram);
  if (path === undefined || path === null) return null;
  // -V is new; older ones say their version with the usage.
  const beforeMs = facts.clock.nowMs();
  const end = await facts.run(path, ['-V'], 2_000);
  const startMs = facts.clock.nowMs() - beforeMs;
  const output = end.kind === 'ended' ? `${end.stdout}\n${end.stderr}` : '';
  const said = /^OpenSSH_.*$/m.exec(output)?.[0] ?? null;
  return {
    path,
    said: said === null ? null : cleanText(said),
    version: said === null ? null : opensshVersion(said),
    broken: brokenProgram(output),
    startMs,
  };
};

/** Looked for in the folders of system programs; null where there is none. */
export function findProgram(name: string): string | null {
  return FOLDERS.map((folder) => join(folder, name)).find(isProgram) ?? null;
}

function isProgram(path: string | null | undefined): path is string {
  if (path === null || path === undefined) return false;
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export type ConfigTest =
  | { readonly kind: 'sound'; readonly command: string; readonly notes: string }
  | { readonly kind: 'broken'; readonly command: string; readonly fault: ConfigFault }
  | { readonly kind: 'unknown'; readonly why: string };

/** What `sshd -t` says of the configuration of this role. */
export const configTest = perRole(test);

async function test(facts: Facts, role: Role): Promise<ConfigTest> {
  const program = await facts.get(sshdProgram);
  if (program === null) return { kind: 'unknown', why: 'there is no sshd' };
  const { configFile, daemon } = await facts.get(sshServer(role));
  const args = ['-t', '-f', configFile, ...(daemon?.command.overrides ?? [])];
  const command = [program.path, ...args].join(' ');
  const end = await facts.run(program.path, args);
  if (end.kind !== 'ended') return { kind: 'unknown', why: `${command} did not end in order (${end.kind})` };
  if (end.exitCode === 0) return { kind: 'sound', command, notes: cleanText(end.stderr) };
  const fault = configFault(end.stderr);
  if (!facts.isRoot && !isCertainForAnybody(fault)) return { kind: 'unknown', why: `only root can try: ${command}` };
  return { kind: 'broken', command, fault };
}

export type Effective =
  | { readonly kind: 'known'; readonly config: EffectiveConfig; readonly command: string }
  | { readonly kind: 'unknown'; readonly why: string };

/** Of one user who comes from the address that matters for this role. */
export type EffectiveOf = (user: string) => Promise<Effective>;

/** The effective configuration of this role for a user, Match blocks resolved. */
export const effective = perRole(effectiveReader);

async function effectiveReader(facts: Facts, role: Role): Promise<EffectiveOf> {
  const program = await facts.get(sshdProgram);
  const server = await facts.get(sshServer(role));
  if (program === null) return async () => ({ kind: 'unknown', why: 'there is no sshd' });
  if (!facts.isRoot) return async () => ({ kind: 'unknown', why: 'only root can ask sshd: run this as root' });
  const hasMatch = (await facts.get(configFiles(role))).some(({ text }) => text === null || /^\s*match\b/im.test(text));
  const known = new Map<string, Promise<Effective>>();
  return (user) => {
    // Without Match blocks it is the same for all, and each question costs a process.
    const key = hasMatch ? user : '';
    const found = known.get(key) ?? ask(facts, program.path, server, user);
    known.set(key, found);
    return found;
  };
}

async function ask(
  facts: Facts,
  path: string,
  { configFile, daemon, sources, target }: SshServer,
  user: string,
): Promise<Effective> {
  const source = sources[0] ?? target.host;
  // Without UseDNS, the default, sshd knows its client by the address alone.
  const connection = `user=${user},host=${source},addr=${source},laddr=${target.host},lport=${target.port}`;
  const args = ['-T', '-f', configFile, ...(daemon?.command.overrides ?? []), '-C', connection];
  const command = `${basename(path)} -T -f ${configFile} -C user=${user},addr=${source}`;
  const end = await facts.run(path, args);
  if (end.kind === 'ended' && end.exitCode === 0) {
    return { kind: 'known', config: new EffectiveConfig(end.stdout), command };
  }
  const why = end.kind === 'ended' ? cleanText(end.stderr.trim().split('\n').at(-1) ?? '') : end.kind;
  return { kind: 'unknown', why: `${command}: ${why}` };
}

/** A file that sshd reads its configuration from; the text is null where it cannot be read. */
export interface ConfigFile {
  readonly path: string;
  readonly text: string | null;
  readonly changedMs: number;
}

/** The configuration file of this role, and those that it includes. */
export const configFiles = perRole(readConfigFiles);

const MAX_DEPTH = 4;
const MAX_FILES = 64;

async function readConfigFiles(facts: Facts, role: Role): Promise<ConfigFile[]> {
  const { configFile } = await facts.get(sshServer(role));
  const found: ConfigFile[] = [];
  const read = async (path: string, depth: number): Promise<void> => {
    if (depth > MAX_DEPTH || found.length >= MAX_FILES || found.some((file) => file.path === path)) return;
    const text = await readFile(path, 'latin1').catch(() => null);
    const changedMs = await stat(path).then(
      ({ mtimeMs }) => mtimeMs,
      () => 0,
    );
    found.push({ path, text, changedMs });
    for (const [, patterns = ''] of text?.matchAll(/^[ \t]*include(?:[ \t]+|[ \t]*=[ \t]*)(.*)$/gim) ?? []) {
      for (const pattern of patterns.replaceAll('"', '').trim().split(/\s+/)) {
        for (const included of await expand(resolve('/etc/ssh', pattern))) await read(included, depth + 1);
      }
    }
  };
  await read(configFile, 0);
  return found;
}

/** Wildcards in the name of the file alone, which is what they are used for. */
async function expand(pattern: string): Promise<string[]> {
  if (!/[*?]/.test(pattern)) return [pattern];
  const names = await readdir(dirname(pattern)).catch(() => []);
  return names
    .filter((name) => !name.startsWith('.') && matchesPattern(name, basename(pattern)))
    .toSorted()
    .map((name) => join(dirname(pattern), name));
}

/** A change this much later than the start is one; both are known to a tick only. */
const LATER_MS = 2_000;
/** /proc counts a hundred ticks a second for programs (proc(5), sysconf(_SC_CLK_TCK)). */
const TICK_MS = 10;

/**
 * The file that was changed after the running sshd had read it; null where there is none, or nobody can tell. Neither
 * the wall clock nor a reload, which keeps the process, may raise a false alarm: the file must be younger than the
 * process by the machine's own time, and younger than the pid file, which is written at each start and reload.
 */
export const changedSince = perRole(changedFile);

async function changedFile(facts: Facts, role: Role): Promise<string | null> {
  const { daemon } = await facts.get(sshServer(role));
  if (daemon === null) return null;
  const uptimeMs = Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 1000;
  const daemonAgeMs = uptimeMs - daemon.program.startTicks * TICK_MS;
  const all = await facts.get(configFiles(role));
  const late = all.find(({ changedMs }) => changedMs > 0 && Date.now() - changedMs < daemonAgeMs - LATER_MS);
  if (late === undefined) return null;
  const { pid } = daemon.program;
  const result = await (await facts.get(effective(role)))('root');
  const pidFile = result.kind === 'known' ? result.config.text('pidfile') : null;
  if (pidFile === null) return null;
  const written = await stat(pidFile).then(
    ({ mtimeMs }) => mtimeMs,
    () => null,
  );
  const holds = await readFile(pidFile, 'latin1').then(
    (text) => text.trim() === String(pid),
    () => false,
  );
  return holds && written !== null && late.changedMs > written + LATER_MS ? late.path : null;
}
