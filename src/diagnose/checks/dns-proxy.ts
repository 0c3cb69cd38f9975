import { Resolver } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { type LookUp, nameFiles, peerLookUp } from '../probes/look-up.ts';
import { service } from '../probes/service.ts';
import { session } from '../probes/session.ts';
import { accepts } from '../probes/tcp.ts';
import { isLocalName, oddAddress } from '../proxy/names.ts';
import { peerWords } from '../proxy/peer.ts';
import { isElsewhere } from '../proxy/stages.ts';

const SECOND_OPINION_MS = 1_000;

export const dnsProxy = defineCheck({
  id: 'dns.proxy',
  title: 'the name of the proxy leads to an address',
  dependsOn: ['config.identity'],
  network: true,
  findings: {
    unknownName: {
      status: 'fail',
      symptom: 'The device never comes online; the log says `proxy.dns` or `ssh.dns`.',
      meaning: 'The name {host} of the {kind} does not exist, or has no address',
      remedy: 'Correct {setting}, or what the DNS server says: nslookup {host}',
    },
    noAnswer: {
      status: 'fail',
      symptom: 'The device never comes online, and names cannot be looked up on it at all.',
      meaning: 'No DNS server gave an answer for {host} ({how}); asked: {servers}',
      remedy: 'Check the network and the DNS server: cat /etc/resolv.conf; nslookup {host}',
    },
    misledByHosts: {
      status: 'fail',
      symptom: 'The device never comes online; the log says that the connection was refused.',
      meaning: '/etc/hosts sends {host} to {address}, which {odd}',
      remedy: 'Remove this line from /etc/hosts: {line}',
    },
    misledByDns: {
      status: 'fail',
      symptom: 'The device never comes online; the log says that the connection was refused.',
      meaning: 'The DNS server sends {host} to {address}, which {odd}',
      remedy: 'Correct the record, or use another DNS server than {servers}: nslookup {host}',
    },
    overridden: {
      status: 'fail',
      symptom: 'Other devices come online, this one does not; what answers it is another machine than its proxy.',
      meaning:
        '/etc/hosts sends {host} to {address}, where no {kind} answers; the DNS server says {other}, where one may',
      remedy: 'Remove this line from /etc/hosts: {line}',
    },
    suspect: {
      status: 'unknown',
      symptom: 'The name of the proxy leads to an odd address, and nothing was dialled.',
      meaning: '{host} leads to {address}, which {odd}; nothing was dialled to see what is there',
      remedy: 'Compare it with what another machine says: nslookup {host}',
    },
    heldWithout: {
      status: 'warn',
      symptom: 'The device is online now. After the next interruption it will not come back.',
      meaning: 'The session stands, but {host} cannot be looked up any more: {how}',
      remedy: 'Check the DNS server: cat /etc/resolv.conf; nslookup {host}',
    },
  },
  async run(facts, say) {
    const { tunnel } = facts.tools;
    const found = await facts.get(peerLookUp);
    if (tunnel === null || found === null) return say.skip('no tunnel is configured');
    const { host, port, kind, hostSetting: setting } = peerWords(tunnel);
    if (found.kind === 'literal') return say.ok(`${host} is an address, no name`, `${setting}=${host}`);

    const { servers, entries, lines } = await facts.get(nameFiles);
    const evidence = [`looked up ${host}: ${describe(found)}`, ...lines].join('\n');
    const asked = servers.join(', ') || 'none';
    if (found.kind !== 'found') {
      const how = found.kind === 'no-answer' ? found.how : 'the name does not exist';
      const { status } = await facts.get(service);
      if (status?.tunnel?.state === 'up') return say.found('heldWithout', { host, how }, evidence);
      if (found.kind === 'unknown-name') return say.found('unknownName', { host, kind, setting }, evidence);
      return say.found('noAnswer', { host, how, servers: asked }, evidence);
    }

    const { addresses } = found;
    const [address = ''] = addresses;
    const odd = isLocalName(host) ? null : oddReason(addresses);
    const ok = () => say.ok(`${host} leads to ${addresses.join(', ')}`, evidence);
    if (odd === null && entries.length === 0) return ok();
    // A strange address may be meant. What is there decides.
    const tried = await facts.get(session);
    if (tried.kind === 'held' || tried.kind === 'accepted') return ok();
    const [line] = entries.map((entry) => entry.line);
    if (odd !== null) {
      if (tried.kind === 'untried') return say.found('suspect', { host, address, odd }, evidence);
      if (line !== undefined) return say.found('misledByHosts', { host, address, odd, line }, evidence);
      return say.found('misledByDns', { host, address, odd, servers: asked }, evidence);
    }
    if (line === undefined || tried.kind === 'untried' || !isElsewhere(tried.code)) return ok();
    const other = await otherOpinion(facts, host, port, addresses);
    if (other === null) return ok();
    const answers = `${evidence}\nDNS: ${other}; it accepts connections to port ${port}`;
    return say.found('overridden', { host, kind, address, line, other }, answers);
  },
});

function describe(found: Exclude<LookUp, { kind: 'literal' }>): string {
  if (found.kind === 'found') return found.addresses.join(', ');
  return found.kind === 'no-answer' ? found.how : 'no such name';
}

/** What is odd about all of them. */
function oddReason(addresses: readonly string[]): string | null {
  const own = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((each) => each.address));
  const reasons = addresses.map((each) => oddAddress(each, own));
  return reasons.includes(null) ? null : (reasons[0] ?? null);
}

/** An address of the DNS server that is not the one of /etc/hosts, and where somebody accepts connections. */
async function otherOpinion(
  { clock }: Facts,
  host: string,
  port: number,
  known: readonly string[],
): Promise<string | null> {
  const resolver = new Resolver({ timeout: SECOND_OPINION_MS, tries: 1 });
  const found = await resolver.resolve4(host).catch(() => []);
  const [other] = found.filter((address) => !known.includes(address));
  if (other === undefined) return null;
  return (await accepts(other, port, SECOND_OPINION_MS, clock)) ? other : null;
}
