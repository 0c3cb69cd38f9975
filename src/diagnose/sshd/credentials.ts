import { enabledLists } from './access.ts';
import type { Account } from './accounts.ts';
import { type AuthorizedKey, isAllowedFrom } from './authorized-keys.ts';
import type { EffectiveConfig } from './effective.ts';
import type { Source } from './patterns.ts';

/** A file that sshd looks into for keys of a user. */
export interface KeyFileFact {
  readonly path: string;
  readonly state:
    | { readonly kind: 'missing' }
    /** sshd passes it over: modes or owner of it or of a folder above it. */
    | { readonly kind: 'refused'; readonly at: string; readonly why: string; readonly command: string }
    | { readonly kind: 'unknown'; readonly why: string }
    | { readonly kind: 'read'; readonly keys: readonly AuthorizedKey[] };
}

/** The paths of AuthorizedKeysFile for a user: `%h`, `%u`, `%U`, and what is relative stands in the home folder. */
export function keyFilePaths(config: EffectiveConfig, { name, uid, home }: Account): string[] {
  return config
    .words('authorizedkeysfile')
    .filter((word) => word.toLowerCase() !== 'none')
    .map((word) => {
      const tokens: Readonly<Record<string, string>> = { h: home, u: name, U: String(uid), '%': '%' };
      const path = word.replace(/%([huU%])/g, (_, token: string) => tokens[token] ?? '');
      return path.startsWith('/') ? path : `${home}/${path}`;
    });
}

export type Certainty = 'yes' | 'maybe' | 'no';

/** Whether the user has what sshd asks for. */
export interface Credentials {
  readonly total: Certainty;
  readonly key: Certainty;
  readonly password: Certainty;
  /** Keys that are there, and cannot be used from this source. */
  readonly foreign: readonly AuthorizedKey[];
  /** Keys that are there, and without the `command=` that PermitRootLogin asks for. */
  readonly uncommanded: readonly AuthorizedKey[];
}

/** Pure. */
export function judgeCredentials(
  config: EffectiveConfig,
  account: Account,
  source: Source,
  files: readonly KeyFileFact[],
): Credentials {
  const keys = files.flatMap(({ state }) => (state.kind === 'read' ? state.keys : []));
  const foreign = keys.filter((key) => !isAllowedFrom(key, source));
  const near = keys.filter((key) => isAllowedFrom(key, source));
  const commandsOnly =
    account.uid === 0 &&
    config.get('permitrootlogin') === 'forced-commands-only' &&
    config.text('forcecommand') === null;
  const hasCommand = ({ options }: AuthorizedKey) => options.some(({ name }) => name === 'command');
  const uncommanded = commandsOnly ? near.filter((key) => !hasCommand(key)) : [];
  const usable = near.length > uncommanded.length;
  const asksOthers = config.text('authorizedkeyscommand') !== null || config.text('trustedusercakeys') !== null;
  const unclear = asksOthers || files.some(({ state }) => state.kind === 'unknown');
  const key: Certainty = usable ? 'yes' : unclear ? 'maybe' : 'no';
  const password = judgePassword(config, account);
  const ways: Readonly<Record<string, Certainty>> = { publickey: key, password, 'keyboard-interactive': password };
  const lists = enabledLists(config).map((list) => least(list.map((method) => ways[method] ?? 'maybe')));
  return { total: greatest(lists), key, password, foreign, uncommanded };
}

function judgePassword(config: EffectiveConfig, { uid, password }: Account): Certainty {
  if (uid === 0 && config.get('permitrootlogin') !== 'yes') return 'no';
  const usesPam = config.isYes('usepam');
  const interactive = config.isYes('kbdinteractiveauthentication') || config.isYes('challengeresponseauthentication');
  if (!config.isYes('passwordauthentication') && !(interactive && usesPam)) return 'no';
  switch (password?.kind) {
    case 'usable':
      return 'yes';
    case 'empty':
      return config.isYes('permitemptypasswords') ? 'yes' : 'no';
    case 'none':
    case 'locked':
      return usesPam ? 'maybe' : 'no'; // modules of PAM may know other passwords
    case undefined:
      return 'maybe';
  }
}

const ORDER: readonly Certainty[] = ['no', 'maybe', 'yes'];
const least = (all: readonly Certainty[]) => ORDER.find((each) => all.includes(each)) ?? 'yes';
const greatest = (all: readonly Certainty[]) => ORDER.findLast((each) => all.includes(each)) ?? 'no';
