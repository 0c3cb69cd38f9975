import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { deviceAnswer } from '../probes/meeting-api.ts';

/** Names of the server that stand for another service of the device, or for none (wire 2). */
const SAME_AS: Readonly<Record<string, string>> = { scp: 'ssh' };
/** Debug never goes through the tunnel, and relay names its port when it is asked for. */
const WITHOUT_PORT: ReadonlySet<string> = new Set(['debug', 'relay']);

export const apiServices = defineCheck({
  id: 'api.services',
  title: 'the Meeting server offers ssh to this device',
  dependsOn: ['api.device'],
  network: true,
  findings: {
    noSsh: {
      status: 'fail',
      symptom: 'The operator gets no ssh port for the device, while the tunnel stands.',
      meaning: 'ssh is not among the services that the Meeting server has enabled for {key}: {enabled}',
      remedy:
        'Enable the service ssh for {key} at the Meeting server; the server owns that list, the device cannot change it',
    },
    unclear: {
      status: 'unknown',
      symptom: 'The operator gets no ssh port for the device.',
      meaning: 'The Meeting server did not say which services it has enabled',
      remedy: 'See what keeps it from answering: tunnel-agent diagnose --only api.reachable,api.device',
    },
  },
  async run(facts, say) {
    const asked = await facts.get(deviceAnswer);
    const { api } = facts.tools;
    if (asked === null || api === null) return say.skip('no Meeting API is configured (MEETING_API_URL)');
    const { answer, evidence } = asked;
    if (answer === null) return say.found('unclear', {}, evidence);
    if (answer.services === null) return say.ok('the server says nothing about services', evidence);
    const { names, offersSsh } = offered(facts);
    const enabled = Object.entries(answer.services).flatMap(([name, on]) => (on ? [name] : []));
    if (!enabled.includes('ssh')) {
      if (!offersSsh) return say.ok('ssh is enabled neither there nor on this device', evidence);
      return say.found('noSsh', { key: api.deviceKey, enabled: enabled.join(', ') || 'none is' }, evidence);
    }
    const closedHere = enabled.filter((name) => !WITHOUT_PORT.has(name) && !names.has(SAME_AS[name] ?? name));
    const note = closedHere.length === 0 ? '' : `; not offered by this device: ${closedHere.join(', ')}`;
    return say.ok(`ssh is enabled there${note}`, evidence);
  },
});

/** What this device lets in by its own list. */
function offered({ config: { transport, services, ssh } }: Facts): { names: ReadonlySet<string>; offersSsh: boolean } {
  const local = transport === 'ssh' && ssh !== null ? ssh.forwards : services;
  return { names: new Set(Object.keys(local)), offersSsh: 'ssh' in local };
}
