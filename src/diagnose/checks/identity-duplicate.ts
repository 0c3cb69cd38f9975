import { defineCheck } from '../check.ts';
import { NOT_ASKED } from '../findings.ts';
import { service } from '../probes/service.ts';
import { describeProgram } from '../probes/socket-holders.ts';
import { programs } from '../probes/sockets.ts';
import { isAgent, isContested } from '../proxy/service-tunnel.ts';

export const identityDuplicate = defineCheck({
  id: 'identity.duplicate',
  title: 'no other device uses this identity',
  dependsOn: ['service.running'],
  findings: {
    duplicate: {
      status: 'fail',
      symptom:
        'The device is online for a moment and offline again, all the time; who connects to it sometimes gets another one.',
      meaning: 'Another device uses the same identity: the {kind} takes the session of this one away again and again',
      remedy:
        'Give each device its own: {settings}; a card that was copied has the identity of the first one. On this device: tunnel-agent config show',
    },
    twin: {
      status: 'fail',
      symptom:
        'The device is online for a moment and offline again, all the time, since another agent was installed on it.',
      meaning: 'Another agent on this device uses the same identity, and takes the session away: {program}',
      remedy: 'End that program and keep it from starting again; or give it an identity of its own: {settings}',
    },
    notAsked: NOT_ASKED,
  },
  async run(facts, say) {
    const { status, failure } = await facts.get(service);
    if (failure !== null) return say.found('notAsked', { why: failure.message });
    const { tunnel } = status;
    if (tunnel === null) return say.skip('the service keeps no tunnel');
    const { lastFailure: last, sessions } = tunnel;
    const counted = `the service: ${sessions} sessions since its start`;
    if (!isContested(tunnel)) return say.ok('no session was taken away by another device', counted);
    const ssh = tunnel.transport === 'ssh';
    const kind = ssh ? 'SSH gateway' : 'Meeting proxy';
    const settings = ssh ? 'ZEROFORCE_SSH_TOKEN or ZEROFORCE_SSH_TOKEN_FILE' : 'MEETING_DEVICE_KEY and MEETING_TOKEN';
    const evidence = `${counted}; ${Math.round((last?.agoMs ?? 0) / 1000)} s ago: ${last?.sentence}`;
    const twin = (await facts.get(programs)).find(({ pid, words }) => pid !== status.pid && isAgent(words));
    if (twin === undefined) return say.found('duplicate', { kind, settings }, evidence);
    const program = describeProgram(twin);
    return say.found('twin', { program, settings }, evidence);
  },
});
