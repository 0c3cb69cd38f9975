import { defineCheck } from '../check.ts';
import { stepOf } from '../probes/session.ts';
import { speaksTls } from '../probes/tcp.ts';
import { handshakeFault } from '../proxy/handshake-fault.ts';
import { peerWords } from '../proxy/peer.ts';
import { UNTRIED } from '../proxy/untried.ts';

const TLS_GREETING_MS = 2_000;

export const proxyHandshake = defineCheck({
  id: 'proxy.handshake',
  title: 'the proxy takes this device',
  dependsOn: ['proxy.tls'],
  explainedBy: ['api.device', 'api.authorized', 'identity.duplicate'],
  network: true,
  findings: {
    refused: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.handshake-refused`.',
      meaning: '{peer} refuses this device: {said}',
      remedy:
        'Compare MEETING_DEVICE_KEY and the token with those at the proxy, where the device must be authorised, too: tunnel-agent config show',
    },
    paused: {
      status: 'fail',
      symptom: 'The device went offline, and does not come back.',
      meaning: 'The operator has paused this device: {said}',
      remedy: 'Ask the operator to resume it; at our gateway: tunnel-gateway resume {device}',
    },
    tokenRotated: {
      status: 'fail',
      symptom: 'The device went offline, and does not come back; the log says `operator.token-rotated`.',
      meaning: 'The token of this device was exchanged at {peer}: {said}',
      remedy:
        'Set the new one, in the file of MEETING_TOKEN_FILE or ZEROFORCE_SSH_TOKEN_FILE; then restart the service',
    },
    closed: {
      status: 'fail',
      symptom:
        'The connection to the proxy stands, the handshake is sent, and the connection is closed without an answer.',
      meaning:
        '{peer} closed without a word when this device had said who it is: to the proxy its key or token is unknown, or it is not authorised for the tunnel',
      remedy:
        'Compare MEETING_DEVICE_KEY and the token with those at the proxy; then ask its operator what its log says for device key {device} at this time, and whether tunnels are authorised for it',
    },
    silent: {
      status: 'fail',
      symptom: 'The device stays at `connecting`; the log says `proxy.handshake-silent` or `ssh.silent`.',
      meaning: '{peer} accepts the connection and does not answer: {said}',
      remedy:
        'Check that {portSetting} is the port for devices, and the token: after wrong ones some answer late; then the operator has to look at the {kind}',
    },
    tlsRequired: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.tls-required`.',
      meaning: '{peer} speaks TLS on this port, and TLS is off on this device',
      remedy: 'Set MEETING_PROXY_TLS=1, or MEETING_PROXY_PORT to the plain port of the proxy',
    },
    webServer: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.not-protocol`.',
      meaning: 'A web server answers at {peer}, and not the {kind}',
      remedy: 'Set {portSetting} to the port for devices: 9001 for the most part, not that of the API or of a page',
    },
    sshServer: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.not-protocol`.',
      meaning: 'An SSH server answers at {peer}, and not the Meeting proxy',
      remedy: 'Set MEETING_PROXY_PORT to the port for devices; where it is an SSH gateway, set ZEROFORCE_TRANSPORT=ssh',
    },
    notProtocol: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.not-protocol` or `ssh.not-ssh`.',
      meaning: 'Something else than the {kind} answers at {peer}: {said}',
      remedy: 'Check {hostSetting} and {portSetting}',
    },
    tokenRefused: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `ssh.auth-refused`.',
      meaning: '{peer} does not accept the token of this device: it is wrong or revoked, or the device is paused',
      remedy:
        'Set the token that the gateway has for this device: ZEROFORCE_SSH_TOKEN_FILE; a new one, at our gateway: tunnel-gateway token rotate KEY',
    },
    hostKeyChanged: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `ssh.host-key-changed`.',
      meaning: '{peer} shows another host key than the one that is trusted: {said}',
      remedy:
        'Ask the operator which key the gateway has. Only where it was changed on purpose, set ZEROFORCE_SSH_HOST_KEY, or remove {file}',
    },
    hostKeyUnreadable: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `ssh.host-key-unreadable`.',
      meaning: 'It is not known which host key to trust: {said}',
      remedy: 'Restore {file}; or remove it, where the key of the next connection may be trusted as the first was',
    },
    forwardRefused: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `ssh.forward-refused`.',
      meaning: 'The gateway takes this device and refuses to listen for it: {said}',
      remedy: 'Compare ZEROFORCE_SSH_FORWARDS, in its order, with the services of this device at the gateway',
    },
    pairingForwarded: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `ssh.pairing-forwarded`.',
      meaning: 'The tunnel would lead to the pairing routes: {said}',
      remedy: 'Remove that port from ZEROFORCE_SSH_FORWARDS',
    },
    noCommon: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `ssh.no-common`.',
      meaning: '{peer} and the ssh of this device have no algorithm in common: {said}',
      remedy: 'Update the older of the two: ssh -V',
    },
    other: {
      status: 'unknown',
      symptom: 'The device does not come online, for a reason that the diagnosis has no name for.',
      meaning: 'The attempt ended with: {said}',
      remedy: 'Read the log of the service, and try with all that is said: LOG_LEVEL=trace tunnel-agent run',
    },
    untried: UNTRIED,
  },
  async run(facts, say) {
    const { tunnel } = facts.tools;
    if (tunnel === null) return say.skip('no tunnel is configured');
    const words = peerWords(tunnel);
    const step = await stepOf('handshake', facts);
    if (step.kind === 'passed') return say.ok(`${words.peer} takes this device`, step.evidence);
    if (step.kind === 'untried') return say.found('untried', { why: step.why, need: step.need }, step.evidence);

    const { meeting, stateDir } = facts.config;
    const device = meeting?.deviceKey ?? 'KEY';
    const file = `the ssh-host-key file in ${stateDir}`;
    const { name, said } = handshakeFault(step.code, step.sentence);
    const values = { ...words, device, file, said };
    // A server of TLS says nothing to who does not greet it so, and closes.
    const plain = name === 'closed' && !tunnel.peer.tls;
    if (plain && (await speaksTls(words.host, words.port, TLS_GREETING_MS, facts.clock))) {
      return say.found('tlsRequired', values, `${step.evidence}\na TLS greeting was answered there`);
    }
    return say.found(name, values, step.evidence);
  },
});
