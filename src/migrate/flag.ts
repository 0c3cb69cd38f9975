import { constants, lstatSync } from 'node:fs';
import { lstat, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../support/failures.ts';

/** The name is a contract of the deployed monitor with the deployed application, and of ours. */
const FLAG_NAME = 'tunnel_active';

export type FlagState = 'present' | 'absent';

/** Whether the flag of the monitor is there; in doubt it is. */
export function readFlag(runDir: string): FlagState {
  try {
    lstatSync(join(runDir, FLAG_NAME));
    return 'present';
  } catch (error) {
    return systemCode(error) === 'ENOENT' ? 'absent' : 'present';
  }
}

/**
 * Makes the run folder and the flag where they are missing, as they were: who is left alone reads it, and a missing flag
 * opens pairing. The monitor that runs next takes it away within seconds where no tunnel stands.
 */
export async function keepFlag(runDir: string, state: FlagState): Promise<void> {
  await mkdir(runDir, { mode: 0o755 }).catch((error: unknown) => {
    if (systemCode(error) !== 'EEXIST') throw error;
  });
  if (state === 'absent' || !(await lstat(runDir)).isDirectory()) return;
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = constants;
  try {
    await (await open(join(runDir, FLAG_NAME), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)).close();
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}
