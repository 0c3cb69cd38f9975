import { defineCheck } from '../check.ts';
import { deviceAnswer } from '../probes/meeting-api.ts';

export const apiAuthorized = defineCheck({
  id: 'api.authorized',
  title: 'the Meeting server has authorized this device',
  dependsOn: ['api.device'],
  network: true,
  findings: {
    notAuthorized: {
      status: 'fail',
      symptom: 'The device is in the list of the server, and a tunnel is refused: Device not authorized.',
      meaning: 'The Meeting server has not authorized {key}, so it offers no tunnel to it',
      remedy: 'Authorize {key} at the Meeting server; at our gateway: tunnel-gateway device authorize {key}',
    },
    unclear: {
      status: 'unknown',
      symptom: 'The device is in the list of the server, and a tunnel is refused.',
      meaning: 'The Meeting server did not say whether the device is authorized',
      remedy: 'See what keeps it from answering: tunnel-agent diagnose --only api.reachable,api.device',
    },
  },
  async run(facts, say) {
    const asked = await facts.get(deviceAnswer);
    const { api } = facts.tools;
    if (asked === null || api === null) return say.skip('no Meeting API is configured (MEETING_API_URL)');
    const { answer, evidence } = asked;
    if (answer === null) return say.found('unclear', {}, evidence);
    if (answer.authorized) return say.ok('authorized', evidence);
    return say.found('notAuthorized', { key: api.deviceKey }, evidence);
  },
});
