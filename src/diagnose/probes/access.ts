import { access, constants } from 'node:fs/promises';
import { systemCode } from '../../support/failures.ts';

/** Whether this user may not read a file, or not even see whether there is one. Nothing else counts. */
export async function cannotRead(path: string): Promise<boolean> {
  try {
    await access(path, constants.R_OK);
    return false;
  } catch (error) {
    return systemCode(error) === 'EACCES';
  }
}
