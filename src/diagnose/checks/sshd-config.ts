import { defineCheck } from '../check.ts';
import { greetings, type Role } from '../probes/sshd.ts';
import { changedSince, configTest, sshdProgram } from '../probes/sshd-config.ts';
import type { ConfigFault } from '../sshd/test-output.ts';
import { NAMES, reloadOf, SEEN, serverOf } from './sshd-role.ts';

const check = (role: Role) => {
  const symptom = `${SEEN[role]} ${NAMES[role]} does not start, or ends each connection before it greets.`;
  const broken = (meaning: string, remedy: string) => ({ status: 'fail', symptom, meaning, remedy }) as const;
  return defineCheck({
    id: `${role}.config`,
    title: `the configuration of ${NAMES[role]} is valid`,
    dependsOn: ['sshd.binary'],
    findings: {
      noFolder: broken(
        'sshd cannot serve anybody, because its folder {thing} is missing.',
        'mkdir -p -m 755 {thing}, then start sshd again; an init script has to make it at every start',
      ),
      badFolder: broken(
        'sshd cannot serve anybody, because others may write to its folder {thing}.',
        'chown root:root {thing}; chmod 755 {thing}',
      ),
      noUser: broken(
        'sshd cannot serve anybody, because the user {thing} that it needs is missing.',
        'Add it: useradd -r -d /run/sshd -s /usr/sbin/nologin {thing}; with BusyBox: adduser -S -D -H {thing}',
      ),
      openHostKey: broken(
        'sshd does not start: it has no host key left, because others may read {thing}.',
        'chown root:root {thing}; chmod 600 {thing}',
      ),
      noHostKey: broken('sshd does not start, because it has no host key: {line}', 'Make the keys: ssh-keygen -A'),
      missingFile: broken(
        'A file of the configuration is missing: {line}',
        'Put {thing} back, or correct the line that names it, then try: {command}',
      ),
      unreadable: broken(
        'A file of the configuration cannot be read: {line}',
        'Correct the mode of {thing}, then try: {command}',
      ),
      unknownOption: broken(
        'The configuration of sshd has an option that this version ({version}) does not know: {line}',
        'Remove the line {thing}, then try: {command}',
      ),
      badLine: broken('The configuration of sshd is invalid: {line}', 'Correct the line, then try: {command}'),
      other: broken('The configuration of sshd is invalid: {line}', 'Correct {file}, then try: {command}'),
      changed: {
        status: 'warn',
        symptom: 'A correction of the configuration has no effect.',
        meaning: '{file} was changed after the running sshd had read it.',
        remedy: 'Let it be read again: {reload}',
      },
      notTried: {
        status: 'unknown',
        symptom: 'Only root can try the configuration of sshd.',
        meaning: 'Whether the configuration is valid is not known: {why}',
        remedy: 'Run this as root: sudo tunnel-agent diagnose',
      },
    },
    async run(facts, say) {
      const { server, nothing } = await serverOf(facts, role, say);
      if (nothing !== null) return nothing;
      const program = await facts.get(sshdProgram);
      if (server.kind === 'dropbear') return say.skip('dropbear has no configuration file');
      if (program === null) return say.skip('no OpenSSH is installed here');
      if (server.kind === 'foreign' && (await facts.get(greetings(role))).first.kind === 'ssh') {
        return say.skip('the SSH server there is started in a way that is not known, and so is its configuration');
      }
      const test = await facts.get(configTest(role));
      if (test.kind === 'unknown') return say.found('notTried', { why: test.why });
      if (test.kind === 'broken') {
        const { command, fault } = test;
        const version = program.said?.split(/[ ,]/)[0] ?? 'unknown';
        const values = { ...fault, command, version, file: server.configFile };
        return say.found(FINDINGS[fault.kind], values, `${command}: ${fault.line}`);
      }
      const file = await facts.get(changedSince(role));
      if (file !== null) {
        const reload = await reloadOf(facts, role, server);
        return say.found('changed', { file, reload }, `${file} is younger than process ${server.daemon?.program.pid}`);
      }
      return say.ok(
        `${server.configFile} is valid`,
        test.notes === '' ? test.command : `${test.command}: ${test.notes}`,
      );
    },
  });
};

const FINDINGS = {
  'no-folder': 'noFolder',
  'bad-folder': 'badFolder',
  'no-user': 'noUser',
  'open-host-key': 'openHostKey',
  'no-host-key': 'noHostKey',
  'missing-file': 'missingFile',
  unreadable: 'unreadable',
  'unknown-option': 'unknownOption',
  'bad-line': 'badLine',
  other: 'other',
} as const satisfies Record<ConfigFault['kind'], string>;

export const sshdConfig = check('sshd');
export const pairedConfig = check('paired');
