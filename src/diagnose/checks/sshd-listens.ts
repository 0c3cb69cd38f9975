import type { Config } from '../../config/types.ts';
import { reaches } from '../../support/socket-table.ts';
import { hostAndPort } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import { findService } from '../probes/init.ts';
import { describeListener } from '../probes/sockets.ts';
import { greetings, type Role, SERVICE_NAMES } from '../probes/sshd.ts';
import { othersVisible } from '../probes/visible.ts';
import { NAMES, SEEN, serverOf } from './sshd-role.ts';

/** Where it listens on one of these, it is the setting that is wrong. */
const USUAL_PORTS: Readonly<Record<Role, number>> = { sshd: 22, paired: 8007 };

const check = (role: Role) => {
  const comes = role === 'sshd' ? 'the tunnel ends at {host}:{port}' : 'its clients come in at {host}:{port}';
  return defineCheck({
    id: `${role}.listens`,
    title: `${NAMES[role]} listens where its clients come in`,
    dependsOn: [`${role}.running`],
    findings: {
      otherAddress: {
        status: 'fail',
        symptom: SEEN[role],
        meaning: `${NAMES[role]} listens only on {found}, and ${comes}.`,
        remedy:
          'Remove the ListenAddress and AddressFamily lines of {file}, or add: ListenAddress {host}; then run: {restart}',
      },
      otherPort: {
        status: 'fail',
        symptom: SEEN[role],
        meaning: `${NAMES[role]} listens on {found}, and not on port {port} ({setting}), where ${
          role === 'sshd' ? 'the tunnel ends' : 'its clients come in'
        }.`,
        remedy: 'Write "Port {port}" into {file} and run: {restart}; or use the port that it has: {edit}',
      },
      nothing: {
        status: 'fail',
        symptom: SEEN[role],
        meaning: 'Nothing listens on port {port} ({setting}). Whether an SSH server runs elsewhere cannot be seen.',
        remedy: 'Start it: {start}; or see more as root: sudo tunnel-agent diagnose',
      },
      wrongPort: {
        status: 'fail',
        symptom: SEEN[role],
        meaning: `${NAMES[role]} listens on {found}, as it should, and not on port {port}, which {setting} names.`,
        remedy: 'Use the port that it has: {edit}; or write "Port {port}" into {file} and run: {restart}',
      },
    },
    async run(facts, say) {
      const { server, nothing } = await serverOf(facts, role, say);
      if (nothing !== null) return nothing;
      const { atTarget, onPort, daemon, target, lookAt, configFile } = server;
      const { host, port, setting } = target;
      const own = daemon?.listeners ?? [];
      const seen = `/proc/net/tcp: ${(own.length > 0 ? own : onPort).map(describeListener).join(', ')}`;
      if (atTarget.some((each) => reaches(each, host, port) === true)) {
        if (lookAt.port === port) return say.ok(`on ${hostAndPort(host, port)}`, seen);
        // Somebody else holds the port: the tunnel leads to the wrong place, which tunnel.target tells.
        return say.ok(`on port ${lookAt.port}, while the tunnel leads to port ${port}`, seen);
      }
      // A redirection of the firewall may lead elsewhere, and nobody but root knows all sockets.
      const { first } = await facts.get(greetings(role));
      if (first.kind === 'ssh') return say.ok(`reached at ${hostAndPort(host, port)}`, `${seen}; ${first.banner}`);
      if (atTarget.length > 0 && first.kind !== 'refused') return say.ok(`on port ${port}`, seen);

      const service = await findService(facts, SERVICE_NAMES[role], role === 'paired' ? configFile : null);
      const restart = service?.restart ?? `kill -HUP ${daemon?.program.pid ?? 'PID'}`;
      const values = { host, port, setting, file: configFile, restart };
      const here = onPort.length > 0 ? onPort : own.filter((each) => each.port === port);
      if (here.length > 0) {
        return say.found('otherAddress', { ...values, found: here.map(describeListener).join(', ') }, seen);
      }
      if (daemon === null && !(await facts.get(othersVisible))) {
        return say.found(
          'nothing',
          { ...values, start: service?.start ?? 'sshd' },
          `/proc/net/tcp: nothing on port ${port}`,
        );
      }
      const ports = [...new Set(own.map((each) => each.port))];
      const found = ports.length === 0 ? 'another port' : `port ${ports.join(', ')}`;
      const usual = ports.find((each) => each === USUAL_PORTS[role]);
      const right = usual ?? ports[0] ?? 'PORT';
      const name = usual === undefined ? 'otherPort' : 'wrongPort';
      return say.found(name, { ...values, found, edit: edit(setting, right, facts.config) }, seen);
    },
  });
};

/** What names the port of sshd, with another one in it. */
function edit(setting: string, port: number | string, { services, ssh }: Config): string {
  const list = (all: Readonly<Record<string, number>>) =>
    Object.entries({ ...all, ssh: port })
      .map(([name, each]) => `${name}=${each}`)
      .join(',');
  if (setting === '--ssh-port') return `--ssh-port ${port}`;
  if (setting === 'tunnel.port') return `ZEROFORCE_TUNNEL_PORT=${port}`;
  if (setting === 'ssh.forwards.ssh') return `ZEROFORCE_SSH_FORWARDS=${list(ssh?.forwards ?? {})}`;
  return `ZEROFORCE_SERVICES=${list(services)}`;
}

export const sshdListens = check('sshd');
export const pairedListens = check('paired');
