import { defineCheck } from '../check.ts';
import type { Facts } from '../facts.ts';
import type { Connection, Fate, PacketName } from '../firewall/connections.ts';
import type { Decision } from '../firewall/model.ts';
import { type Access, networkAccess, streamAccess } from '../firewall/verdicts.ts';
import { nameOf, permit, placeOf, remove, ruleOf } from '../firewall/words.ts';
import { type Firewall, firewall } from '../probes/firewall.ts';
import { homeNetworks, homeUse } from '../probes/home.ts';
import { listeners } from '../probes/sockets.ts';
import { sshServer } from '../probes/sshd.ts';

export const firewallInbound = defineCheck({
  id: 'firewall.inbound',
  title: 'the firewall of this device lets in who must come in',
  findings: {
    tunnel: {
      status: 'fail',
      symptom: 'The tunnel stands and sshd listens, but a connection through it times out, or is refused or reset.',
      meaning: 'The firewall of this device {does} what comes through the tunnel for port {port}, by {place}',
      remedy: 'Let the loopback interface through: {command}; and the same where the rules are kept',
    },
    diverted: {
      status: 'fail',
      symptom: 'A connection through the tunnel ends at another program than sshd, or is refused.',
      meaning:
        'The firewall of this device leads what comes through the tunnel for port {port} to port {other}, by {place}',
      remedy: 'Take the rule away: {command}; and where the rules are kept',
    },
    paired: {
      status: 'fail',
      symptom: 'The device is paired, and the client in the home network cannot build the paired tunnel.',
      meaning: 'The firewall of this device {does} every connection from the home network to port {port}, by {place}',
      remedy: 'Open the port: {command}; and the same where the rules are kept',
    },
    service: {
      status: 'warn',
      symptom: 'SSH works through the tunnel, and another service does not.',
      meaning:
        'The firewall of this device {does} what comes through the tunnel for the service {name}, port {port}, by {place}',
      remedy: 'Let the loopback interface through: {command}; and the same where the rules are kept',
    },
    pairing: {
      status: 'warn',
      symptom: 'The device cannot be paired from the home network.',
      meaning:
        'The device offers to be paired, and its firewall {does} every connection from the home network to port {port}, by {place}',
      remedy:
        'Open the port: {command}; or, where nobody is to pair it, say so: ZEROFORCE_PAIRING_POLICY=locked, ZEROFORCE_MDNS=0',
    },
    unseen: {
      status: 'warn',
      symptom: 'Home Assistant does not find the device by itself; by its address it can be paired.',
      meaning:
        'The firewall of this device {does} the questions of mDNS from the home network (UDP port 5353), by {place}',
      remedy: 'Open the port: {command}; or do not announce the device: ZEROFORCE_MDNS=0',
    },
    doubt: {
      status: 'unknown',
      symptom: 'A connection through the tunnel is sometimes, or for some, not answered.',
      meaning:
        'The firewall of this device may keep out what comes through the tunnel for port {port}: it depends on {place}',
      remedy: 'Look whether that rule applies: nft list ruleset; iptables-save',
    },
    notRead: {
      status: 'unknown',
      symptom: 'Nobody knows whether the firewall of the device keeps somebody out.',
      meaning: 'The rules could not all be read: {why}',
      remedy:
        'Run it as root: sudo tunnel-agent diagnose; where a program is missing: apt-get install nftables iptables',
    },
  },
  async run(facts, say) {
    const { config } = facts;
    const rules = await facts.get(firewall);
    const { ruleset, filter, read, gaps } = rules;
    const server = await facts.get(sshServer('sshd'));
    const [source = '127.0.0.1'] = server.sources;
    const { port } = server.target;

    const stream = streamAccess(source, port, ruleset, filter);
    const told = tell(stream, rules);
    if (stream.kind === 'blocked') return say.found('tunnel', { ...told.values, port }, told.evidence);
    if (stream.kind === 'diverted') {
      const other = stream.fate.kind === 'diverted' ? stream.fate.port : null;
      const arrives = server.daemon?.listeners.some((listener) => listener.port === other) ?? false;
      if (other === null) return say.found('doubt', { ...told.values, port }, told.evidence);
      if (!arrives) {
        return say.found('diverted', { ...told.values, command: told.removal, port, other }, told.evidence);
      }
    }

    const homes = await homeAccess(facts, rules);
    if (homes.paired !== null) {
      const { values, evidence } = tell(homes.paired, rules);
      return say.found('paired', { ...values, port: config.tunnel.port }, evidence);
    }
    if (stream.kind === 'some' || stream.kind === 'unsure') {
      return say.found('doubt', { ...told.values, port }, told.evidence);
    }
    const { all } = await facts.get(listeners);
    const used = Object.entries(services(facts)).filter(([, each]) => all.some((listener) => listener.port === each));
    for (const [name, other] of used) {
      const access = streamAccess(source, other, ruleset, filter);
      if (access.kind !== 'blocked') continue;
      const { values, evidence } = tell(access, rules);
      return say.found('service', { ...values, name, port: other }, evidence);
    }
    if (homes.pairing !== null) {
      const { values, evidence } = tell(homes.pairing, rules);
      return say.found('pairing', { ...values, port: homes.pairing.connection.port }, evidence);
    }
    if (homes.unseen !== null) {
      const { values, evidence } = tell(homes.unseen, rules);
      return say.found('unseen', values, evidence);
    }
    const evidence = read.join('; ');
    if (gaps.length > 0) return say.found('notRead', { why: gaps.join('; ') }, evidence === '' ? null : evidence);
    if (ruleset.length === 0) return say.ok('there are no rules', evidence);
    return say.ok(
      `port ${port} is open to the tunnel${homes.note}`,
      `${evidence}; asked for ${nameOf(stream.connection)}`,
    );
  },
});

/** What the tunnel may lead to. */
function services({ config }: Facts): Readonly<Record<string, number>> {
  return config.transport === 'ssh' ? (config.ssh?.forwards ?? {}) : config.services;
}

/** What keeps whom of the home network out; null each where nobody is, or nobody would come. */
async function homeAccess(facts: Facts, { ruleset, filter }: Firewall) {
  const { tunnel, http, mdns } = facts.config;
  const homes = await facts.get(homeNetworks);
  const closed = (service: Parameters<typeof networkAccess>[1]): Access | null => {
    const all = homes.map((home) => networkAccess(home, service, ruleset, filter));
    return all.every(({ kind }) => kind === 'blocked') ? (all[0] ?? null) : null;
  };
  const toTunnel = closed({ protocol: 'tcp', port: tunnel.port });
  const toPairing = closed({ protocol: 'tcp', port: http.port });
  const { isPaired, isOffered } = await facts.get(homeUse);
  const ports = [toTunnel, toPairing].filter((access) => access !== null).map(({ connection }) => connection.port);
  return {
    paired: isPaired ? toTunnel : null,
    pairing: isOffered && !isPaired ? (toPairing ?? toTunnel) : null,
    unseen: isOffered || (isPaired && mdns.enabled) ? closed('mdns') : null,
    note: ports.length === 0 ? '' : `, and ${ports.join(' and ')} are closed to the home network`,
  };
}

const DOES: Readonly<Record<string, string>> = { drop: 'drops', reject: 'rejects' };

/** What decided, in words; for a fate that is more than to pass. */
function tell({ connection, fate, kind }: Access, { ruleset, read }: Firewall) {
  const decided = decisionOf(fate);
  if (decided === null) return { values: { does: '', place: '', command: '' }, removal: '', evidence: '' };
  const { by, packet } = decided;
  return {
    values: {
      does: DOES[by.verdict.kind] ?? 'keeps out',
      place: ruleOf(by),
      command: permit(by, connection, packet, ruleset),
    },
    removal: remove(by),
    evidence: evidenceOf(connection, decided, kind, read),
  };
}

function decisionOf(fate: Fate): { by: Decision; packet: PacketName } | null {
  if (fate.kind === 'passes') return null;
  if (fate.kind === 'blocked') return fate;
  const by = fate.kind === 'diverted' ? fate.by : fate.doubts[0];
  return by === undefined ? null : { by, packet: 'first packet' };
}

function evidenceOf(
  connection: Connection,
  { by, packet }: { by: Decision; packet: PacketName },
  kind: Access['kind'],
  read: readonly string[],
): string {
  const verb = kind === 'blocked' ? 'meets' : 'may meet';
  const way = by.base === by.chain ? '' : ` (from ${placeOf(by.base)})`;
  return `${nameOf(connection)}: its ${packet} ${verb} ${ruleOf(by)}${way}; read by ${read.join('; ')}`;
}
