import type { FailureCode } from '../../support/failures.ts';
import { defineCheck } from '../check.ts';
import { stepOf } from '../probes/session.ts';
import { peerWords } from '../proxy/peer.ts';
import { certificateFault } from '../proxy/stages.ts';
import { UNTRIED } from '../proxy/untried.ts';

const SYMPTOM = 'The device does not come online; the log says `proxy.tls-untrusted`.';

export const proxyTls = defineCheck({
  id: 'proxy.tls',
  title: 'the proxy is who it should be',
  dependsOn: ['proxy.connect'],
  explainedBy: ['clock.sane'],
  network: true,
  findings: {
    expired: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The certificate of {peer} has expired, by the clock of this device ({date})',
      remedy: 'Compare the clock: date. Where it is right, the operator has to renew the certificate',
    },
    notYetValid: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The certificate of {peer} is not valid yet: the clock of this device says {date}',
      remedy: 'Set the clock: date; then find out why it was wrong (NTP, battery)',
    },
    wrongName: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The certificate of {peer} was made for another name: {sentence}',
      remedy: 'Set MEETING_PROXY_HOST to a name in the certificate, or have it made for {host}',
    },
    selfSigned: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: '{peer} has a self-signed certificate, and this device knows nothing to trust it by',
      remedy:
        'Where the operator confirms it: name the certificate in MEETING_PROXY_CA, or its key in MEETING_PROXY_PIN',
    },
    unknownCa: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The certificate of {peer} was signed by an authority that this device does not know',
      remedy: 'Name the certificate of the authority in MEETING_PROXY_CA; or update the authorities of the system',
    },
    caFile: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The authorities for the proxy cannot be read: {sentence}',
      remedy:
        'Give MEETING_PROXY_CA a PEM file with the certificate of the authority, readable for the service: ls -l {file}',
    },
    untrusted: {
      status: 'fail',
      symptom: SYMPTOM,
      meaning: 'The certificate of {peer} is not trusted: {sentence}',
      remedy: 'Look at it: openssl s_client -connect {peer} -servername {host}',
    },
    pin: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.tls-pin`.',
      meaning: '{peer} holds another key than the pinned one: {sentence}',
      remedy: 'Ask the operator whether the key was changed; only then set the new one: MEETING_PROXY_PIN',
    },
    notSpoken: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.tls-not-spoken`.',
      meaning: 'This device speaks TLS to {peer}, which does not: it {sentence}',
      remedy:
        'Set MEETING_PROXY_TLS=0 where the operator says that the port is a plain one, or MEETING_PROXY_PORT to its TLS port',
    },
    failed: {
      status: 'fail',
      symptom: 'The device does not come online; the log says `proxy.tls-failed`.',
      meaning: '{peer} and this device find no common way to speak TLS: {sentence}',
      remedy: 'Compare what the proxy offers: openssl s_client -connect {peer} -servername {host}',
    },
    untried: UNTRIED,
  },
  async run(facts, say) {
    const { tunnel } = facts.tools;
    if (tunnel === null) return say.skip('no tunnel is configured');
    if (tunnel.transport === 'ssh') return say.ok('the SSH gateway is known by its host key, without TLS');
    if (!tunnel.peer.tls) return say.ok('TLS is off', 'MEETING_PROXY_TLS=0');
    const words = peerWords(tunnel);
    const step = await stepOf('tls', facts);
    if (step.kind === 'passed') return say.ok(`TLS with ${words.peer} stands, and it is trusted`, step.evidence);
    if (step.kind === 'untried') return say.found('untried', { why: step.why, need: step.need }, step.evidence);

    const date = new Date().toISOString().slice(0, 16).replace('T', ' ');
    // The peer is named by the template already.
    const sentence = step.sentence.replace(`proxy ${words.host}:${words.port} `, '');
    const file = facts.config.meeting?.proxy.ca ?? 'FILE';
    const values = { ...words, sentence, date, file };
    const found = step.code === 'proxy.tls-untrusted' ? (certificateFault(sentence) ?? 'untrusted') : NAMES[step.code];
    return say.found(found ?? 'failed', values, step.evidence);
  },
});

const NAMES: Partial<Record<FailureCode, 'pin' | 'notSpoken' | 'failed'>> = {
  'proxy.tls-pin': 'pin',
  'proxy.tls-not-spoken': 'notSpoken',
};
