import { hostAndPort } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import { session } from '../probes/session.ts';
import { peerWords } from '../proxy/peer.ts';
import { comesAndGoes, dialsElsewhere } from '../proxy/service-tunnel.ts';
import { UNTRIED } from '../proxy/untried.ts';

export const proxySession = defineCheck({
  id: 'proxy.session',
  title: 'the service holds a session',
  dependsOn: ['service.running', 'proxy.handshake'],
  explainedBy: ['config.valid', 'identity.duplicate'],
  network: true,
  findings: {
    otherDevice: {
      status: 'fail',
      symptom: 'The device is online, and who connects to it gets another one.',
      meaning: '{peer} takes this device for {peerDeviceKey}; its own key is {deviceKey}',
      remedy: 'Compare token and MEETING_DEVICE_KEY with those at the proxy: they belong to two devices',
    },
    noTunnel: {
      status: 'fail',
      symptom: 'The device does not come online; `tunnel-agent status` shows no tunnel.',
      meaning: 'The service keeps no tunnel, though the configuration has one',
      remedy: 'Restart the service, so that it reads the configuration; then: tunnel-agent status',
    },
    otherPeer: {
      status: 'fail',
      symptom: 'The device does not come online, though the diagnosis itself is let in.',
      meaning: 'The service dials {dialled}, the configuration says {peer}',
      remedy: 'Restart the service, so that it reads the configuration; then: tunnel-agent status',
    },
    lost: {
      status: 'fail',
      symptom: 'The device comes online and goes offline all the time.',
      meaning: 'Sessions come about and do not last: {sessions} in {seconds} s, the last ended with: {sentence}',
      remedy:
        'Ask the operator what the log of the {kind} says; two devices with one identity look the same at an old proxy',
    },
    shaky: {
      status: 'warn',
      symptom: 'The device is online, and connections to it break every minute.',
      meaning:
        'The session stands now, but none has lasted: {sessions} in {seconds} s, the last ended with: {sentence}',
      remedy:
        'Ask the operator what the log of the {kind} says; two devices with one identity look the same at an old proxy',
    },
    waiting: {
      status: 'warn',
      symptom: 'The device is offline, though nothing is the matter any more.',
      meaning: 'The way is clear now, and the service has not tried it yet; it met before: {sentence}',
      remedy: 'Wait a minute, or restart the service; then: tunnel-agent status',
    },
    untried: UNTRIED,
  },
  async run(facts, say) {
    const { tunnel: tool } = facts.tools;
    if (tool === null) return say.skip('no tunnel is configured');
    const words = peerWords(tool);
    const state = await facts.get(session);
    const { evidence } = state;
    if (state.kind === 'untried') return say.found('untried', { why: state.why, need: state.need }, evidence);

    const { status } = state;
    const tunnel = status?.tunnel ?? null;
    const known =
      state.kind === 'held' ? state.tunnel.peerDeviceKey : state.kind === 'accepted' ? state.peerDeviceKey : null;
    const deviceKey = facts.config.meeting?.deviceKey ?? null;
    // Some proxies write it in capitals.
    if (known !== null && deviceKey !== null && known.toLowerCase() !== deviceKey.toLowerCase()) {
      return say.found('otherDevice', { ...words, deviceKey, peerDeviceKey: known }, evidence);
    }
    if (status === null) return say.skip('no service runs that could hold one', evidence);
    if (tunnel === null) return say.found('noTunnel', {}, evidence);

    const told = `${evidence}\nthe service: ${inWords(tunnel)}`;
    const last = tunnel.lastFailure;
    const unsteady = {
      ...words,
      sessions: tunnel.sessions,
      seconds: status.uptimeSeconds,
      sentence: last?.sentence ?? '',
    };
    if (comesAndGoes({ tunnel, uptimeSeconds: status.uptimeSeconds })) {
      return say.found(tunnel.state === 'up' ? 'shaky' : 'lost', unsteady, told);
    }
    if (tunnel.state === 'up') return say.ok(`held for ${Math.round(tunnel.inStateMs / 1000)} s`, told);
    if (state.kind === 'accepted' && state.before?.tunnel?.state === 'up') {
      return say.ok('the dial took the place of the session that stood; it comes back by itself', told);
    }
    if (dialsElsewhere(tunnel, tool.peer)) {
      const dialled = hostAndPort(tunnel.proxy.host, tunnel.proxy.port);
      return say.found('otherPeer', { ...words, dialled }, told);
    }
    if (last === null) return say.ok('the service is about to connect', told);
    return say.found('waiting', { sentence: last.sentence }, told);
  },
});

function inWords({
  state,
  inStateMs,
  sessions,
  lastFailure,
}: {
  state: string;
  inStateMs: number;
  sessions: number;
  lastFailure: { code: string; agoMs: number } | null;
}): string {
  const last =
    lastFailure === null ? '' : `, last failure ${lastFailure.code} ${Math.round(lastFailure.agoMs / 1000)} s ago`;
  return `${state} for ${Math.round(inStateMs / 1000)} s, ${sessions} sessions since its start${last}`;
}
