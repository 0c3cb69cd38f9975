import { defineCheck } from '../check.ts';
import { findService } from '../probes/init.ts';
import { describeListener } from '../probes/sockets.ts';
import { greetings, type Role, SERVICE_NAMES } from '../probes/sshd.ts';
import { findProgram, sshdProgram } from '../probes/sshd-config.ts';
import { logged } from '../probes/sshd-log.ts';
import { othersVisible } from '../probes/visible.ts';
import { NAMES, SEEN, serverOf } from './sshd-role.ts';

const check = (role: Role) =>
  defineCheck({
    id: `${role}.running`,
    title: `${NAMES[role]} runs`,
    dependsOn: ['sshd.binary'],
    explainedBy: [`${role}.config`],
    findings: {
      stopped: {
        status: 'fail',
        symptom: SEEN[role],
        meaning: `No SSH server runs for port {port}: there is no process of one, and nothing listens there.`,
        remedy: 'Start it: {start}',
      },
      hidden: {
        status: 'unknown',
        symptom:
          'The processes of other users are hidden: hidepid of /proc, or ProtectProc of the unit of the service.',
        meaning: 'Whether an SSH server runs is not known: the processes of others are hidden from this one.',
        remedy: 'Run this as root, outside of the service: sudo tunnel-agent diagnose',
      },
      somebodyElse: {
        status: 'unknown',
        symptom: 'Something listens on the port of sshd, and no process of sshd can be seen.',
        meaning: 'No sshd was seen, and {who} serves port {port}: see what it says.',
        remedy: 'Run this as root, which may see all programs: sudo tunnel-agent diagnose',
      },
    },
    async run(facts, say) {
      const { server, nothing } = await serverOf(facts, role, say);
      if (nothing !== null) return nothing;
      const { daemon, kind, onPort, target } = server;
      const there = onPort.map(describeListener).join(', ');
      if (kind === 'activated') {
        const who = onPort[0]?.owners[0]?.name ?? 'init';
        return say.ok(`${who} listens, and starts sshd for a connection`, `/proc/net/tcp: ${there}`);
      }
      if (daemon !== null) {
        const { program } = daemon;
        return say.ok(`${program.name} runs as process ${program.pid}`, program.words.join(' ').slice(0, 200));
      }
      if (onPort.length > 0) {
        const { first } = await facts.get(greetings(role));
        if (first.kind === 'ssh') return say.ok('an SSH server answers', `${there}: ${first.banner}`);
        return say.found('somebodyElse', { who: onPort[0]?.owners[0]?.name ?? 'somebody', port: target.port }, there);
      }
      if (!(await facts.get(othersVisible))) {
        return say.found('hidden', {}, `/proc/net/tcp: nothing on port ${target.port}; /proc/1/stat cannot be read`);
      }
      const service = await findService(facts, SERVICE_NAMES[role], role === 'paired' ? server.configFile : null);
      const program = (await facts.get(sshdProgram))?.path ?? findProgram('dropbear') ?? 'sshd';
      const start = service?.start ?? (role === 'paired' ? `${program} -f ${server.configFile}` : program);
      const state = service?.state == null ? '' : `; ${service.state}`;
      const log = await logged(
        facts,
        /Bind to port|Cannot bind|fatal:|error:|terminating|Missing privilege|no hostkeys/,
      );
      return say.found(
        'stopped',
        { port: target.port, start },
        `/proc/net/tcp: nothing on port ${target.port}; /proc: no process of sshd${state}${log}`,
      );
    },
  });

export const sshdRunning = check('sshd');
export const pairedRunning = check('paired');
