import { lstat, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileErrorReason } from '../../support/atomic-file.ts';
import { systemCode } from '../../support/failures.ts';
import { readSmallFile } from '../../support/small-file.ts';
import { wasPaired } from '../device/pairing-past.ts';
import type { Facts, Probe } from '../facts.ts';
import { type AuthorizedKey, authorizedKeys } from '../sshd/authorized-keys.ts';

/** The file that pairing replaces, and what is known of the past of the device. */
export interface KeyFileView {
  readonly path: string;
  readonly file:
    | { readonly kind: 'read'; readonly keys: readonly AuthorizedKey[]; readonly strange: readonly number[] }
    | { readonly kind: 'missing' }
    | { readonly kind: 'unreadable'; readonly why: string; readonly denied: boolean };
  /** Where a link of this name leads; null for no link. */
  readonly link: string | null;
  /**
   * `yes`: a key was set by pairing. `perhaps`: the service has seen a connection to the tunnel port, which may have
   * been a stranger's. Null where this user may not look.
   */
  readonly paired: 'yes' | 'perhaps' | 'no' | null;
}

/** Far more than keys need: the service looks at the first 64 KiB. */
const MAX_BYTES = 1024 * 1024;

export const keyFile: Probe<KeyFileView> = async (facts) => {
  const path = facts.config.pairing.authorizedKeysFile;
  const link = await readlink(path).catch(() => null);
  return { path, link, file: await readKeys(path), paired: await readPast(facts) };
};

async function readKeys(path: string): Promise<KeyFileView['file']> {
  try {
    const text = (await readSmallFile(path, MAX_BYTES)).bytes.toString('utf8');
    const strange = text.split('\n').flatMap((line, index) => (isStrange(line) ? [index + 1] : []));
    return { kind: 'read', keys: authorizedKeys(text), strange };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return { kind: 'missing' };
    return { kind: 'unreadable', why: fileErrorReason(error), denied: systemCode(error) === 'EACCES' };
  }
}

/** Neither empty nor a remark, and no key either. */
function isStrange(line: string): boolean {
  return line.trim() !== '' && !line.trim().startsWith('#') && authorizedKeys(line).length === 0;
}

async function readPast({ config }: Facts): Promise<KeyFileView['paired']> {
  const marker = await lstat(join(config.stateDir, 'ever-paired')).then(
    () => true,
    (error: unknown) => (systemCode(error) === 'ENOENT' ? false : null),
  );
  if (marker !== true) return marker === null ? null : 'no';
  const halves = await Promise.all(
    ['audit.old.log', 'audit.log'].map((name) => readFile(join(config.stateDir, name), 'latin1').catch(() => '')),
  );
  return wasPaired(halves.join('')) === true ? 'yes' : 'perhaps';
}
