import { meaningOf, speaksOfDevice, whatOf } from '../api/answer.ts';
import { defineCheck } from '../check.ts';
import { apiServed, deviceAnswer } from '../probes/meeting-api.ts';

const TUNNEL = 'The tunnel may work all the same.';

export const apiReachable = defineCheck({
  id: 'api.reachable',
  title: 'the Meeting API answers',
  dependsOn: ['config.identity'],
  // The API and the proxy are one machine as a rule: what keeps the device from its name or its address is told once.
  explainedBy: ['clock.sane', 'dns.proxy', 'proxy.connect'],
  network: true,
  findings: {
    dns: {
      status: 'fail',
      symptom: `The device sends no heartbeats; the server lists it as disconnected. ${TUNNEL}`,
      meaning: 'The name of the Meeting API cannot be looked up: {what}',
      remedy:
        'Compare MEETING_API_URL with the address of the server, then check DNS: nslookup {host}; cat /etc/resolv.conf',
    },
    refused: {
      status: 'fail',
      symptom: `The device sends no heartbeats; the server lists it as disconnected. ${TUNNEL}`,
      meaning: 'Nothing listens at the address of the Meeting API: {what}',
      remedy:
        'Compare the port in MEETING_API_URL with that of the server, and check that the server runs: curl -v {page}',
    },
    noWay: {
      status: 'fail',
      symptom: `The device sends no heartbeats; the server lists it as disconnected. ${TUNNEL}`,
      meaning: 'There is no way to the Meeting API: {what}',
      remedy: 'Check the default route and the firewall of the site: ip route; curl -v {page}',
    },
    closed: {
      status: 'fail',
      symptom: `The device sends no heartbeats; the server lists it as disconnected. ${TUNNEL}`,
      meaning: 'The Meeting API closes the connection without an answer: {what}',
      remedy: 'Check that MEETING_API_URL names the port of the API, then read the log of the server: curl -v {page}',
    },
    slow: {
      status: 'fail',
      symptom: 'Heartbeats fail now and then, or always; the server lists the device as disconnected.',
      meaning: 'The Meeting API is too slow, or silent: {what}',
      remedy: 'See where the time goes, then look at the server or at the way to it: curl -v --max-time 30 {page}',
    },
    certificate: {
      status: 'fail',
      symptom: 'The device sends no heartbeats; its log names a certificate.',
      meaning: 'The Meeting API cannot be trusted: {what}',
      remedy: 'Check MEETING_API_CA, the name in MEETING_API_URL and the clock (date); the certificate: curl -v {page}',
    },
    notTls: {
      status: 'fail',
      symptom: 'The device sends no heartbeats; its log says that TLS was not answered.',
      meaning: 'The Meeting API speaks plain HTTP on this port, and https is set: {what}',
      remedy: 'Set MEETING_API_URL to the TLS port of the server, or to http:// where it has none',
    },
    needsTls: {
      status: 'fail',
      symptom: 'The device sends no heartbeats; its log says that the server speaks TLS.',
      meaning: 'The Meeting API speaks TLS on this port, and http is set: {what}',
      remedy: 'Set MEETING_API_URL to https:// with the same host and port',
    },
    redirect: {
      status: 'fail',
      symptom: 'The device sends no heartbeats, although a browser opens the address.',
      meaning: 'The Meeting API points elsewhere, and the token must not follow: {what}',
      remedy:
        'Set MEETING_API_URL to where it points, if that is the Meeting server (https instead of http, as a rule)',
    },
    error: {
      status: 'fail',
      symptom: 'The device sends no heartbeats; its log names a status of 500 or above.',
      meaning: 'The Meeting server, or what stands before it, fails: {what}',
      remedy:
        'Ask the operator of the server to read its log; here nothing is to be done. To see the answer: curl -v {page}',
    },
    notApi: {
      status: 'fail',
      symptom: 'The device sends no heartbeats, although the server answers.',
      meaning: 'What answers is not the Meeting API: {what}',
      remedy:
        'Set MEETING_API_URL to the base address of the API, without the page of the server or a portal of the site: curl -v {page}',
    },
    wrongPath: {
      status: 'fail',
      symptom: 'The device sends no heartbeats; its log says that the server does not know the device.',
      meaning: 'The server has no Meeting API below {url}: every path there is unknown to it',
      remedy: 'Correct the path in MEETING_API_URL: the base address is what stands before /api/devices',
    },
    unclear: {
      status: 'unknown',
      symptom: 'The device sends no heartbeats.',
      meaning: 'Whether the Meeting API answers could not be found out: {what}',
      remedy: 'Try it by hand: curl -v {page}',
    },
  },
  async run(facts, say) {
    const asked = await facts.get(deviceAnswer);
    const { api } = facts.tools;
    if (asked === null || api === null) return say.skip('no Meeting API is configured (MEETING_API_URL)');
    const { failure, evidence } = asked;
    if (failure === null) return say.ok(`${api.url} answers`, evidence);
    const { host } = new URL(api.url);
    const page = `${api.url.replace(/\/api$/, '')}/api`; // deployed files have it with and without
    const values = { what: whatOf(failure.message), url: api.url, page, host: host.replace(/:\d+$/, '') };
    const meaning = meaningOf(failure);
    if (meaning?.check === 'api.reachable') return say.found(meaning.finding, values, evidence);
    if (meaning?.finding === 'notProvisioned' && !speaksOfDevice(failure) && (await facts.get(apiServed)) === false) {
      return say.found('wrongPath', values, `${evidence}; GET …/api/ssh-hostkey → 404`);
    }
    if (meaning !== null) return say.ok(`${api.url} answers`, evidence);
    return say.found('unclear', values, evidence);
  },
});
