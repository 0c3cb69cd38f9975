import { existsSync } from 'node:fs';
import { systemCode } from '../../support/failures.ts';
import { readSmallFile } from '../../support/small-file.ts';
import type { Facts } from '../facts.ts';
import { withoutOwnGroups } from '../keys/debian-groups.ts';
import { type KeyPath, type KeyPathFault, strictModesFault, unreadableFault } from '../keys/strict-modes.ts';
import type { Account } from '../sshd/accounts.ts';
import { authorizedKeys } from '../sshd/authorized-keys.ts';
import { type Credentials, judgeCredentials, type KeyFileFact, keyFilePaths } from '../sshd/credentials.ts';
import type { EffectiveConfig } from '../sshd/effective.ts';
import { accounts } from './accounts.ts';
import { readKeyPath } from './key-path.ts';
import { type Login, logins } from './logins.ts';
import { perRole, type Role } from './sshd.ts';

/** Somebody whom sshd lets in, given the right key or password. */
export interface Holder {
  readonly name: string;
  readonly login: Login;
  readonly account: Account;
  readonly config: EffectiveConfig;
  readonly files: readonly KeyFileFact[];
  readonly credentials: Credentials;
}

/** Those whom sshd lets in, and what they have for it. */
export const holders = perRole(async (facts: Facts, role: Role): Promise<Holder[]> => {
  const all = await facts.get(logins(role));
  const found = await Promise.all(all.map((login) => holderOf(facts, login)));
  return found.filter((holder) => holder !== null);
});

async function holderOf(facts: Facts, login: Login): Promise<Holder | null> {
  const { name, account, config, access, source } = login;
  if (account === null || config === null || access.kind === 'refused') return null;
  const paths = keyFilePaths(config, account);
  const all = await facts.get(accounts);
  const strict = config.isYes('strictmodes');
  const files = await Promise.all(paths.map((path) => keyFile(path, account, strict, all)));
  return { name, login, account, config, files, credentials: judgeCredentials(config, account, source, files) };
}

/** Far more than keys need. */
export const KEY_FILE_MAX_BYTES = 1024 * 1024;

async function keyFile(path: string, account: Account, strict: boolean, all: readonly Account[]): Promise<KeyFileFact> {
  try {
    const keyPath = await readKeyPath(path, account.home);
    const { bytes } = await readSmallFile(path, KEY_FILE_MAX_BYTES);
    const keys = authorizedKeys(bytes.toString('utf8'));
    const fault = unreadableFault(keyPath, account) ?? (strict ? strictFault(keyPath, account.uid, all) : null);
    if (fault === null || keys.length === 0) return { path, state: { kind: 'read', keys } };
    return { path, state: { kind: 'refused', at: fault.at.path, why: fault.why, command: fault.command } };
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return { path, state: { kind: 'missing' } };
    return { path, state: { kind: 'unknown', why: `cannot be read (${code ?? String(error)})` } };
  }
}

/** What StrictModes of this machine's sshd says of a key file of that user. */
export function strictFault(path: KeyPath, uid: number, all: readonly Account[]): KeyPathFault | null {
  return strictModesFault(existsSync('/etc/debian_version') ? withoutOwnGroups(path, uid, all) : path, uid);
}
