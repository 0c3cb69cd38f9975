import type { Account } from './sshd/accounts.ts';
import type { PathFact } from './strict-modes.ts';

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
