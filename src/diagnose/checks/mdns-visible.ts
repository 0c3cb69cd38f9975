import { networkInterfaces } from 'node:os';
import { asFailure } from '../../support/failures.ts';
import { cleanText } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { NOT_ASKED } from '../findings.ts';
import { agentService } from '../probes/agent-service.ts';
import { service } from '../probes/service.ts';
import { describeProgram, udpHolders } from '../probes/socket-holders.ts';
import type { AnnouncedDevice, ServiceStatus } from '../tools.ts';

const PORT = 5353;
/** As long as each look takes: an answer comes within 120 ms; right after a start the name is being claimed for 1 s. */
const LOOKS_MS = [500, 1_200, 2_000];

const SYMPTOM = 'Home Assistant does not find the device by itself; by its address it can be paired.';

export const mdnsVisible = defineCheck({
  id: 'mdns.visible',
  title: 'the device is found by mDNS',
  dependsOn: ['service.running'],
  explainedBy: ['http.listening', 'firewall.inbound', 'dns.proxy', 'proxy.connect', 'api.reachable'],
  findings: {
    taken: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The device does not announce itself, because another program keeps UDP port 5353 to itself: {program}',
      remedy: 'Stop that program, or make it share the port (SO_REUSEADDR), as avahi-daemon does: netstat -ulnp',
    },
    noNetwork: {
      status: 'fail',
      symptom: 'The device cannot be reached from anywhere.',
      meaning: 'No interface that is up has an address, so that there is no network to announce the device in',
      remedy: 'Check the cable or the Wi-Fi: ip addr; ip link',
    },
    failed: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The device cannot announce itself: {why}',
      remedy: 'Check the network and the firewall of this machine, which must let UDP port 5353 out and in: ip addr',
    },
    unheard: {
      status: 'warn',
      symptom: SYMPTOM,
      meaning: 'The device announces itself as {name}, and is not heard on this machine itself',
      remedy:
        'Check the firewall of this machine, which must let UDP port 5353 out and in; then restart the service: {start}',
    },
    renamed: {
      status: 'warn',
      symptom: 'The device appears under another name than its own.',
      meaning: 'Another machine in the network has the name of this one, so that it is announced as {name}',
      remedy: 'Give each device a host name of its own, then restart the service: hostname; {start}',
    },
    unsure: {
      status: 'unknown',
      symptom: 'The diagnosis cannot look for devices, or the service was started a moment ago.',
      meaning: 'Not known, because {why}',
      remedy: 'Try again in a few seconds: tunnel-agent diagnose --only mdns.visible',
    },
    notAsked: NOT_ASKED,
  },
  async run(facts, say) {
    if (!facts.config.mdns.enabled) return say.skip('mDNS is off (ZEROFORCE_MDNS=0)');
    const { status, failure } = await facts.get(service);
    if (status === null) return say.found('notAsked', { why: failure.message });
    const { mdns } = status;
    if (mdns === null) return say.skip('the running service does not announce itself');
    const { name } = mdns;
    const fault = status.faults.find(({ code }) => code.startsWith('mdns.'));
    const said = `tunnel-agent status: ${cleanText(name)} on ${mdns.interfaces.map((link) => `${link.name} ${link.state}`).join(', ') || 'no interface'}`;
    const start = (await facts.get(agentService)).restart;
    const working = mdns.interfaces.some(({ state }) => state !== 'failed');
    if (fault !== undefined && !working) {
      const evidence = `${said}; ${cleanText(fault.sentence)}`;
      if (fault.code === 'mdns.no-interface') return say.found('noNetwork', {}, evidence);
      if (fault.code !== 'mdns.socket') return say.found('failed', { why: cleanText(fault.sentence) }, evidence);
      const program = await strangersOf(status.pid, facts);
      return say.found('taken', { program }, `${evidence}\n/proc/net/udp: ${program}`);
    }
    if (!facts.options.network) return say.ok(`announced as ${cleanText(name)}`, said);
    const { found, why } = await look(status, facts);
    if (why !== null) return say.found('unsure', { why }, said);
    const evidence = `${said}\nbrowsed: ${found === null ? 'it was not found' : `found at ${found.addresses.join(', ')}`}`;
    if (mdns.renamed) return say.found('renamed', { name: cleanText(name), start }, evidence);
    if (found === null && isChanging(mdns)) {
      return say.found('unsure', { why: 'the network of this machine has changed a moment ago' }, evidence);
    }
    if (found === null) return say.found('unheard', { name: cleanText(name), start }, evidence);
    return say.ok(`found as ${cleanText(name)}`, evidence);
  },
});

/** Whether the service has still to find out what the network is now: until then it is silent for seconds. */
function isChanging({ interfaces }: NonNullable<ServiceStatus['mdns']>): boolean {
  const present = networkInterfaces();
  const has = (link: string, address: string) => present[link]?.some((each) => each.address === address) ?? false;
  return interfaces.some(
    ({ name, addresses, state }) => state === 'claiming' || !addresses.every((address) => has(name, address)),
  );
}

/** This device as a client would find it. */
async function look(
  status: ServiceStatus,
  facts: Facts,
): Promise<{ found: AnnouncedDevice | null; why: string | null }> {
  const own = new Set(status.mdns?.interfaces.flatMap(({ addresses }) => addresses));
  try {
    for (const timeoutMs of LOOKS_MS) {
      const devices = await facts.tools.browse(timeoutMs, facts.signal);
      const found = devices.find(
        ({ name, addresses }) =>
          name === status.mdns?.name && addresses.some((address) => own.has(address.replace(/%.*$/, ''))),
      );
      if (found !== undefined) return { found, why: null };
    }
    return { found: null, why: null };
  } catch (error) {
    return { found: null, why: cleanText(asFailure(error).message) };
  }
}

/** Who else has the port: of several, any may be the one that does not share it. */
async function strangersOf(ownPid: number, facts: Facts): Promise<string> {
  const holders = (await udpHolders(facts, PORT)).filter((holder) => holder?.pid !== ownPid);
  if (holders.length === 0) return 'it is gone by now';
  return holders
    .map((holder) => (holder === null ? 'a program that this user may not see' : describeProgram(holder)))
    .join(', ');
}
