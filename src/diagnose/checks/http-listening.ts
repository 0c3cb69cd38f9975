import { cleanText, hostAndPort } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { NOT_ASKED } from '../findings.ts';
import { agentService } from '../probes/agent-service.ts';
import { httpGet } from '../probes/http-answer.ts';
import { service, settledStatus } from '../probes/service.ts';
import { describeProgram } from '../probes/socket-holders.ts';
import { listeners } from '../probes/sockets.ts';
import type { ServiceStatus } from '../tools.ts';

/** Where clients look that know nothing of mDNS. */
const WELL_KNOWN_PORT = 5000;
const ANSWER_MS = 3_000;
/** How often the service tries to listen. */
const RETRY_MS = 4_900;

const SYMPTOM = 'Nobody can pair: the add-on or the app says that the device does not answer.';

export const httpListening = defineCheck({
  id: 'http.listening',
  title: 'the pairing routes answer',
  dependsOn: ['service.running'],
  explainedBy: ['firewall.inbound'],
  findings: {
    taken: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'Another program has port {port}: {program}',
      remedy: 'Stop that program, or choose another port with ZEROFORCE_HTTP_PORT; the service then listens by itself',
    },
    address: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The service cannot listen at {host}, which is not an address of this machine',
      remedy: 'Choose an address of this machine with ZEROFORCE_HTTP_HOST, or :: for all: ip addr',
    },
    notPermitted: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The user of the service may not listen on port {port}',
      remedy: 'Use a port above 1023 with ZEROFORCE_HTTP_PORT, or run the service as root',
    },
    deaf: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The service does not listen for pairing, and does not say why',
      remedy: 'Restart it: {start}',
    },
    silent: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The pairing routes at {address} give no answer: {why}',
      remedy:
        'Check what keeps this machine from itself (firewall, lo); then restart the service: ip addr show lo; {start}',
    },
    unhealthy: {
      status: 'fail',
      symptom: 'Pairing does not open or close any more.',
      meaning: 'The service says of itself that it is not healthy: its monitor does not look any more',
      remedy: 'Restart it: {start}',
    },
    loopback: {
      status: 'warn',
      symptom: 'The device can be paired from itself, and from nowhere else.',
      meaning: 'The pairing routes listen at {address} only, which no other machine can reach',
      remedy: 'If that is not on purpose, remove ZEROFORCE_HTTP_HOST (http.host), or set it to ::',
    },
    notAsked: NOT_ASKED,
  },
  async run(facts, say) {
    const { status: first, failure } = await facts.get(service);
    if (first === null) return say.found('notAsked', { why: failure.message });
    // A free port is taken at the next attempt.
    const passes = async ({ http }: ServiceStatus) =>
      http === null && (await foreignHolder(facts.config.http.port, null, facts)) === null;
    const status = await settledStatus(facts, first, RETRY_MS, passes);
    const start = (await facts.get(agentService)).restart;
    if (status.http === null) {
      const { host, port } = facts.config.http;
      const fault = status.faults.find(({ code }) => code.startsWith('http.'));
      const evidence = `tunnel-agent status: ${fault === undefined ? 'HTTP does not listen' : cleanText(fault.sentence)}`;
      const code: string = fault?.code ?? '';
      switch (code) {
        case 'http.port-in-use': {
          const program = await holderOf(port, facts);
          return say.found('taken', { port, program }, `${evidence}\n/proc/net/tcp: ${program}`);
        }
        case 'http.address-unavailable':
          return say.found('address', { host }, evidence);
        case 'http.not-permitted':
          return say.found('notPermitted', { port }, evidence);
        default:
          return say.found('deaf', { start }, evidence);
      }
    }
    const { host, port } = status.http;
    const address = hostAndPort(host, port);
    const near = { '::': '127.0.0.1', '0.0.0.0': '127.0.0.1' }[host] ?? host;
    const answer = await httpGet(facts, { host: near, port, path: '/healthz', timeoutMs: ANSWER_MS });
    const asked = `GET http://${hostAndPort(near, port)}/healthz`;
    if (answer.kind !== 'answered') {
      const why = answer.kind === 'silent' ? `none within ${ANSWER_MS / 1000} s` : answer.code;
      return say.found('silent', { address, why, start }, `${asked}: ${why}`);
    }
    const evidence = `${asked}: ${answer.status} ${cleanText(answer.text, 60)}`;
    if (answer.status === 503) return say.found('unhealthy', { start }, evidence);
    if (answer.status !== 200) return say.found('silent', { address, why: `HTTP ${answer.status}`, start }, evidence);
    if (host === '::1' || host.startsWith('127.')) return say.found('loopback', { address }, evidence);
    const other = port === WELL_KNOWN_PORT ? null : await foreignHolder(WELL_KNOWN_PORT, status.pid, facts);
    const aside =
      other === null ? '' : `; ${other} has port ${WELL_KNOWN_PORT}: who does not look by mDNS ends up there`;
    return say.ok(`at ${address}${aside}`, evidence);
  },
});

async function holderOf(port: number, facts: Facts): Promise<string> {
  return (await foreignHolder(port, null, facts)) ?? 'it is gone by now';
}

async function foreignHolder(port: number, ownPid: number | null, facts: Facts): Promise<string | null> {
  const { all, ownersKnown } = await facts.get(listeners);
  const found = all.find((each) => each.port === port);
  const owner = found?.owners[0];
  if (found === undefined || (owner !== undefined && owner.pid === ownPid)) return null;
  if (owner !== undefined) return describeProgram(owner);
  return ownersKnown ? 'a program of another container' : 'a program that this user may not see';
}
