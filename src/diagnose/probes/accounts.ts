import { readFile } from 'node:fs/promises';
import type { Probe } from '../facts.ts';
import { type Account, readAccounts } from '../sshd/accounts.ts';

/** The users of this machine; those of a directory (LDAP) are not among them. */
export const accounts: Probe<Account[]> = async () => {
  const text = (path: string) => readFile(path, 'utf8').catch(() => null);
  const [passwd, group, shadow] = await Promise.all(['/etc/passwd', '/etc/group', '/etc/shadow'].map(text));
  return readAccounts(passwd ?? '', group ?? '', shadow ?? null);
};
