import { reaches } from '../../support/socket-table.ts';
import { defineCheck } from '../check.ts';
import { describeListener, listeners } from '../probes/sockets.ts';
import { forwardsOf } from '../probes/target.ts';

const LOOPBACK = '127.0.0.1';

export const tunnelServices = defineCheck({
  id: 'tunnel.services',
  title: 'the other services of the tunnel can be reached',
  dependsOn: ['config.identity'],
  findings: {
    elsewhere: {
      status: 'warn',
      symptom: 'SSH through the tunnel works, and another service does not, though it runs.',
      meaning: 'The tunnel opens 127.0.0.1, and there it does not find {list}',
      remedy: 'Let the service listen on 127.0.0.1 or on all addresses, or correct its port in {setting}',
    },
    scp: {
      status: 'warn',
      symptom: '`ssh` to the device works, and `scp` does not.',
      meaning: 'scp leads to port {port}, where nothing listens; ssh leads to port {sshPort}',
      remedy: 'Set both to the same port in {setting}: scp={sshPort}',
    },
  },
  async run(facts, say) {
    if (facts.tools.tunnel === null) return say.skip('no tunnel is configured');
    const { setting, ports } = forwardsOf(facts);
    const others = Object.entries(ports).filter(([name]) => name !== 'ssh');
    if (others.length === 0) return say.ok('there is no other service', `${setting}: ssh alone`);

    const { all } = await facts.get(listeners);
    const found = others.map(([name, port]) => {
      const onPort = all.filter((each) => each.port === port);
      return { name, port, onPort, there: onPort.some((each) => reaches(each, LOOPBACK, port) !== false) };
    });
    const evidence = found
      .map(
        ({ name, port, onPort }) => `${name}=${port}: ${onPort.map(describeListener).join(', ') || 'nothing listens'}`,
      )
      .join('\n');
    const elsewhere = found.filter(({ onPort, there }) => onPort.length > 0 && !there);
    if (elsewhere.length > 0) {
      const list = elsewhere
        .map(({ name, port, onPort }) => `${name} (port ${port} of ${onPort.map(({ address }) => address).join(', ')})`)
        .join(', ');
      return say.found('elsewhere', { list, setting }, evidence);
    }
    const scp = found.find(({ name }) => name === 'scp');
    const sshPort = ports.ssh;
    if (scp !== undefined && !scp.there && sshPort !== undefined && all.some(({ port }) => port === sshPort)) {
      return say.found('scp', { port: scp.port, sshPort, setting }, evidence);
    }
    // Most devices have neither VNC nor a page of their own: that is no fault.
    const absent = found.filter(({ there }) => !there).map(({ name, port }) => `${name} (${port})`);
    return say.ok(absent.length === 0 ? 'all of them listen' : `nothing listens for ${absent.join(', ')}`, evidence);
  },
});
