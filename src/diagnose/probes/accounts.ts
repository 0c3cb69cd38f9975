import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Facts, Probe } from '../facts.ts';
import { type Account, ownGroups, readAccounts } from '../sshd/accounts.ts';

/** The users of this machine; those of a directory (LDAP) are not among them. */
export const accounts: Probe<Account[]> = async () => {
  const text = (path: string) => readFile(path, 'utf8').catch(() => null);
  const [passwd, group, shadow] = await Promise.all(['/etc/passwd', '/etc/group', '/etc/shadow'].map(text));
  return readAccounts(passwd ?? '', group ?? '', shadow ?? null);
};

/**
 * Groups that StrictModes lets write to the files of this user (see `strictModesFault`): on Debian and what is made of
 * it those that nobody else is in, elsewhere none.
 */
export async function lenientGroups(facts: Facts, uid: number): Promise<number[]> {
  if (!existsSync('/etc/debian_version')) return [];
  const all = await facts.get(accounts);
  const account = all.find((each) => each.uid === uid);
  return account === undefined ? [] : ownGroups(all, account);
}
