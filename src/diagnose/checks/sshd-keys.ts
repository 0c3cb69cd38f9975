import { realpath } from 'node:fs/promises';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { type Holder, holders } from '../probes/credentials.ts';
import { logins, MAX_LOGINS } from '../probes/logins.ts';
import type { Role } from '../probes/sshd.ts';
import { logged } from '../probes/sshd-log.ts';
import type { KeyFileFact } from '../sshd/credentials.ts';
import { NAMES, reloadOf, serverOf } from './sshd-role.ts';

const SYMPTOM = 'sshd answers and refuses the key: Permission denied (publickey).';

const check = (role: Role) => {
  const fails = (meaning: string, remedy: string) => ({ status: 'fail', symptom: SYMPTOM, meaning, remedy }) as const;
  return defineCheck({
    id: `${role}.keys`,
    title: `${NAMES[role]} accepts a key or a password`,
    dependsOn: [`${role}.config`],
    explainedBy: ['keys.permissions', `${role}.users`],
    findings: {
      refusedFile: fails('sshd passes over the keys of {user} in {file}, because of {at}: {why}.', '{command}'),
      ignoredFile: {
        status: 'warn',
        symptom: 'sshd refuses the key and asks for the password.',
        meaning: 'sshd passes over the keys of {user} in {file}, because of {at}: {why}.',
        remedy: '{command}',
      },
      elsewhere: fails(
        'The paired key is in {file}, where this sshd does not look for the keys of {user}.',
        'Let sshd read it (AuthorizedKeysFile {file} in {config}), or name the file that it reads in ZEROFORCE_AUTHORIZED_KEYS_FILE: {files}',
      ),
      fromElsewhere: fails(
        'No key of {user} may be used from {source}, where the tunnel comes from: its from="…" leaves that out.',
        'Add {source} to the from="…" of the key in {files}',
      ),
      commandsOnly: fails(
        'PermitRootLogin forced-commands-only: no key of {user} has the command="…" that it demands.',
        'Write PermitRootLogin prohibit-password into {config}, then run: {reload}',
      ),
      noMethod: fails(
        'sshd takes neither a key nor a password of {user}.',
        'Write PubkeyAuthentication yes into {config}, also in its Match blocks, then run: {reload}',
      ),
      noKey: fails(
        '{user} has no key where sshd looks for it, and cannot log in with a password.',
        'Put a public key there, a line of its own: {files}',
      ),
      notKnown: {
        status: 'unknown',
        symptom: 'Whether somebody has a key or a password for this device cannot be seen.',
        meaning: 'Whether {user} can log in is not known: {why}.',
        remedy: 'Try it, or run this as root, and say who is to log in: sudo tunnel-agent diagnose --user NAME',
      },
    },
    async run(facts, say) {
      const { server, nothing } = await serverOf(facts, role, say);
      if (nothing !== null) return nothing;
      const blind = (await facts.get(logins(role))).find(
        ({ config, access }) => config === null && access.kind === 'unknown',
      );
      if (blind?.access.kind === 'unknown')
        return say.found('notKnown', { user: blind.name, why: blind.access.because });
      const all = await facts.get(holders(role));
      const [one] = all;
      if (one === undefined) return say.skip(`nobody is let in: see ${role}.users`);

      const config = server.configFile;
      const reload = await reloadOf(facts, role, server);
      if (role === 'paired' || server.servesPaired) {
        const paired = await pairedKey(facts);
        if (paired.kind === 'unknown') return say.found('notKnown', { user: one.name, why: paired.why });
        if (paired.kind === 'none' && role === 'paired') return say.skip('no key is paired');
        if (paired.kind === 'there') {
          const readers = await readersOf(all, paired.file);
          if (readers.length === 0) {
            const clear = all.every(({ config: own }) => own.text('authorizedkeyscommand') === null);
            const values = { user: one.name, file: paired.file, config, files: paths(one) };
            const seen = `${one.login.command}: ${one.config.lines('authorizedkeysfile', 'authorizedkeyscommand')}`;
            if (clear) return say.found('elsewhere', values, seen);
            return say.found('notKnown', { user: one.name, why: 'sshd asks another program for keys' }, seen);
          }
          if (role === 'paired') return judge(facts, readers);
        }
      }
      return judge(facts, all);

      async function judge(facts: Facts, holders: readonly Holder[]) {
        const evidence = holders.map(wordsFor).join('; ');
        // Keys that somebody has put there, and sshd does not use.
        for (const { name, credentials, files } of holders) {
          const refused = files.find(({ state }) => state.kind === 'refused');
          if (credentials.key === 'yes' || refused?.state.kind !== 'refused') continue;
          const { at, why, command } = refused.state;
          const log = await logged(facts, /Authentication refused|bad ownership|Could not open user/);
          const finding = credentials.total === 'no' ? 'refusedFile' : 'ignoredFile';
          return say.found(finding, { user: name, file: refused.path, at, why, command }, `${evidence}${log}`);
        }
        const able = holders.filter(({ credentials }) => credentials.total === 'yes');
        if (able.length > 0) return say.ok(able.map(howFor).join(', '), evidence);
        const maybe = holders.find(({ credentials }) => credentials.total === 'maybe');
        if (maybe !== undefined) {
          return say.found(
            'notKnown',
            { user: maybe.name, why: 'sshd asks another program (PAM, AuthorizedKeysCommand)' },
            evidence,
          );
        }
        const user = holders.map(({ name }) => name).join(', ');
        if ((await facts.get(logins(role))).length === MAX_LOGINS) {
          return say.found('notKnown', { user, why: `only the first ${MAX_LOGINS} users were looked at` }, evidence);
        }
        const files = holders.map(paths).join(' ');
        const of = (has: (holder: Holder) => boolean) => holders.find(has);
        const foreign = of(({ credentials }) => credentials.foreign.length > 0);
        if (foreign !== undefined) {
          const values = { user: foreign.name, source: foreign.login.source.address, files: paths(foreign) };
          return say.found('fromElsewhere', values, evidence);
        }
        const uncommanded = of(({ credentials }) => credentials.uncommanded.length > 0);
        if (uncommanded !== undefined)
          return say.found('commandsOnly', { user: uncommanded.name, config, reload }, evidence);
        const noKeys = holders.every(({ config: own }) => !own.isYes('pubkeyauthentication'));
        if (noKeys) {
          const lines = one?.config.lines('pubkeyauthentication', 'passwordauthentication', 'permitrootlogin') ?? '';
          return say.found('noMethod', { user, config, reload }, lines);
        }
        return say.found('noKey', { user, files }, evidence);
      }
    },
  });
};

async function pairedKey(
  facts: Facts,
): Promise<{ kind: 'none' } | { kind: 'there'; file: string } | { kind: 'unknown'; why: string }> {
  try {
    const key = await facts.tools.pairedKey();
    return key === null ? { kind: 'none' } : { kind: 'there', file: facts.config.pairing.authorizedKeysFile };
  } catch (error) {
    return { kind: 'unknown', why: error instanceof Error ? error.message : String(error) };
  }
}

/** Those for whom sshd reads this file. */
async function readersOf(all: readonly Holder[], file: string): Promise<Holder[]> {
  const wanted = await realpath(file).catch(() => file);
  const reads = await Promise.all(
    all.map(async ({ files }) => {
      const real = await Promise.all(files.map(({ path }) => realpath(path).catch(() => path)));
      return real.includes(wanted);
    }),
  );
  return all.filter((_, index) => reads[index]);
}

const paths = ({ files }: Holder) => files.map(({ path }) => path).join(' ');

function wordsFor({ name, files, credentials, config }: Holder): string {
  const notes = files.map(({ path, state }) => `${path} ${STATES[state.kind](state)}`);
  const asks =
    config.lines('authenticationmethods') === 'authenticationmethods any'
      ? []
      : [config.lines('authenticationmethods')];
  return [`${name}: ${notes.join(', ')}`, `password ${credentials.password}`, ...asks].join(', ');
}

const STATES: { [Kind in KeyFileFact['state']['kind']]: (state: KeyFileFact['state']) => string } = {
  missing: () => 'is not there',
  refused: (state) => (state.kind === 'refused' ? `is passed over (${state.at}: ${state.why})` : ''),
  unknown: (state) => (state.kind === 'unknown' ? state.why : ''),
  read: (state) => (state.kind === 'read' ? `has keys: ${state.keys.length}` : ''),
};

function howFor({ name, credentials }: Holder): string {
  return `${name} (${credentials.key === 'yes' ? 'key' : 'password'})`;
}

export const sshdKeys = check('sshd');
export const pairedKeys = check('paired');
