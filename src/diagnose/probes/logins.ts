import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Facts } from '../facts.ts';
import { type Access, judgeAccess } from '../sshd/access.ts';
import { type Account, isPlausible, readAccounts } from '../sshd/accounts.ts';
import type { EffectiveConfig } from '../sshd/effective.ts';
import type { Source } from '../sshd/patterns.ts';
import { accounts } from './accounts.ts';
import { perRole, type Role, sshServer } from './sshd.ts';
import { effective } from './sshd-config.ts';

/** Somebody who may want to log in, and what sshd says to that. */
export interface Login {
  readonly name: string;
  /** Null where there is no such user. */
  readonly account: Account | null;
  /** Null where it is not known; `access` says why. */
  readonly config: EffectiveConfig | null;
  readonly access: Access;
  readonly source: Source;
  /** The command that gave `config`. */
  readonly command: string;
}

const text = (path: string) => readFile(path, 'utf8').catch(() => null);
const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

/** A user by name; one of a directory (LDAP) is not in /etc/passwd. */
async function accountOf(facts: Facts, name: string): Promise<Account | null> {
  const own = (await facts.get(accounts)).find((account) => account.name === name);
  if (own !== undefined) return own;
  const end = await facts.run('getent', ['passwd', name], 2_000);
  if (end.kind !== 'ended' || end.exitCode !== 0) return null;
  return readAccounts(end.stdout, (await text('/etc/group')) ?? '', '')[0] ?? null;
}

/** Each costs a process of sshd where the configuration has Match blocks. */
export const MAX_LOGINS = 12;

/**
 * Who may want to log in: the user that was named, else root and every person with a shell; with the dedicated sshd the
 * owner of the paired key, and root, as which the deployed clients come.
 */
export const logins = perRole(async (facts: Facts, role: Role): Promise<Login[]> => {
  const names = role === 'paired' ? await pairedNames(facts) : await maintenanceNames(facts);
  return Promise.all(names.slice(0, MAX_LOGINS).map((name) => loginOf(facts, role, name)));
});

async function maintenanceNames(facts: Facts): Promise<string[]> {
  if (facts.options.user !== null) return [facts.options.user];
  const all = await facts.get(accounts);
  const asked = await (await facts.get(effective('sshd')))('root');
  const listed =
    asked.kind === 'known' ? asked.config.words('allowusers').map((entry) => entry.replace(/@.*/, '')) : [];
  return all.filter((account) => isPlausible(account) || listed.includes(account.name)).map(({ name }) => name);
}

async function pairedNames(facts: Facts): Promise<string[]> {
  const file = facts.config.pairing.authorizedKeysFile;
  const owner = await stat(file).catch(() => stat(dirname(file)).catch(() => null));
  const all = await facts.get(accounts);
  const name = all.find(({ uid }) => uid === owner?.uid)?.name;
  return [...new Set([...(name === undefined ? [] : [name]), 'root'])];
}

async function loginOf(facts: Facts, role: Role, name: string): Promise<Login> {
  const { sources } = await facts.get(sshServer(role));
  const address = sources[0] ?? '127.0.0.1';
  const source = { address, host: address };
  const account = await accountOf(facts, name);
  const asked = await (await facts.get(effective(role)))(name);
  const known = { name, account, source };
  if (asked.kind === 'unknown') {
    return { ...known, config: null, access: { kind: 'unknown', because: asked.why }, command: '' };
  }
  const { config, command } = asked;
  if (account === null) {
    return { ...known, config, access: { kind: 'unknown', because: `there is no user ${name}` }, command };
  }
  const candidate = { account, shell: await shellOf(account), nologin: await nologin(config), today: today() };
  return { ...known, config, access: judgeAccess(candidate, config, source), command };
}

const ANY_EXECUTE = 0o111;

async function shellOf({ shell }: Account): Promise<'fine' | 'missing' | 'not-executable'> {
  const stats = await stat(shell === '' ? '/bin/sh' : shell).catch(() => null);
  if (stats === null) return 'missing';
  return stats.isFile() && (stats.mode & ANY_EXECUTE) !== 0 ? 'fine' : 'not-executable';
}

/** sshd looks itself where it does not use PAM; else a module of PAM does, if there is one. */
async function nologin(config: EffectiveConfig): Promise<string | null> {
  const usesPam = config.isYes('usepam');
  if (usesPam && !((await text('/etc/pam.d/sshd')) ?? '').includes('pam_nologin')) return null;
  for (const path of usesPam ? ['/run/nologin', '/etc/nologin'] : ['/etc/nologin']) {
    if (await exists(path)) return path;
  }
  return null;
}

const DAY_MS = 86_400_000;
/** 2024: a clock before that has not been set. */
const FIRST_TRUSTED_DAY = 19_723;

function today(): number | null {
  const day = Math.floor(Date.now() / DAY_MS);
  return day < FIRST_TRUSTED_DAY ? null : day;
}
