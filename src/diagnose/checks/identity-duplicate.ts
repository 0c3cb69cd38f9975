import { defineCheck } from '../check.ts';
import { NOT_ASKED } from '../findings.ts';
import { service } from '../probes/service.ts';
import { isContested } from '../proxy/service-tunnel.ts';

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
    return say.found(
      'duplicate',
      {
        kind: ssh ? 'SSH gateway' : 'Meeting proxy',
        settings: ssh ? 'ZEROFORCE_SSH_TOKEN or ZEROFORCE_SSH_TOKEN_FILE' : 'MEETING_DEVICE_KEY and MEETING_TOKEN',
      },
      `${counted}; ${Math.round((last?.agoMs ?? 0) / 1000)} s ago: ${last?.sentence}`,
    );
  },
});
