import type { Account } from '../sshd/accounts.ts';
import type { KeyPath, PathFact } from './strict-modes.ts';

const GROUP_MAY_WRITE = 0o020;
const ALL_MAY_WRITE = 0o002;

/**
 * The sshd of Debian and its children lets the group write where the owner is the only one in it, as with the group of
 * one's own that Debian gives every user (its patch user-group-modes). Pure.
 */
export function isOwnGroupOnly(
  { gid, mode, uid: owner }: PathFact,
  uid: number,
  accounts: readonly Account[],
): boolean {
  if ((mode & GROUP_MAY_WRITE) === 0 || (mode & ALL_MAY_WRITE) !== 0 || (owner !== 0 && owner !== uid)) return false;
  const members = accounts.filter(({ gids }) => gids.includes(gid));
  return members.length > 0 && members.every((member) => member.uid === uid);
}

/** The same path as that sshd sees it. */
export function withoutOwnGroups(path: KeyPath, uid: number, accounts: readonly Account[]): KeyPath {
  const seen = (at: PathFact) => (isOwnGroupOnly(at, uid, accounts) ? { ...at, mode: at.mode & ~GROUP_MAY_WRITE } : at);
  return { file: seen(path.file), folders: path.folders.map(seen) };
}
