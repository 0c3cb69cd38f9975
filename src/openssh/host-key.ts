import { dirname } from 'node:path';
import { fileErrorReason, makeFolder, removeLeftovers, replaceFile } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { normalHostKey } from '../support/host-key.ts';
import { readSmallFile } from '../support/small-file.ts';
import { fingerprintOf } from '../support/ssh-blob.ts';

/** An RSA key of 16,384 bits is 2.8 KB of base64. */
const MAX_BYTES = 8 * 1024;

/** As ssh shows it: `ssh-ed25519 SHA256:…`. */
export function hostKeyFingerprint(key: string): string {
  const [type = '', base64 = ''] = key.split(' ');
  return `${type} ${fingerprintOf(Buffer.from(base64, 'base64'))}`;
}

/**
 * The key that was stored at first use; null where none was.
 * @throws Failure `ssh.host-key-unreadable`: then nobody knows which key to demand, and no connection is made
 */
export async function readHostKey(path: string): Promise<string | null> {
  const unreadable = (why: string, cause?: unknown) =>
    new Failure('ssh.host-key-unreadable', `the stored host key ${path} cannot be used: ${why}`, { cause });
  let text: string;
  try {
    text = (await readSmallFile(path, MAX_BYTES)).bytes.toString('utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw unreadable(fileErrorReason(error), error);
  }
  const key = normalHostKey(text);
  if (key === null) throw unreadable('it is not one line with type and base64 of a key');
  return key;
}

/** @throws Failure `state.unwritable` */
export async function storeHostKey(path: string, key: string): Promise<void> {
  try {
    await makeFolder(dirname(path));
    await removeLeftovers(path);
    await replaceFile(path, `${key}\n`, { mode: 0o600 });
  } catch (error) {
    const reason = fileErrorReason(error);
    throw new Failure('state.unwritable', `the host key could not be stored in ${path}: ${reason}`, { cause: error });
  }
}
