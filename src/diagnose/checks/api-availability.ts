import { cleanText } from '../../support/text.ts';
import { meaningOf, whatOf } from '../api/answer.ts';
import { judgeHeartbeats } from '../api/heartbeats.ts';
import { defineCheck } from '../check.ts';
import { availabilityAnswer } from '../probes/meeting-api.ts';
import { service } from '../probes/service.ts';

export const apiAvailability = defineCheck({
  id: 'api.availability',
  title: 'the Meeting server lists this device as available',
  dependsOn: ['api.device'],
  explainedBy: ['service.running'],
  network: true,
  findings: {
    unheard: {
      status: 'fail',
      symptom: 'The server lists the device as disconnected or unknown, while its service runs.',
      meaning:
        'The server answers the heartbeats of this device, the last one {ago} s ago, and lists it as {listed} all the same',
      remedy:
        'Ask the operator of the Meeting server: heartbeats for {key} arrive and are not counted (two servers behind one name?)',
    },
    seldom: {
      status: 'fail',
      symptom: 'The server lists the device as disconnected for a part of the time, while its service runs.',
      meaning: 'The server lists the device as {listed}; it hears of it too seldom, the last time {ago} s ago',
      remedy: 'Set MEETING_HEARTBEAT_INTERVAL to 60, or to less than what the server waits for',
    },
    failing: {
      status: 'fail',
      symptom: 'The server lists the device as disconnected or unknown, while its service runs.',
      meaning: 'The server lists the device as {listed}, and does not take its heartbeats: {why}',
      remedy:
        'Ask the operator of the Meeting server to read its log about POST /api/devices/{key}/online; then: tunnel-agent status',
    },
    recovering: {
      status: 'warn',
      symptom: 'The server lists the device as disconnected for some minutes after an outage.',
      meaning:
        'The server lists the device as {listed}; the last heartbeat failed, and the next one follows within minutes: {why}',
      remedy: 'Wait for the next heartbeat, then look again: tunnel-agent status',
    },
    otherService: {
      status: 'warn',
      symptom: 'The server lists the device as disconnected or unknown, while its service runs.',
      meaning: 'The server lists the device as {listed}, and the running service sends its heartbeats {where}',
      remedy: 'Let the service take the configuration on: tunnel-agent status shows what it runs with; else restart it',
    },
    unclear: {
      status: 'unknown',
      symptom: 'The server lists the device as disconnected or unknown.',
      meaning: 'Whether the server lists the device as it should could not be found out: {why}',
      remedy: 'Run it as root while the service runs: tunnel-agent diagnose --only api.availability',
    },
    notServed: {
      status: 'warn',
      symptom: 'The server knows the device and shows no availability for it.',
      meaning: 'The Meeting server does not tell the availability of the device: {why}',
      remedy: 'Tell the operator of the server; the device itself does not need it',
    },
  },
  async run(facts, say) {
    const asked = await facts.get(availabilityAnswer);
    const { api } = facts.tools;
    if (asked === null || api === null) return say.skip('no Meeting API is configured (MEETING_API_URL)');
    const { answer, failure, evidence } = asked;
    if (failure !== null) {
      const why = whatOf(failure.message);
      return say.found(meaningOf(failure) === null ? 'unclear' : 'notServed', { why }, evidence);
    }
    if (answer === 'available') return say.ok('available', evidence);
    const listed = answer;
    const { status, failure: noAnswer } = await facts.get(service);
    if (status === null) {
      // The check service.running says it.
      if (noAnswer.code === 'service.not-running') {
        return say.ok(`${listed}, as is to be expected: no service runs`, evidence);
      }
      return say.found('unclear', { why: cleanText(noAnswer.message) }, evidence);
    }
    const judged = judgeHeartbeats(status, api.url);
    const seen = `${evidence}; the service: ${judged.evidence}`;
    if (judged.finding === null) return say.ok(`${listed}, as is to be expected: ${judged.evidence}`, seen);
    return say.found(judged.finding, { listed, key: api.deviceKey, ...judged.values }, seen);
  },
});
