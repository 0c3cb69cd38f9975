import { defineCheck } from '../check.ts';
import { type Login, logins, MAX_LOGINS } from '../probes/logins.ts';
import type { Role } from '../probes/sshd.ts';
import { logged } from '../probes/sshd-log.ts';
import type { AccessReason } from '../sshd/access.ts';
import { NAMES, reloadOf, serverOf } from './sshd-role.ts';

const check = (role: Role) => {
  const refused = (meaning: string, remedy: string) =>
    ({
      status: 'fail',
      symptom: 'sshd answers, and every key and every password is refused: Permission denied.',
      meaning,
      remedy,
    }) as const;
  const edit = (what: string) => `${what} in {file}, also in its Match blocks, then run: {reload}`;
  return defineCheck({
    id: `${role}.users`,
    title: `${NAMES[role]} lets somebody in`,
    dependsOn: [`${role}.config`],
    findings: {
      unknownUser: refused(
        'There is no user {user} on this machine.',
        'Log in as another one, or add it: useradd -m {user}; with BusyBox: adduser {user}',
      ),
      locked: refused(
        'The account {user} is locked: sshd without PAM refuses it, also with the right key.',
        'Unlock it without giving it a password: usermod -p "*" {user}; with BusyBox, write * in place of ! in /etc/shadow',
      ),
      expired: refused('The account {user} has expired.', 'Let it live on: chage -E -1 {user}'),
      shellMissing: refused('The shell of {user} does not exist.', 'Give it another one: chsh -s /bin/sh {user}'),
      shellNotExecutable: refused(
        'The shell of {user} is no program that can be run.',
        'Give it another one: chsh -s /bin/sh {user}',
      ),
      denyUsers: refused('DenyUsers keeps {user} out.', edit('Correct DenyUsers')),
      allowUsers: refused('AllowUsers does not name {user}.', edit('Add the user to AllowUsers')),
      denyGroups: refused('DenyGroups keeps {user} out, who is in such a group.', edit('Correct DenyGroups')),
      allowGroups: refused(
        'AllowGroups names none of the groups of {user}.',
        edit('Add the user to such a group, or one of its groups to AllowGroups'),
      ),
      rootDenied: refused(
        'PermitRootLogin no keeps {user} out.',
        edit('Log in as another user, or write PermitRootLogin prohibit-password'),
      ),
      noMethod: refused(
        'No way to log in is left for {user}: every method of AuthenticationMethods, or all there are, is switched off.',
        edit('Correct AuthenticationMethods or PubkeyAuthentication'),
      ),
      nologin: refused('Only root may log in while a nologin file is there; {user} may not.', 'Remove it: rm {path}'),
      nobody: {
        status: 'unknown',
        symptom: 'Nobody is known who could log in.',
        meaning: 'No user of this machine has a login shell; those of a directory are not looked at.',
        remedy: 'Say who is to log in: tunnel-agent diagnose --user NAME',
      },
      notKnown: {
        status: 'unknown',
        symptom: 'Only root can ask sshd whom it lets in.',
        meaning: 'Whom sshd lets in is not known: {why}.',
        remedy: 'Run this as root, and say who is to log in: sudo tunnel-agent diagnose --user NAME',
      },
    },
    async run(facts, say) {
      const { server, nothing } = await serverOf(facts, role, say);
      if (nothing !== null) return nothing;
      const all = await facts.get(logins(role));
      const [only] = all;
      if (only === undefined) return say.found('nobody', {}, '/etc/passwd: no user with a shell');
      if (all.length === 1 && only.account === null && only.config !== null) {
        return say.found('unknownUser', { user: only.name }, `/etc/passwd, getent passwd ${only.name}: nothing`);
      }
      const allowed = all.filter(({ access }) => access.kind === 'allowed');
      const evidence = all.map(wordsFor).join('; ');
      if (allowed.length > 0) return say.ok(`${allowed.map(({ name }) => name).join(', ')} may log in`, evidence);
      const unknown = all.find(({ access }) => access.kind === 'unknown');
      if (unknown?.access.kind === 'unknown') return say.found('notKnown', { why: unknown.access.because });

      if (all.length === MAX_LOGINS) {
        return say.found(
          'notKnown',
          { why: `only the first ${MAX_LOGINS} users were looked at, and none of them` },
          evidence,
        );
      }
      const reason = commonReason(all);
      const users = all.filter((login) => reasonOf(login) === reason);
      const because = users[0]?.access.kind === 'refused' ? users[0].access.because : '';
      return say.found(
        reason,
        {
          user: users.map(({ name }) => name).join(', '),
          file: server.configFile,
          reload: await reloadOf(facts, role, server),
          path: because.split(' ')[0] ?? '',
        },
        `${users[0]?.command ?? ''}: ${evidence}${await logged(facts, /not allowed because|is locked|ROOT LOGIN REFUSED/)}`,
      );
    },
  });
};

function wordsFor({ name, access }: Login): string {
  return access.kind === 'allowed' ? `${name}: allowed` : `${name}: ${access.because}`;
}

function reasonOf({ access }: Login): AccessReason | null {
  return access.kind === 'refused' ? access.reason : null;
}

/** What keeps most of them out; of equals, what keeps the first out. */
function commonReason(all: readonly Login[]): AccessReason {
  const reasons = all.map(reasonOf).filter((reason) => reason !== null);
  const count = (reason: AccessReason) => reasons.filter((each) => each === reason).length;
  return reasons.toSorted((a, b) => count(b) - count(a))[0] ?? 'allowUsers';
}

export const sshdUsers = check('sshd');
export const pairedUsers = check('paired');
