import { defineCheck } from '../check.ts';
import { logins } from '../probes/logins.ts';
import { greetings, sshServer } from '../probes/sshd.ts';
import { sshdProgram } from '../probes/sshd-config.ts';
import { logged } from '../probes/sshd-log.ts';
import { judgePenalties } from '../sshd/penalties.ts';
import { reloadOf } from './sshd-role.ts';

export const sshdPenalties = defineCheck({
  id: 'sshd.penalties',
  title: 'sshd does not shut the tunnel out',
  dependsOn: ['sshd.config'],
  findings: {
    shutOut: {
      status: 'fail',
      symptom: 'An SSH connection through the tunnel ends at once with: Not allowed at this time.',
      meaning:
        'sshd shuts out {source}, where all that comes through the tunnel comes from, because somebody failed too often.',
      remedy:
        'Wait for some minutes, or restart sshd; write into {file}: PerSourcePenaltyExemptList 127.0.0.0/8, then run: {reload}',
    },
    threatened: {
      status: 'warn',
      symptom: 'SSH through the tunnel fails for a while, after somebody tried wrong passwords.',
      meaning:
        'sshd shuts out a source that fails too often, and for it all that comes through the tunnel is one: {source}.',
      remedy: 'Write into {file}: PerSourcePenaltyExemptList 127.0.0.0/8 (OpenSSH 9.8 and later), then run: {reload}',
    },
    notKnown: {
      status: 'unknown',
      symptom: 'Only root can ask sshd whether it shuts sources out.',
      meaning: 'Whether sshd may shut the tunnel out is not known: {why}.',
      remedy: 'Run this as root: sudo tunnel-agent diagnose',
    },
  },
  async run(facts, say) {
    const server = await facts.get(sshServer('sshd'));
    const { sources, configFile: file, lookAt } = server;
    const reload = await reloadOf(facts, 'sshd', server);
    const [source = '127.0.0.1'] = sources;
    const { first } = await facts.get(greetings('sshd'));
    if (first.kind === 'punished') {
      const log = await logged(facts, /penalty/i);
      const seen = `connected to ${lookAt.host}:${lookAt.port} from ${source}: ${first.said}${log}`;
      return say.found('shutOut', { source, file, reload }, seen);
    }
    const version = (await facts.get(sshdProgram))?.version ?? null;
    const [login] = await facts.get(logins('sshd'));
    if (login === undefined || login.config === null) {
      const why = login?.access.kind === 'unknown' ? login.access.because : 'nobody is known who could log in';
      return say.found('notKnown', { why });
    }
    const { kind, because } = judgePenalties(version, login.config, source);
    if (kind === 'threatened') return say.found('threatened', { source, file, reload }, `${login.command}: ${because}`);
    return say.ok(kind === 'exempt' ? `${source} is exempt` : 'it shuts no source out', because);
  },
});
