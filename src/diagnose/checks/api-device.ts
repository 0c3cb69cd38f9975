import { meaningOf, whatOf } from '../api/answer.ts';
import { defineCheck } from '../check.ts';
import { deviceAnswer } from '../probes/meeting-api.ts';

export const apiDevice = defineCheck({
  id: 'api.device',
  title: 'the Meeting server knows this device',
  dependsOn: ['api.reachable'],
  network: true,
  findings: {
    tokenRefused: {
      status: 'fail',
      symptom:
        'The server lists the device as disconnected, and the proxy refuses the tunnel or closes without a word.',
      meaning: 'The Meeting server does not accept the token of this device: {what}',
      remedy:
        'Put the token that the server has for {key} into MEETING_TOKEN or the file of MEETING_TOKEN_FILE, then: tunnel-agent config check',
    },
    notProvisioned: {
      status: 'fail',
      symptom: 'The device is not in the list of the server.',
      meaning: 'The Meeting server does not know a device {key}: {what}',
      remedy: 'Add {key} to the server; or correct MEETING_DEVICE_KEY, if the device has another name there',
    },
    forbidden: {
      status: 'fail',
      symptom: 'The server lists the device as disconnected, and answers 403 to it.',
      meaning: 'The Meeting server, or what stands before it, declines this device: {what}',
      remedy:
        'Ask the operator why {key} is declined; an access list in front of the server is likely, where other devices are, too',
    },
    unclear: {
      status: 'unknown',
      symptom: 'The server lists the device as disconnected.',
      meaning: 'The Meeting server did not come to speak of the device',
      remedy: 'See what keeps it from answering: tunnel-agent diagnose --only api.reachable',
    },
  },
  async run(facts, say) {
    const asked = await facts.get(deviceAnswer);
    const { api } = facts.tools;
    if (asked === null || api === null) return say.skip('no Meeting API is configured (MEETING_API_URL)');
    const { failure, evidence } = asked;
    if (failure === null) return say.ok(`${api.deviceKey} is known there, and its token is accepted`, evidence);
    const meaning = meaningOf(failure);
    if (meaning?.check !== 'api.device') return say.found('unclear', {}, evidence);
    return say.found(meaning.finding, { key: api.deviceKey, what: whatOf(failure.message) }, evidence);
  },
});
