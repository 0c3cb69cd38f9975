/** A user of this machine. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  /** As /etc/passwd has it; empty stands for /bin/sh. */
  readonly shell: string;
  /** Names of all groups that it is in. */
  readonly groups: readonly string[];
  readonly gids: readonly number[];
  /** What stands in place of the password, null where this user may not know. */
  readonly password: Password | null;
}

/**
 * `usable`: some hash; `empty`: none is asked for; `none`: nobody can log in with a password (`*`); `locked`: the same,
 * and sshd without PAM refuses the account (`!`).
 */
export interface Password {
  readonly kind: 'usable' | 'empty' | 'none' | 'locked';
  /** Day since 1970 from which on the account has expired; null for never. */
  readonly expiresDay: number | null;
}

/** @param shadow null where it cannot be read; in a user without a line there, /etc/passwd itself holds the password */
export function readAccounts(passwd: string, group: string, shadow: string | null): Account[] {
  const groups = rows(group, 4).map(([name = '', , gid, members = '']) => ({
    name,
    gid: Number(gid),
    members: members.split(','),
  }));
  const secrets = shadow === null ? null : new Map(rows(shadow, 2).map((row) => [row[0] ?? '', row]));
  return rows(passwd, 7).map(([name = '', word = '', uid, gid, , home = '', shell = '']) => {
    const own = groups.filter((each) => each.gid === Number(gid) || each.members.includes(name));
    return {
      name,
      uid: Number(uid),
      gid: Number(gid),
      home,
      shell,
      groups: own.map((each) => each.name),
      gids: [Number(gid), ...own.map((each) => each.gid)],
      password: passwordOf(word, secrets === null ? null : (secrets.get(name) ?? [])),
    };
  });
}

function passwordOf(word: string, row: readonly string[] | null): Password | null {
  if (row === null) return word === 'x' ? null : { kind: kindOf(word), expiresDay: null };
  const expires = row[7] ?? '';
  return { kind: kindOf(row[1] ?? word), expiresDay: /^\d+$/.test(expires) ? Number(expires) : null };
}

/** crypt(5): a hash begins with a dollar sign, or is one of the traditional 13 characters. */
function kindOf(word: string): Password['kind'] {
  if (word === '') return 'empty';
  if (word.startsWith('!')) return 'locked';
  return /^(?:\$.+|_?[./0-9A-Za-z]{13,})$/.test(word) ? 'usable' : 'none';
}

function rows(text: string, fields: number): string[][] {
  return text
    .split('\n')
    .map((line) => line.trimEnd().split(':'))
    .filter((row) => row.length >= fields && row[0] !== '' && !/^[#+-]/.test(row[0] ?? ''));
}

const NO_LOGIN = /\/(?:nologin|false|true|sync|halt|shutdown)$/;
/** Where people's accounts begin and end (login.defs, UID_MIN and UID_MAX). */
const PEOPLE = { from: 1000, to: 60_000 };

/** Whether somebody may be meant to log in as this user. */
export function isPlausible({ uid, shell }: Account): boolean {
  return (uid === 0 || (uid >= PEOPLE.from && uid <= PEOPLE.to)) && !NO_LOGIN.test(shell);
}
