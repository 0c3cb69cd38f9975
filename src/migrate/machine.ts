import { spawn } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { systemClock } from '../support/clock.ts';
import { runProgram } from '../support/program.ts';
import { namesIn as unordered } from '../support/readable.ts';

/** Scripts, units and sources are far smaller. */
const MAX_BYTES = 512 * 1024;
const MAX_OUTPUT_BYTES = 256 * 1024;

/** A regular file as it is; null where there is none that can be read. */
export function readFile(path: string): Buffer | null {
  try {
    const stats = statSync(path);
    return stats.isFile() && stats.size <= MAX_BYTES ? readFileSync(path) : null;
  } catch {
    return null;
  }
}

export function readText(path: string): string | null {
  return readFile(path)?.toString('utf8') ?? null;
}

/** The names in a folder, in order; none where there is no folder. */
export function namesIn(folder: string): string[] {
  return unordered(folder).toSorted();
}

export function exists(path: string): boolean {
  return statOf(path) !== null;
}

export function statOf(path: string): ReturnType<typeof statSync> | null {
  try {
    return statSync(path);
  } catch {
    return null;
  }
}

/** A file that can be run, or that an interpreter runs; no folder, no data. */
export function isProgram(path: string): boolean {
  if (statOf(path)?.isFile() !== true) return false;
  if (/\.(?:py|sh)$/.test(path)) return true;
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export interface Ran {
  /** Null where it could not be run to its end. */
  readonly code: number | null;
  readonly output: string;
}

/** Runs a command of the init system, for at most `timeoutMs`. */
export async function command(argv: readonly string[], timeoutMs = 60_000): Promise<Ran> {
  const [program = '', ...args] = argv;
  const { signal } = new AbortController();
  const limits = { timeoutMs, maxBytes: MAX_OUTPUT_BYTES, clock: systemClock, signal };
  const end = await runProgram({ command: program, args, ...limits });
  if (end.kind === 'ended') return { code: end.exitCode, output: `${end.stdout}\n${end.stderr}`.trim() };
  if (end.kind === 'failed') return { code: null, output: end.why };
  return { code: null, output: end.kind === 'missing' ? `${program} is not there` : `${argv.join(' ')}: ${end.kind}` };
}

/** systemd gives a unit 90 s to stop (DefaultTimeoutStopSec), and one to be killed. */
const ACT_MS = 120_000;
/** What daemons that are started here see: nothing of ours. */
const PLAIN_ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' };

/**
 * Runs a command that may leave daemons behind: it is waited for and not its children, which keep no pipe to us and are
 * not ended with us. @returns its exit code; null where it was not there or did not end in time
 */
export function act(argv: readonly string[], timeoutMs = ACT_MS): Promise<number | null> {
  const [program = '', ...args] = argv;
  return new Promise((done) => {
    const child = spawn(program, args, { stdio: 'ignore', detached: true, cwd: '/', env: PLAIN_ENVIRONMENT });
    const deadline = setTimeout(() => {
      done(null);
      child.unref();
    }, timeoutMs);
    child.on('error', () => {
      clearTimeout(deadline);
      done(null);
    });
    child.on('exit', (code) => {
      clearTimeout(deadline);
      done(code);
    });
  });
}

/** Starts a command and does not wait for it. */
export function leaveRunning(argv: readonly string[]): void {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: 'ignore', detached: true, cwd: '/', env: PLAIN_ENVIRONMENT });
  child.on('error', () => undefined); // whoever waits for the program sees that it is not there
  child.unref();
}
