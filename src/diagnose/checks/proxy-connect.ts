import { readFile } from 'node:fs/promises';
import type { FailureCode } from '../../support/failures.ts';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import type { Decision } from '../firewall/model.ts';
import { isIptables, remove, ruleOf } from '../firewall/words.ts';
import { outboundFate } from '../probes/firewall.ts';
import { nameFiles, peerLookUp } from '../probes/look-up.ts';
import { stepOf } from '../probes/session.ts';
import { peerWords } from '../proxy/peer.ts';
import { defaultRoutes, defaultRoutes6 } from '../proxy/routes.ts';
import { UNTRIED } from '../proxy/untried.ts';

export const proxyConnect = defineCheck({
  id: 'proxy.connect',
  title: 'the proxy accepts connections',
  dependsOn: ['dns.proxy'],
  network: true,
  findings: {
    refused: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.refused` or `ssh.refused`.',
      meaning: 'Nothing listens at {peer}: the connection was refused',
      remedy: 'Check {hostSetting} and {portSetting}; where they are right, ask the operator whether the {kind} runs',
    },
    ownFirewall: {
      status: 'fail',
      symptom: 'The device does not come online, and other machines of its network reach the proxy.',
      meaning: 'The firewall of this device itself keeps back what goes to {peer}: {rule}',
      remedy: 'Let it pass: {command}; and change the file that the rules are loaded from',
    },
    noRoute: {
      status: 'fail',
      symptom: 'The device does not come online, and nothing outside of its own network can be reached from it.',
      meaning: 'This device has no default route, so that {peer} cannot be reached',
      remedy:
        'Check cable or Wi-Fi, and what the router gives: ip addr; ip route; then renew the lease or restart the network',
    },
    unreachable: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.unreachable` or `ssh.unreachable`.',
      meaning: '{peer} cannot be reached from here: {sentence}',
      remedy: 'Check the network of the site: ip route get {host}; ping {host}',
    },
    timeout: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.timeout` or `ssh.timeout`.',
      meaning: '{peer} does not answer: somebody on the way drops the connection, or the machine is off',
      remedy: 'Let the site pass outgoing connections to TCP port {port} of {host}; compare: nc -vz -w 3 {host} {port}',
    },
    nameLost: {
      status: 'fail',
      symptom: 'The device comes online at times only, and the log says `proxy.dns` or `ssh.dns` in between.',
      meaning: '{host} could be looked up a moment ago, and now not: {sentence}',
      remedy: 'Check the DNS server, which answers only sometimes: cat /etc/resolv.conf; nslookup {host}',
    },
    noProgram: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `ssh.missing`.',
      meaning: 'The tunnel needs the OpenSSH client: {sentence}',
      remedy: 'Install it, or name its program with ZEROFORCE_SSH_PROGRAM',
    },
    notStarted: {
      status: 'unknown',
      symptom: 'The diagnosis could not start ssh.',
      meaning: 'ssh could not be started to look: {sentence}',
      remedy: 'Check that /tmp can be written and has free space: df -h /tmp; ls -ld /tmp',
    },
    untried: UNTRIED,
  },
  async run(facts, say) {
    const { tunnel } = facts.tools;
    if (tunnel === null) return say.skip('no tunnel is configured');
    const words = peerWords(tunnel);
    const step = await stepOf('connect', facts);
    if (step.kind === 'passed') return say.ok(`${words.peer} accepts connections`, step.evidence);
    if (step.kind === 'untried') return say.found('untried', { why: step.why, need: step.need }, step.evidence);

    const { code, sentence } = step;
    const routes = await readRoutes();
    const { entries } = await facts.get(nameFiles);
    const evidence = [step.evidence, ...entries.map(({ line }) => `/etc/hosts: ${line}`)].join('\n');
    const withRoutes = `${evidence}\ndefault route: ${routes.join('; ') || 'none'}`;
    const name = NAMES[code] ?? 'notStarted';
    if (name === 'refused' || name === 'unreachable' || name === 'timeout') {
      const by = await ownObstacle(facts, tunnel.peer.port);
      const rule = by === null ? '' : ruleOf(by);
      if (by !== null) return say.found('ownFirewall', { ...words, rule, command: passing(by, words.port) }, evidence);
    }
    return say.found(
      name === 'unreachable' && routes.length === 0 ? 'noRoute' : name,
      { ...words, sentence },
      name === 'unreachable' || name === 'timeout' ? withRoutes : evidence,
    );
  },
});

const NAMES: Partial<Record<FailureCode, 'refused' | 'timeout' | 'unreachable' | 'nameLost' | 'noProgram'>> = {
  'proxy.refused': 'refused',
  'ssh.refused': 'refused',
  'proxy.timeout': 'timeout',
  'ssh.timeout': 'timeout',
  'proxy.unreachable': 'unreachable',
  'ssh.unreachable': 'unreachable',
  'proxy.dns': 'nameLost',
  'ssh.dns': 'nameLost',
  'ssh.missing': 'noProgram',
};

/** The rule of this device that surely stops what it sends there; null where none does, or nobody can tell. */
async function ownObstacle(facts: Facts, port: number): Promise<Decision | null> {
  const looked = await facts.get(peerLookUp);
  const addresses = looked !== null && 'addresses' in looked ? looked.addresses : [];
  const fates = await Promise.all(addresses.map((address) => outboundFate(facts, { address, port })));
  const [first] = fates.map((fate) => (fate?.kind === 'blocked' ? fate.by : null));
  return fates.every((fate) => fate?.kind === 'blocked') ? (first ?? null) : null;
}

function passing(by: Decision, port: number): string {
  if (by.rule !== null) return remove(by);
  const { family, table, name } = by.chain;
  if (isIptables(by.chain)) return `iptables -I ${name} -p tcp --dport ${port} -j ACCEPT`;
  return `nft insert rule ${family} ${table} ${name} tcp dport ${port} accept`;
}

async function readRoutes(): Promise<string[]> {
  const read = (name: string) => readFile(`/proc/net/${name}`, 'latin1').catch(() => '');
  return [...defaultRoutes(await read('route')), ...defaultRoutes6(await read('ipv6_route'))];
}
