import { fileErrorReason } from '../../support/atomic-file.ts';
import { systemCode } from '../../support/failures.ts';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { type KeyPath, octal, unreadableFault } from '../keys/strict-modes.ts';
import { accounts } from '../probes/accounts.ts';
import { strictFault } from '../probes/credentials.ts';
import { readKeyPath } from '../probes/key-path.ts';
import { sshServer } from '../probes/sshd.ts';
import { effective } from '../probes/sshd-config.ts';
import type { Account } from '../sshd/accounts.ts';
import { keyFilePaths } from '../sshd/credentials.ts';

const SYMPTOM =
  'The client with the right key is refused: "Permission denied (publickey)". sshd logs "bad ownership or modes".';

export const keysPermissions = defineCheck({
  id: 'keys.permissions',
  title: 'sshd accepts the owner and the mode of the key file',
  dependsOn: ['keys.file'],
  findings: {
    refused: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'sshd refuses the key file because of {path}: {why}',
      remedy: '{command}',
    },
    unreadable: {
      status: 'fail',
      symptom: 'The client with the right key is refused: "Permission denied (publickey)".',
      meaning: 'The user {user} cannot read the key file because of {path}: {why}',
      remedy: '{command}',
    },
    loose: {
      status: 'warn',
      symptom: 'Whoever else uses this device can let himself in.',
      meaning:
        'Others can exchange the key because of {path}: {why}; sshd does not mind (StrictModes no, or another way to the key)',
      remedy: '{command}',
    },
    perhaps: {
      status: 'unknown',
      symptom: SYMPTOM,
      meaning: 'sshd refuses the key file because of {path}, unless StrictModes is off: {why}',
      remedy: 'Ask it as root: sudo tunnel-agent diagnose; or: {command}',
    },
    hidden: {
      status: 'unknown',
      symptom: 'The diagnosis is made by another user than root.',
      meaning: 'This user may not look at {file} and the folders above it: {why}',
      remedy: 'Run it as root: sudo tunnel-agent diagnose',
    },
  },
  async run(facts, say) {
    const file = facts.config.pairing.authorizedKeysFile;
    const users = await facts.get(accounts);
    const owner = users
      .filter(({ home }) => home !== '/' && file.startsWith(`${home.replace(/\/$/, '')}/`))
      .toSorted((a, b) => b.home.length - a.home.length)[0];
    let keyPath: KeyPath;
    try {
      keyPath = await readKeyPath(file, owner?.home ?? '/');
    } catch (error) {
      const why = fileErrorReason(error);
      if (systemCode(error) === 'ENOENT') return say.skip('there is no key file', `${file}: ${why}`);
      return say.found('hidden', { file, why }, `${file}: ${why}`);
    }
    const evidence = [keyPath.file, ...keyPath.folders]
      .map(({ path, uid, gid, mode }) => `${path}: mode ${octal(mode)}, owner ${uid}:${gid}`)
      .join('\n');
    const user = owner ?? users.find(({ uid }) => uid === keyPath.file.uid);
    const uid = user?.uid ?? keyPath.file.uid;
    const fault = strictFault(keyPath, uid, users);
    if (fault !== null) {
      const words = { path: fault.at.path, why: fault.why, command: fault.command };
      const strict = await isStrict(facts, user, file);
      return say.found(strict === null ? 'perhaps' : strict ? 'refused' : 'loose', words, evidence);
    }
    const closed = user === undefined ? null : unreadableFault(keyPath, user);
    if (user !== undefined && closed !== null && (await isStrict(facts, user, file)) === true) {
      const { at, why, command } = closed;
      return say.found('unreadable', { user: user.name, path: at.path, why, command }, evidence);
    }
    const others = uid === 0 ? '' : `${user?.name ?? `user ${uid}`} and `;
    return say.ok(`nobody but ${others}root can change it`, evidence);
  },
});

/**
 * Whether an sshd reads this file itself, and looks at owners and modes before it does; null where nobody may tell.
 * Without an sshd that could be asked it is what every one does that nobody has told otherwise.
 */
async function isStrict(facts: Facts, user: Account | undefined, file: string): Promise<boolean | null> {
  if (!facts.isRoot) return null;
  const { kind, servesPaired } = await facts.get(sshServer('paired'));
  const role = kind === 'absent' || servesPaired ? 'sshd' : 'paired';
  const told = await (await facts.get(effective(role)))(user?.name ?? 'root');
  if (told.kind === 'unknown') return true;
  const { config } = told;
  if (config.get('strictmodes') === 'no') return false;
  return user !== undefined && keyFilePaths(config, user).includes(file);
}
