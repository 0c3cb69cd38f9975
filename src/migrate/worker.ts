import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder } from '../support/atomic-file.ts';
import { type Clock, pause } from '../support/clock.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { runningProgram } from '../support/running-programs.ts';
import { isUnderWay, type Journal, readJournal } from './journal.ts';
import { command, exists, leaveRunning, readText } from './machine.ts';

// The one that does it is a process of its own, in a session and a unit of its own: the terminal of the technician may
// hang on the very tunnel that is stopped.

const LOCK_NAME = 'migration.lock';
const UNIT = 'zeroforce-migration';
/** As often a process is started that somebody has killed. */
const MAX_KILLS = 5;
/** How long the service waits for a migration that is under way before it dials all the same. */
const WAIT_MS = 60_000;
const LOOK_MS = 250;

/** The process that has the lock now; null where none is alive. */
export function workerOf(stateDir: string): number | null {
  const [pid = '', startTicks = '', boot = ''] = (readText(join(stateDir, LOCK_NAME)) ?? '').trim().split(' ');
  if (boot !== bootId()) return null;
  return runningProgram(Number(pid))?.startTicks === Number(startTicks) ? Number(pid) : null;
}

/**
 * Takes the lock for this process.
 * @throws Failure `migrate.running` where another has it
 */
export async function takeLock(stateDir: string): Promise<() => Promise<void>> {
  const path = join(stateDir, LOCK_NAME);
  await makeFolder(stateDir);
  for (let tries = 0; tries < 3; tries += 1) {
    try {
      const file = await open(path, 'wx', 0o600);
      await file.writeFile(`${process.pid} ${runningProgram(process.pid)?.startTicks} ${bootId()}\n`);
      await file.close();
      return () => unlink(path).catch(() => undefined);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') {
        throw new Failure('state.unwritable', `${path} could not be made: ${(error as Error).message}`, {
          cause: error,
        });
      }
      const holder = workerOf(stateDir);
      if (holder !== null) throw new Failure('migrate.running', `a migration is under way, as process ${holder}`);
      await unlink(path).catch(() => undefined); // of one that was killed
    }
  }
  throw new Failure('migrate.running', 'another migration began at this moment');
}

/**
 * Starts the worker apart from this process.
 * @param words the command line that makes it
 */
export async function launch(words: readonly string[]): Promise<void> {
  if (exists('/run/systemd/system')) {
    // What it starts by hand again, for cron, outlives it.
    const options = ['--quiet', '--collect', `--unit=${UNIT}`, '-p', 'KillMode=process'];
    const { code } = await command(['systemd-run', ...options, '--', ...words]);
    if (code === 0) return;
  }
  leaveRunning(words);
}

/** Runs the worker as a child, and again where somebody kills it: in the middle there may be no tunnel. @returns its exit code */
export async function guard(words: readonly string[]): Promise<number> {
  const [program = '', ...args] = words;
  for (let kills = 0; kills < MAX_KILLS; kills += 1) {
    const [code] = (await once(spawn(program, args, { stdio: 'ignore' }), 'exit')) as [number | null];
    if (code !== null) return code;
  }
  return 1;
}

/**
 * For the service at its start: a migration that a power cut has cut off is brought to its end first. Theirs may start at
 * this boot, too, and only one of the two may hold the identity.
 *
 * @param words the command line of the worker
 * @returns what it waited for, in words; null where no migration is under way
 */
export async function settleMigration(
  stateDir: string,
  words: readonly string[],
  clock: Clock,
): Promise<string | null> {
  const read = () => readJournal(stateDir).catch(() => null);
  const first = await read();
  if (first === null || !isUnderWay(first)) return null;
  const worker = workerOf(stateDir);
  if (first.phase === 'proving' && worker !== null) return null; // it is the one that starts this service
  if (worker === null) await launch(words);
  const endMs = clock.nowMs() + WAIT_MS;
  const mayDial = (journal: Journal | null) => journal === null || journal.phase === 'proving' || !isUnderWay(journal);
  while (!mayDial(await read()) && clock.nowMs() < endMs) await pause(clock, LOOK_MS, new AbortController().signal);
  return `a migration was cut off in the phase "${first.phase}" and goes on`;
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return 'unknown';
  }
}
