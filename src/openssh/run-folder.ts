import { constants, mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileErrorReason, makeFolder, removeLeftovers, replaceFile } from '../support/atomic-file.ts';
import { type Clock, pause } from '../support/clock.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { killGroup } from '../support/program.ts';
import { HOST_KEY_ALIAS } from './config.ts';

/** The files of one run. */
export interface RunFiles {
  config: string;
  knownHosts: string;
  /** A host key trusted at first use that could not be stored in its place; it outlives the run. */
  spareKey: string;
}

export const filesIn = (folder: string): RunFiles => ({
  config: join(folder, 'config'),
  knownHosts: join(folder, 'known_hosts'),
  spareKey: join(folder, 'host_key'),
});

/** All that anybody on the machine can read of a run. */
export const argumentsFor = ({ config }: RunFiles): string[] => ['-N', '-F', config, HOST_KEY_ALIAS];

const failed = (folder: string, error: unknown) =>
  new Failure('ssh.folder-unusable', `the folder ${folder} cannot be used: ${fileErrorReason(error)}`, {
    cause: error,
  });

/**
 * Makes the folder and nobody else's, and removes what a killed run left there.
 * @throws Failure `ssh.folder-unusable`
 */
export async function openRunFolder(folder: string): Promise<RunFiles> {
  try {
    await makeFolder(dirname(folder));
    await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
      if (systemCode(error) !== 'EEXIST') throw error;
    });
    const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    try {
      const { uid, mode } = await handle.stat();
      if (uid !== process.geteuid?.()) throw new Error(`it belongs to user ${uid}`);
      if ((mode & 0o077) !== 0) await handle.chmod(0o700);
    } finally {
      await handle.close();
    }
    const files = filesIn(folder);
    await removeRunFiles(files);
    return files;
  } catch (error) {
    throw failed(folder, error);
  }
}

/** @throws Failure `ssh.folder-unusable` */
export async function writeRunFiles(files: RunFiles, config: string, knownHosts: string): Promise<void> {
  try {
    await replaceFile(files.knownHosts, knownHosts, { mode: 0o600 });
    await replaceFile(files.config, config, { mode: 0o600 });
  } catch (error) {
    throw failed(dirname(files.config), error);
  }
}

export async function removeRunFiles(files: RunFiles): Promise<void> {
  for (const path of [files.config, files.knownHosts]) {
    await removeLeftovers(path);
    await rm(path, { force: true });
  }
}

const GONE_WITHIN_MS = 2_000;
const LOOK_EVERY_MS = 20;

/**
 * Ends an ssh that a killed process of ours left behind: two of one device would take the session from each other. It
 * is known by its arguments, which name this folder: no file has to be written in time for that, and no number of a
 * process that has been given to another one can be mistaken for it.
 */
export async function endLeftovers(files: RunFiles, clock: Clock): Promise<void> {
  const endMs = clock.nowMs() + GONE_WITHIN_MS;
  for (;;) {
    const pids = await runsOf(files);
    if (pids.length === 0 || clock.nowMs() > endMs) return;
    for (const pid of pids) killGroup(pid);
    await pause(clock, LOOK_EVERY_MS, new AbortController().signal);
  }
}

async function runsOf(files: RunFiles): Promise<number[]> {
  const tail = `\0${argumentsFor(files).join('\0')}\0`;
  const names = await readdir('/proc').catch(() => []);
  const found: number[] = [];
  for (const name of names.filter((each) => /^\d+$/.test(each))) {
    const commandLine = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
    if (commandLine.endsWith(tail)) found.push(Number(name));
  }
  return found;
}
