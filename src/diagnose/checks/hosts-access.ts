import { cleanText } from '../../support/text.ts';
import { type Access, accessOf } from '../access/evaluate.ts';
import type { AccessRule } from '../access/rules.ts';
import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import { ipv4, ipv4Text, network } from '../firewall/addresses.ts';
import { type HomeNetwork, homeNetworks, homeUse } from '../probes/home.ts';
import { type HostsFiles, hostsFiles, type Wrapping, wordsOf, wrapping } from '../probes/hosts-files.ts';
import { absence, type Role, sshServer } from '../probes/sshd.ts';

const CLOSED_SYMPTOM =
  'The tunnel stands, and an SSH connection through it is reset or closed before sshd greets (kex_exchange_identification).';

export const hostsAccess = defineCheck({
  id: 'hosts.access',
  title: 'hosts.allow and hosts.deny let in who must come in',
  dependsOn: ['sshd.binary'],
  findings: {
    denied: {
      status: 'fail',
      symptom: CLOSED_SYMPTOM,
      meaning: 'sshd refuses what comes through the tunnel, from {source}, because of {file} line {line}: {rule}',
      remedy: 'Put this line first in /etc/hosts.allow: sshd: 127.',
    },
    broken: {
      status: 'fail',
      symptom: CLOSED_SYMPTOM,
      meaning:
        'sshd refuses everybody whom hosts.allow does not name, because line {line} of {file} has no end, or is too long: {rule}',
      remedy: 'End the last line of the file: echo >> {file}; make a line of more than 2046 characters shorter',
    },
    paired: {
      status: 'fail',
      symptom: 'The device is paired, and the client in the home network cannot build the paired tunnel.',
      meaning: 'The dedicated sshd refuses everybody in the home network, because of {file} line {line}: {rule}',
      remedy: 'Put this line first in /etc/hosts.allow: sshd: {home}',
    },
    pairing: {
      status: 'warn',
      symptom: 'The device can be paired, and the paired tunnel is not built.',
      meaning: 'The dedicated sshd would refuse everybody in the home network, because of {file} line {line}: {rule}',
      remedy: 'Put this line first in /etc/hosts.allow: sshd: {home}',
    },
    doubt: {
      status: 'unknown',
      symptom: 'SSH works from some machines and not from others.',
      meaning:
        'Whether sshd lets in {source} depends on {file} line {line}, on what nobody can tell beforehand: {rule}',
      remedy: 'Name addresses instead of names there: 127. for the tunnel',
    },
    notRead: {
      status: 'unknown',
      symptom: 'Nobody knows whether hosts.deny keeps somebody out.',
      meaning: 'It could not be looked at: {why}',
      remedy: 'Run it as root: sudo tunnel-agent diagnose',
    },
  },
  async run(facts, say) {
    const [server, files, wrapped] = await Promise.all([
      facts.get(sshServer('sshd')),
      facts.get(hostsFiles).catch(reason),
      facts.get(wrapping('sshd')).catch(reason),
    ]);
    if ('why' in files) return say.found('notRead', files);
    if ('why' in wrapped) return say.found('notRead', wrapped);
    const looked = `libwrap.so is linked by ${wrapped.programs.at(-1)}`;

    const [source = '127.0.0.1'] = server.sources;
    const access = wrapped.names.length === 0 ? null : visit(files, wrapped, source, '127.0.0.1');
    const told = access?.by == null ? null : tell(access.by, files);
    if (access?.granted === 'no' && told !== null) {
      const evidence = `${told.evidence}; ${looked}`;
      return say.found(told.isBroken ? 'broken' : 'denied', { ...told.values, source }, evidence);
    }
    const home = await fromHome(facts, files);
    if (home !== null) {
      const { isPaired, isOffered } = await facts.get(homeUse);
      const { values, evidence } = tell(home.by, files);
      const named = { ...values, home: home.network };
      if (isPaired) return say.found('paired', named, evidence);
      if (isOffered && access?.granted !== 'maybe') return say.found('pairing', named, evidence);
    }
    if (access?.granted === 'maybe' && told !== null)
      return say.found('doubt', { ...told.values, source }, told.evidence);
    if (access === null)
      return say.ok('sshd does not ask them', `${wrapped.programs.join(', ')}: libwrap.so is not linked`);
    const count = files.allow.rules.length + files.deny.rules.length;
    const decides = told === null ? 'no rule is about sshd' : told.evidence;
    return say.ok(`${source} is let in`, count === 0 ? 'no rules in /etc/hosts.allow and /etc/hosts.deny' : decides);
  },
});

const reason = (error: unknown) => ({ why: error instanceof Error ? error.message : String(error) });

function tell(rule: AccessRule, { deny }: HostsFiles) {
  const text = cleanText(rule.text);
  return {
    values: { file: rule.file, line: rule.line, rule: text },
    evidence: `${rule.file}:${rule.line}: ${text}`,
    isBroken: rule === deny.broken,
  };
}

/** Whether somebody is let in, by whichever name the program is called there. */
function visit(files: HostsFiles, { names }: Wrapping, from: string, to: string): Access {
  const peer = (address: string) => ({ address, name: files.nameOf(address) });
  const all = names.map((daemon) => accessOf(files, { daemon, client: peer(from), server: peer(to), wordsOf }));
  const [first = { granted: 'yes', by: null }] = all;
  const other = all.find(({ granted }) => granted !== first.granted);
  return other === undefined ? first : { granted: 'maybe', by: first.by ?? other.by };
}

/** More neighbours than this are not asked for one by one. */
const LARGEST_NETWORK = 22;

/** The rule that keeps out every machine of every home network; null where one may come in, or nobody would. */
async function fromHome(facts: Facts, files: HostsFiles): Promise<{ by: AccessRule; network: string } | null> {
  const [maintenance, homes] = await Promise.all([facts.get(sshServer('sshd')), facts.get(homeNetworks)]);
  const role: Role = maintenance.servesPaired ? 'sshd' : 'paired';
  if (role === 'paired' && (await absence(facts, 'paired')) !== null) return null;
  const wrapped = await facts.get(wrapping(role)).catch(() => null);
  if (wrapped === null || wrapped.names.length === 0) return null;
  const refused = homes.map((home) => everybodyRefused(files, wrapped, home));
  const [by] = refused;
  const [home] = homes;
  if (by == null || home === undefined || refused.includes(null)) return null;
  const [base] = network(ipv4(home.address) ?? 0n, home.prefix, 32);
  return { by, network: `${ipv4Text(base)}/${home.prefix}` };
}

function everybodyRefused(files: HostsFiles, wrapped: Wrapping, { address, prefix }: HomeNetwork): AccessRule | null {
  const own = ipv4(address) ?? 0n;
  const [from, to] = network(own, Math.max(prefix, LARGEST_NETWORK), 32);
  let by: AccessRule | null = null;
  for (let client = from; client <= to; client += 1n) {
    if (client === own) continue;
    const access = visit(files, wrapped, ipv4Text(client), address);
    if (access.granted !== 'no') return null;
    by ??= access.by;
  }
  return by;
}
