import { hostAndPort } from '../../support/text.ts';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { contact } from '../probes/contact.ts';
import { session } from '../probes/session.ts';
import { target } from '../probes/target.ts';
import { sharedKeys } from '../proxy/host-keys.ts';
import { understand, wordsFor } from '../sshd/greeting.ts';

const CONTACT_MS = 3_000;
/** Per connection, in whole seconds, and for all. */
const KEYSCAN_SECONDS = 2;
const KEYSCAN_MS = 2_500;

export const publicPort = defineCheck({
  id: 'public.port',
  title: "the operator's address leads to this device",
  dependsOn: ['proxy.session'],
  explainedBy: ['tunnel.target'],
  network: true,
  findings: {
    refused: {
      status: 'fail',
      symptom: '`ssh` to the public port says `Connection refused`.',
      meaning:
        'Nothing listens at {address}, though the device is online: the port was never opened, or its time is over',
      remedy:
        'Ask for the port again (request-tunnel-port at the API, the page of the operator), and use the number it says',
    },
    closed: {
      status: 'fail',
      symptom:
        '`kex_exchange_identification: read: Connection reset by peer` at the public port, though the device is online.',
      meaning:
        '{address} accepts connections and ends them without a word, and sshd of this device answers: behind that port no live device is connected',
      remedy: 'Ask for a new port; when it happens again, the operator has to look which session that port belongs to',
    },
    silent: {
      status: 'fail',
      symptom: '`ssh` to the public port hangs.',
      meaning:
        '{address} accepts connections and says nothing, and sshd of this device answers: that port leads to nobody',
      remedy: 'Ask for a new port; when it happens again, the operator has to look which session that port belongs to',
    },
    otherDevice: {
      status: 'fail',
      symptom: '`ssh` to the public port warns that the host key has changed, or refuses a password that is right.',
      meaning: 'Another device answers at {address}: {why}',
      remedy: 'Ask for the port of this device again; old numbers are given to other devices',
    },
    notSsh: {
      status: 'unknown',
      symptom: 'The address of the operator is the one of another service of the device.',
      meaning: 'No SSH server answers at {address}, but {service}: nothing can be compared',
      remedy: 'Give the address for SSH: tunnel-agent diagnose --public-port HOST:PORT',
    },
    notReached: {
      status: 'unknown',
      symptom: 'The operator may reach the device, and the device does not reach the address of the operator.',
      meaning: '{address} cannot be reached from here ({how}), which says nothing about the operator',
      remedy: 'Try it from where the operator is: ssh -v -p {port} {host}',
    },
  },
  async run(facts, say) {
    const { publicAddress } = facts.options;
    if (publicAddress === null) return say.skip('no --public-port was given');
    if ((await facts.get(session)).kind !== 'held') return say.skip('the service holds no session');
    const { host, port } = publicAddress;
    const { clock, signal } = facts;
    const [local, far] = await Promise.all([
      facts.get(target),
      contact({ host, port, from: null, timeoutMs: CONTACT_MS, clock, signal }).then(understand),
    ]);
    const address = hostAndPort(host, port);
    const own = local.greeting === null ? 'not tried' : wordsFor(local.greeting);
    const evidence = `${address}: ${wordsFor(far)}\n127.0.0.1:${local.port ?? '-'}: ${own}`;
    switch (far.kind) {
      case 'refused':
      case 'closed':
      case 'silent':
        return say.found(far.kind, { address }, evidence);
      case 'failed':
        return say.found('notReached', { address, host, port, how: far.code }, evidence);
      case 'no-answer':
        return say.found('notReached', { address, host, port, how: 'no answer' }, evidence);
      case 'other':
        return say.found('notSsh', { address, service: far.service }, evidence);
      case 'full':
      case 'punished':
        return say.ok(`sshd answers, and lets nobody in for now: ${far.said}`, evidence);
      case 'ssh':
        break;
    }
    if (local.greeting?.kind === 'ssh' && local.greeting.banner !== far.banner) {
      const why = `it says ${far.banner}, and this one ${local.greeting.banner}`;
      return say.found('otherDevice', { address, why }, evidence);
    }
    const [here, there] = await Promise.all([keysAt('127.0.0.1', local.port ?? 22, facts), keysAt(host, port, facts)]);
    const shared = here === null || there === null ? null : sharedKeys(here, there);
    if (shared === null) return say.ok('the same greeting; the host keys could not be compared', evidence);
    if (shared.length === 0) return say.found('otherDevice', { address, why: 'its host keys are others' }, evidence);
    return say.ok('it leads here: greeting and host key are the same', `${evidence}\nhost key: ${shared.join(', ')}`);
  },
});

/** What ssh-keyscan prints; null where it prints nothing. */
async function keysAt(host: string, port: number, facts: Facts): Promise<string | null> {
  const end = await facts.run('ssh-keyscan', ['-T', String(KEYSCAN_SECONDS), '-p', String(port), host], KEYSCAN_MS);
  return end.kind === 'ended' && end.stdout.trim() !== '' ? end.stdout : null;
}
