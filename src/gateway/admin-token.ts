import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import { Secret } from '../config/secret.ts';
import { fileErrorReason, makeFolder, removeLeftovers, replaceFile } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { readSmallFile, UnfitFile } from '../support/small-file.ts';

const TOKEN_BYTES = 32;
const TOKEN = /^[\x21-\x7e]{16,256}$/;
const FILE_MAX_BYTES = 1024;
const OTHERS = 0o077;

/**
 * The token of the operator out of its file, which is made where there is none: 32 random bytes, mode 0600. A file that
 * is broken, or that others may read, is refused and stays as it is: whoever put it there has the token somewhere.
 *
 * @returns `made`: for the first time, which is worth a line in the log (of the path, never of the token)
 * @throws Failure `gateway.admin-token-unusable`
 */
export async function openAdminToken(path: string): Promise<{ token: Secret; made: boolean }> {
  try {
    await removeLeftovers(path);
    const kept = await read(path);
    if (kept !== null) return { token: new Secret(kept), made: false };
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    await makeFolder(dirname(path));
    await replaceFile(path, `${token}\n`, { mode: 0o600 });
    return { token: new Secret(token), made: true };
  } catch (error) {
    const why = error instanceof UnfitFile ? error.message : fileErrorReason(error);
    throw new Failure('gateway.admin-token-unusable', `the token of the operator in ${path} cannot be used: ${why}`, {
      cause: error,
    });
  }
}

/** Null where there is none. */
async function read(path: string): Promise<string | null> {
  const file = await readSmallFile(path, FILE_MAX_BYTES).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  });
  if (file === null) return null;
  const { mode, uid } = file.stats;
  if ((mode & OTHERS) !== 0)
    throw new UnfitFile(`others than its owner can use it (mode ${(mode & 0o777).toString(8)})`);
  if (uid !== 0 && uid !== process.geteuid?.()) throw new UnfitFile('it belongs to another user');
  const text = file.bytes.toString('utf8').replace(/\r?\n$/, '');
  if (!TOKEN.test(text)) throw new UnfitFile('it is not one line of 16 to 256 printable ASCII characters');
  return text;
}
