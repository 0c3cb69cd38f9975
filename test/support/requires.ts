import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * What a test needs of the machine. `requires('root', 'strace')` gives tap's `skip` option: false when all is there,
 * else the reason. With ZEROFORCE_NO_SKIP=1, as in .ci/run, a missing need is thrown: there a skip is a failure.
 */
export function requires(...needs: string[]): { skip: string | false } {
  const missing = needs.filter((need) => !has(need));
  if (missing.length === 0) return { skip: false };
  const reason = `needs ${missing.join(', ')}`;
  if (process.env.ZEROFORCE_NO_SKIP === '1') throw new Error(`a skip is a failure here: ${reason}`);
  return { skip: reason };
}

function has(need: string): boolean {
  if (need.startsWith('/')) return existsSync(need);
  if (need === 'root') return process.getuid?.() === 0;
  if (need === 'loop') return succeeds('losetup', ['-f']);
  if (need === 'namespaces') return succeeds('unshare', ['-n', 'true']);
  if (need === 'ptrace') return succeeds('strace', ['-o', '/dev/null', 'true']);
  return findProgram(need) !== null;
}

function succeeds(program: string, args: string[]): boolean {
  try {
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** The path of a program, looked for in PATH and in the folders of system programs. */
export function findProgram(name: string): string | null {
  const folders = [
    ...(process.env.PATH ?? '').split(delimiter),
    '/usr/local/sbin',
    '/usr/sbin',
    '/sbin',
    '/usr/bin',
    '/bin',
  ];
  for (const folder of folders) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here
    }
  }
  return null;
}
