import { readFileSync } from 'node:fs';
import type { Probe } from '../facts.ts';

/** Whether this process may see those of others: hidepid of /proc, or ProtectProc of a unit, can hide them. */
export const othersVisible: Probe<boolean> = async () => {
  try {
    return readFileSync('/proc/1/stat', 'latin1') !== '';
  } catch {
    return false;
  }
};
