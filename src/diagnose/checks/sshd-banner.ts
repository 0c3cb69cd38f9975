import { hostAndPort } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { findService } from '../probes/init.ts';
import { programs } from '../probes/sockets.ts';
import { greetings, type Role, SERVICE_NAMES, type SshServer } from '../probes/sshd.ts';
import { sshdProgram } from '../probes/sshd-config.ts';
import { logged } from '../probes/sshd-log.ts';
import { wordsFor } from '../sshd/greeting.ts';
import { NAMES, SEEN, serverOf } from './sshd-role.ts';

const check = (role: Role) => {
  const symptom = SEEN[role];
  const fails = (meaning: string, remedy: string) => ({ status: 'fail', symptom, meaning, remedy }) as const;
  return defineCheck({
    id: `${role}.banner`,
    title: `${NAMES[role]} greets its clients`,
    dependsOn: [`${role}.listens`],
    explainedBy: [
      `${role}.config`,
      'hosts.access',
      'firewall.inbound',
      ...(role === 'sshd' ? (['sshd.penalties'] as const) : []),
    ],
    findings: {
      refused: fails(
        'A connection to {at} from {source} is refused, though something listens there.',
        'Look for a firewall rule that rejects it: nft list ruleset; or start sshd again: {restart}',
      ),
      notOpened: fails(
        'A connection to {at} from {source} cannot be opened: {said}.',
        'Look for a firewall rule that drops it, and whether the loopback interface is up: nft list ruleset; ip addr show lo',
      ),
      closed: fails(
        'sshd at {at} accepts a connection from {source} and ends it before it greets: {said}.',
        'Read why in its log: {log}; look at /etc/hosts.deny; try by hand: {sshd} -d -p 2222 -f {file}',
      ),
      stopped: fails(
        'sshd (process {pid}) is stopped by a signal: it accepts connections and does nothing with them.',
        'Let it go on: kill -CONT {pid}',
      ),
      silent: fails(
        '{at} accepts a connection and says nothing for {seconds} s: it hangs, or is no SSH server.',
        'Look what holds the port (netstat -tlnp), and start sshd again: {restart}',
      ),
      full: fails(
        'sshd takes no more strangers: too many connections wait for their login ({said}).',
        'Wait, or end them; look who they are: netstat -tnp; then raise MaxStartups (and PerSourceMaxStartups) in {file} and run: {restart}',
      ),
      punished: fails(
        'sshd shuts out {source}, where all that comes through the tunnel comes from ({said}).',
        'Wait for some minutes, or run: {restart}; then exempt it in {file}: PerSourcePenaltyExemptList 127.0.0.0/8',
      ),
      otherService: fails(
        '{at} is not an SSH server but {service}: {said}.',
        'Stop that program or move one of the two to another port: netstat -tlnp; then start sshd: {restart}',
      ),
      overloaded: {
        status: 'unknown',
        symptom: 'An SSH connection takes very long.',
        meaning:
          '{at} did not greet within {seconds} s, but this machine is overloaded: sshd needs {startMs} ms to start.',
        remedy: 'Look what keeps it busy: top; then try again',
      },
      otherSource: {
        status: 'warn',
        symptom: 'SSH works from one address of this machine and not from another.',
        meaning: '{at} greets a connection from {source}, and not one from {other}: {said}.',
        remedy: 'Look for rules about {other}: /etc/hosts.deny, Match blocks of {file}, nft list ruleset',
      },
    },
    async run(facts, say) {
      const { server, nothing } = await serverOf(facts, role, say);
      if (nothing !== null) return nothing;
      const { lookAt, sources, configFile: file, daemon } = server;
      const at = hostAndPort(lookAt.host, lookAt.port);
      const { first, second } = await facts.get(greetings(role));
      const [source = '', other = ''] = sources;
      const service = await findService(facts, SERVICE_NAMES[role], role === 'paired' ? file : null);
      const restart = service?.restart ?? (daemon === null ? 'sshd' : `kill -HUP ${daemon.program.pid}`);
      const said = wordsFor(first);
      const seen = `connected to ${at} from ${source}: ${said}`;
      const values = {
        at,
        source,
        said,
        restart,
        file,
        seconds: 4,
        log: service?.log ?? 'tail -n 50 /var/log/auth.log',
      };
      switch (first.kind) {
        case 'ssh': {
          const evidence = `${seen}${second === null ? '' : `; from ${other}: ${wordsFor(second)}`}`;
          if (second === null || second.kind === 'ssh') return say.ok(first.banner, evidence);
          return say.found('otherSource', { ...values, other, said: wordsFor(second) }, evidence);
        }
        case 'refused':
          return say.found('refused', values, seen);
        case 'failed':
        case 'no-answer':
          return say.found('notOpened', values, seen);
        case 'full':
          return say.found('full', values, `${seen}${startups(server)}`);
        case 'punished':
          return say.found('punished', values, seen);
        case 'other':
          return say.found('otherService', { ...values, service: first.service, said: first.said }, seen);
        case 'closed': {
          // Before OpenSSH 8.6 it dropped what was too much without a word.
          if (isFull(server)) return say.found('full', values, `${seen}${startups(server)}`);
          const log = await logged(facts, /refused connect|fatal:|error:|Missing privilege|drop connection|crashed/i);
          const sshd = daemon?.program.path ?? '/usr/sbin/sshd';
          return say.found('closed', { ...values, sshd }, `${seen}${log}`);
        }
        case 'silent': {
          const pid = await stoppedOwner(facts, server);
          if (pid !== null) return say.found('stopped', { pid }, `${seen}; /proc/${pid}/stat: T (stopped)`);
          const startMs = (await facts.get(sshdProgram))?.startMs ?? 0;
          if (startMs > OVERLOADED_MS)
            return say.found('overloaded', { ...values, startMs: Math.round(startMs) }, seen);
          return say.found('silent', values, seen);
        }
      }
    },
  });
};

/** Where a start of sshd takes this long, four seconds may be too few for a greeting. */
const OVERLOADED_MS = 1_000;

async function stoppedOwner(facts: Facts, { daemon, atTarget }: SshServer): Promise<number | null> {
  const pids = new Set([daemon?.program.pid, ...atTarget.flatMap(({ owners }) => owners.map(({ pid }) => pid))]);
  const all = await facts.get(programs);
  return all.find(({ pid, state }) => pids.has(pid) && (state === 'T' || state === 't'))?.pid ?? null;
}

function isFull({ daemon }: SshServer): boolean {
  const count = daemon?.command.startups ?? null;
  return count !== null && count.now >= count.begin;
}

function startups({ daemon }: SshServer): string {
  const count = daemon?.command.startups ?? null;
  return count === null ? '' : `; it says: ${count.now} of ${count.begin}-${count.full} startups`;
}

export const sshdBanner = check('sshd');
export const pairedBanner = check('paired');
