import type { Account } from './accounts.ts';
import type { EffectiveConfig } from './effective.ts';
import { matchesPattern, type Source, userMatches } from './patterns.ts';

/** What sshd looks at before it asks for a key or a password. */
export interface Candidate {
  readonly account: Account;
  /** What the shell is, links followed. */
  readonly shell: 'fine' | 'missing' | 'not-executable';
  /** The file that lets nobody but root in, where there is one. */
  readonly nologin: string | null;
  /** Days since 1970, or null where the clock is not to be trusted. */
  readonly today: number | null;
}

export type AccessReason =
  | 'locked'
  | 'expired'
  | 'shellMissing'
  | 'shellNotExecutable'
  | 'denyUsers'
  | 'allowUsers'
  | 'denyGroups'
  | 'allowGroups'
  | 'rootDenied'
  | 'noMethod'
  | 'nologin';

/** Why sshd lets a user in or not, whatever key or password is shown. */
export type Access =
  | { readonly kind: 'allowed' }
  | { readonly kind: 'refused'; readonly reason: AccessReason; readonly because: string }
  | { readonly kind: 'unknown'; readonly because: string };

/**
 * Judges in the order of sshd itself (OpenSSH, auth.c, allowed_user, then PermitRootLogin). Pure.
 * @param source where the connection comes from
 */
export function judgeAccess(candidate: Candidate, config: EffectiveConfig, source: Source): Access {
  const { account, shell, nologin, today } = candidate;
  const { name, uid, password, groups } = account;
  const refused = (reason: AccessReason, because: string): Access => ({ kind: 'refused', reason, because });
  const usesPam = config.isYes('usepam');

  if (!usesPam && password?.kind === 'locked') {
    return refused('locked', `/etc/shadow: ${name}:!…; usepam no`);
  }
  const { expiresDay = null } = password ?? {};
  if (expiresDay !== null && today !== null && expiresDay < today) {
    return refused('expired', `/etc/shadow: ${name} expired on day ${expiresDay}, today is ${today}`);
  }
  if (config.text('chrootdirectory') === null) {
    const what = account.shell === '' ? '/bin/sh' : account.shell;
    if (shell === 'missing') return refused('shellMissing', `/etc/passwd: ${name} has the shell ${what}`);
    if (shell === 'not-executable') return refused('shellNotExecutable', `/etc/passwd: ${name} has the shell ${what}`);
  }
  const matches = (keyword: string) => config.words(keyword).some((pattern) => userMatches(name, source, pattern));
  const inGroup = (keyword: string) =>
    config.words(keyword).some((pattern) => groups.some((group) => matchesPattern(group, pattern)));
  const has = (keyword: string) => config.words(keyword).length > 0;
  if (matches('denyusers')) return refused('denyUsers', config.lines('denyusers'));
  if (has('allowusers') && !matches('allowusers')) return refused('allowUsers', config.lines('allowusers'));
  const own = `${name} is in: ${groups.join(' ')}`;
  if (inGroup('denygroups')) return refused('denyGroups', `${config.lines('denygroups')}; ${own}`);
  if (has('allowgroups') && !inGroup('allowgroups')) {
    return refused('allowGroups', `${config.lines('allowgroups')}; ${own}`);
  }
  if (uid === 0 && config.get('permitrootlogin') === 'no')
    return refused('rootDenied', config.lines('permitrootlogin'));
  if (enabledLists(config).length === 0) return refused('noMethod', methodLines(config));
  if (uid !== 0 && nologin !== null) return refused('nologin', `${nologin} is there`);
  if (password === null && !usesPam) return { kind: 'unknown', because: '/etc/shadow can be read by root only' };
  return { kind: 'allowed' };
}

const METHODS: Readonly<Record<string, string>> = {
  publickey: 'pubkeyauthentication',
  password: 'passwordauthentication',
  'keyboard-interactive': 'kbdinteractiveauthentication',
  hostbased: 'hostbasedauthentication',
  'gssapi-with-mic': 'gssapiauthentication',
};

/** The lists of AuthenticationMethods of which every method is switched on; each one of all methods where it says `any`. */
export function enabledLists(config: EffectiveConfig): string[][] {
  // Before OpenSSH 6.2 there was no such option; the old name of the third was challengeresponseauthentication.
  const isOn = (method: string) => {
    const keyword = METHODS[method];
    if (keyword === undefined) return true;
    if (method === 'keyboard-interactive') {
      return config.isYes(keyword) || config.isYes('challengeresponseauthentication');
    }
    return config.isYes(keyword);
  };
  const words = config.words('authenticationmethods');
  if (words.length === 0 || words.includes('any')) {
    return Object.keys(METHODS)
      .filter(isOn)
      .map((method) => [method]);
  }
  return words
    .map((list) => list.split(',').map((method) => method.replace(/:.*/, '')))
    .filter((list) => list.every(isOn));
}

function methodLines(config: EffectiveConfig): string {
  return config.lines('authenticationmethods', ...Object.values(METHODS));
}
