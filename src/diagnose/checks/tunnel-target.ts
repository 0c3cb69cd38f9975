import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { describeListener } from '../probes/sockets.ts';
import { sshServer } from '../probes/sshd.ts';
import { target } from '../probes/target.ts';
import { wordsFor } from '../sshd/greeting.ts';

export const tunnelTarget = defineCheck({
  id: 'tunnel.target',
  title: 'the tunnel leads to the SSH server',
  dependsOn: ['config.identity'],
  explainedBy: [
    'sshd.running',
    'sshd.listens',
    'sshd.banner',
    'sshd.penalties',
    'hosts.access',
    'firewall.inbound',
    'sshd.config',
  ],
  findings: {
    notAllowed: {
      status: 'fail',
      symptom: 'The device is online, and `ssh` to its public port is reset or closed at once.',
      meaning: 'The tunnel may not open an SSH server: {setting} is {services}',
      remedy: 'Add the port of sshd: {setting}={withSsh}',
    },
    refused: {
      status: 'fail',
      symptom: 'The device is online, and `ssh` to its public port is reset or closed at once.',
      meaning: 'Nothing listens on port {port} of 127.0.0.1, where the tunnel leads',
      remedy: 'Set ssh in {setting} to the port of sshd, or let sshd listen there: netstat -tlnp',
    },
    failed: {
      status: 'fail',
      symptom: 'The device is online, and `ssh` to its public port is reset or closed at once.',
      meaning: 'The tunnel cannot connect to port {port} of 127.0.0.1 ({how})',
      remedy: 'Check that the loopback interface is up, with all of 127.0.0.0/8: ip addr show lo; ip link set lo up',
    },
    closed: {
      status: 'fail',
      symptom: '`kex_exchange_identification: read: Connection reset by peer`, though the device is online.',
      meaning: 'What listens on port {port} takes connections of the tunnel and closes them without a word',
      remedy: 'Look at /etc/hosts.deny and the log of sshd; the tunnel comes from 127.0.0.77: grep . /etc/hosts.deny',
    },
    full: {
      status: 'fail',
      symptom: '`ssh` to the device ends with `Exceeded MaxStartups` or `Not allowed at this time`, at times.',
      meaning: 'sshd on port {port} lets nobody in at the moment: {said}',
      remedy: 'Wait a minute; find out who tries to log in; exempt 127.0.0.0/8 from PerSourcePenalties in sshd_config',
    },
    silent: {
      status: 'fail',
      symptom: 'The device is online, and `ssh` to its public port hangs.',
      meaning: 'What listens on port {port} takes connections of the tunnel and says nothing, as no sshd does',
      remedy: 'Find out what listens there: netstat -tlnp; then set ssh in {setting} to the port of sshd',
    },
    noAnswer: {
      status: 'fail',
      symptom: 'The device is online, and `ssh` to its public port hangs.',
      meaning: 'Port {port} of 127.0.0.1 does not answer the tunnel, which comes from 127.0.0.77',
      remedy: 'Let the firewall pass everything on the loopback interface: iptables -I INPUT -i lo -j ACCEPT',
    },
    otherService: {
      status: 'fail',
      symptom: 'The device is online, and `ssh` to its public port says that the other end speaks no SSH.',
      meaning: 'The tunnel leads to port {port}, and there is {service}, not sshd: it said {said}',
      remedy: 'Set ssh in {setting} to the port of sshd: netstat -tlnp',
    },
  },
  async run(facts, say) {
    if (facts.tools.tunnel === null) return say.skip('no tunnel is configured');
    const { port, setting, services, greeting } = await facts.get(target);
    if (port === null || greeting === null) {
      const withSsh = ['ssh=22', services].filter((text) => text !== '').join(',');
      return say.found(
        'notAllowed',
        { setting, services: services || 'empty', withSsh },
        `configuration: ${setting}=${services}`,
      );
    }
    const evidence = `connected to 127.0.0.1:${port} as the tunnel does: ${wordsFor(greeting)}`;
    const values = { port, setting };
    switch (greeting.kind) {
      case 'ssh':
        return say.ok(`port ${port}: ${greeting.banner}`, evidence);
      case 'refused':
        return say.found('refused', values, await withListeners(facts, evidence));
      case 'failed':
        return say.found('failed', { port, how: greeting.code }, evidence);
      case 'no-answer':
        return say.found('noAnswer', values, evidence);
      case 'closed':
        return say.found('closed', values, await withListeners(facts, evidence));
      case 'silent':
        return say.found('silent', values, await withListeners(facts, evidence));
      case 'full':
      case 'punished':
        return say.found('full', { port, said: greeting.said }, evidence);
      case 'other': {
        const { service, said } = greeting;
        return say.found('otherService', { ...values, service, said }, await withListeners(facts, evidence));
      }
    }
  },
});

/** Where sshd is, and who is where it should be. */
async function withListeners(facts: Facts, evidence: string): Promise<string> {
  const { atTarget, daemon } = await facts.get(sshServer('sshd'));
  const there = atTarget.map(describeListener).join(', ');
  const sshd = (daemon?.listeners ?? []).map(describeListener).join(', ');
  return [evidence, there && `listens there: ${there}`, sshd && `sshd listens on: ${sshd}`]
    .filter((line) => line !== '')
    .join('\n');
}
