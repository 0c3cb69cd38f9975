import { missingIdentity, takenOver } from './configuration.ts';
import type { DeployedProcess, Entry, Facts, Finding, Plan, Role } from './model.ts';

/** What ours does instead. */
const REPLACED: ReadonlySet<Role> = new Set(['agent', 'monitor', 'pairing']);
/** Where pairing goes while another program keeps its port. */
const OTHER_PORTS = { from: 5080, to: 5099 };

const ROLE_NAMES: Readonly<Record<Role, string>> = {
  agent: 'their tunnel agent',
  monitor: 'their monitor of the tunnel',
  pairing: 'their pairing application',
  more: 'their application, which does more than pairing',
  usb: 'their application for USB',
  sshd: 'the sshd of the paired tunnel',
};

/** What is to be done with what was found. Pure: the same facts give the same plan. */
export function plan(facts: Facts): Plan {
  const { entries, configuration, pairing, ourSshd } = facts;
  const judged = entries.map((entry) => ({ entry, verdict: judge(entry) }));
  const taken = judged.filter(({ verdict }) => verdict.decision === 'stop and disable').map(({ entry }) => entry);
  const keptSshd = entries.some((each) => isActive(each) && each.parts.some(({ role }) => role === 'sshd'));
  const all = keptSshd && taken.length > 0 && ourSshd?.enabled === true ? [...taken, ourSshd] : taken;
  const httpPort = portOfPairing(facts, taken);
  const wanted = takenOver(configuration, httpPort);
  // Where there is no file of ours at all, the service reads the deployed ones by itself.
  const elsewhere = httpPort !== configuration.httpPort && (entries.some(isActive) || facts.processes.length > 0);
  // One that an installer has put there says nothing of a tunnel, and hides what the deployed files say of it.
  const hidden = configuration.text !== null && !configuration.settled && missingIdentity(configuration).length === 0;
  const due = taken.length > 0 || elsewhere || hidden;
  const config = due ? wanted : null;
  const inTheWay = [...agentsInTheWay(facts, entries), ...strangers(facts)];
  const agents = hasAgent(entries.filter(isActive)) || hasAgent(facts.processes.map((each) => ({ parts: [each] })));
  const hasTunnel = configuration.settled ? configuration.hasTunnel : missingIdentity(configuration).length === 0;
  const markPaired = due && !pairing.marked && (pairing.keys !== 'none' || pairing.flag);
  const blocked =
    due || inTheWay.length > 0 ? [...unready(facts), ...noIdentity(facts, agents, hasTunnel), ...inTheWay] : [];
  return {
    findings: [
      ...judged.map(({ entry, verdict }) => ({ what: describe(entry), ...verdict })),
      ...others(facts, httpPort, due),
    ],
    blocked,
    notes: [...facts.notes, ...notes(facts, httpPort, keptSshd)],
    config:
      config === null
        ? null
        : {
            change: 'text',
            path: configuration.path,
            before: configuration.text === null ? null : base64(configuration.text),
            after: base64(config.text),
            mode: 0o600,
          },
    configKeys: config?.keys ?? [],
    httpPort,
    markPaired,
    entries: all,
    expect: { session: hasTunnel, http: true },
  };
}

const hasAgent = (found: readonly Pick<Entry, 'parts'>[]) =>
  found.some(({ parts }) => parts.some(({ role }) => role === 'agent'));

type Verdict = Omit<Finding, 'what'>;

function judge(entry: Entry): Verdict {
  const { parts, others, obstacle } = entry;
  if (!isActive(entry)) return { decision: 'nothing to do', why: 'it is disabled and does not run' };
  const kept = parts.find(({ role }) => !REPLACED.has(role));
  if (kept !== undefined)
    return { decision: 'leave alone', why: `it starts ${ROLE_NAMES[kept.role]} (${kept.program})` };
  if (others.length > 0)
    return { decision: 'leave alone', why: `it starts other things, too: ${others.slice(0, 3).join(', ')}` };
  if (obstacle !== null) return { decision: 'leave alone', why: obstacle };
  return { decision: 'stop and disable', why: 'zeroforce does this from now on' };
}

const isActive = ({ enabled, running }: Pick<Entry, 'enabled' | 'running'>) => enabled || running;

function describe({ name, parts }: Entry): string {
  const roles = [...new Set(parts.map(({ role }) => ROLE_NAMES[role]))];
  return `${name}: ${roles.join(', ')}`;
}

/** Another program keeps the port now, or at the next boot: then ours goes elsewhere, and says so. */
function portOfPairing({ holders, configuration, entries, takenPorts }: Facts, taken: readonly Entry[]): number {
  const { httpPort } = configuration;
  const holder = holders.find(({ port }) => port === httpPort);
  const leaves = holder?.who === 'pairing' && taken.some((entry) => entry.parts.some(({ role }) => role === 'pairing'));
  const later = entries.some(
    (entry) =>
      entry.enabled &&
      !entry.running &&
      !taken.includes(entry) &&
      entry.parts.some(({ role }) => role === 'more' || role === 'pairing'),
  );
  const isFree = holder === undefined || holder.who === 'ours' || leaves;
  if (isFree && !(later && httpPort === 5000 && holder?.who !== 'ours')) return httpPort;
  for (let port = OTHER_PORTS.from; port <= OTHER_PORTS.to; port += 1) {
    if (!takenPorts.has(port) && port !== configuration.tunnelPort) return port;
  }
  return httpPort;
}

/** Why ours could not take the place. */
function unready({ isRoot, init, ours, configuration }: Facts): string[] {
  const sentences: string[] = [];
  if (!isRoot) sentences.push('This user may not change services; run the command as root');
  if (init === null) {
    sentences.push(
      'No init system that is known runs here (systemd, OpenRC, or BusyBox with /etc/init.d), so no service can be exchanged',
    );
  } else if (ours.shadowedBy !== null) {
    sentences.push(
      `A service named zeroforce is there and starts another program (${ours.shadowedBy}); give it another name first`,
    );
  } else if (!ours.installed) {
    sentences.push('The service zeroforce is not installed here; install it first, it need not run');
  }
  if (configuration.faults.length > 0) {
    sentences.push(
      `${configuration.path} is wrong, and ours would not start with it: ${configuration.faults.join(' | ')}`,
    );
  }
  return sentences;
}

function noIdentity({ configuration }: Facts, agents: boolean, hasTunnel: boolean): string[] {
  if (!agents || hasTunnel || configuration.faults.length > 0) return [];
  const missing = missingIdentity(configuration).join(', ');
  const why = configuration.deployedNotices.length === 0 ? '' : ` (${configuration.deployedNotices.join(' | ')})`;
  return [
    `Their tunnel agent holds the tunnel, and its identity cannot be taken over: ${missing} is not in the deployed files${why}. Write it into ${configuration.path} first: tunnel-agent config init`,
  ];
}

/** A tunnel agent that stays would hold the same identity as ours, and each would throw the other out. */
function agentsInTheWay({ processes }: Facts, entries: readonly Entry[]): string[] {
  const kept = entries.filter((entry) => hasAgent([entry]) && judge(entry).decision === 'leave alone');
  const explained = (found: DeployedProcess) =>
    entries.some((entry) =>
      entry.parts.some((part) => part.role === found.role && baseName(part.program) === baseName(found.program)),
    );
  return [
    ...kept.map(
      (entry) =>
        `${describe(entry)}; it cannot be stopped without the rest: ${judge(entry).why}. Take the tunnel agent out of it, then try again`,
    ),
    ...processes
      .filter((each) => each.role === 'agent' && !explained(each))
      .map(
        ({ shown }) =>
          `A tunnel agent runs, and nothing was found that starts it: ${shown}. Find out what does, or end it by hand if it was started by hand`,
      ),
  ];
}

function strangers({ strangersAtProxy }: Facts): string[] {
  return strangersAtProxy.map(
    (shown) =>
      `An unknown program holds a connection to the port of the proxy: ${shown}. It may be another tunnel agent with the same identity; stop it first if it is`,
  );
}

/** What was found and stands in no table of the init system. */
function others({ holders, processes, entries, configuration }: Facts, httpPort: number, due: boolean): Finding[] {
  const explained = (found: DeployedProcess) =>
    entries.some((entry) => entry.parts.some((part) => baseName(part.program) === baseName(found.program)));
  const loose = processes.filter((each) => !explained(each));
  const files = [...new Set([...configuration.deployed.found.values()].map(({ source }) => source))];
  return [
    ...loose.map(
      ({ shown, role }): Finding => ({
        what: `${shown}: ${ROLE_NAMES[role]}`,
        decision: 'leave alone',
        why: 'nothing was found that starts it',
      }),
    ),
    ...holders
      .filter(({ who }) => who === 'unknown')
      .map(
        ({ port, shown }): Finding => ({
          what: `port ${port}: ${shown}`,
          decision: 'leave alone',
          why:
            port === configuration.httpPort && httpPort !== port
              ? `it is unknown; pairing takes port ${httpPort} instead`
              : 'it is unknown',
        }),
      ),
    ...files.map((what): Finding => {
      if (configuration.settled)
        return { what, decision: 'nothing to do', why: `${configuration.path} has its own settings` };
      if (due) return { what, decision: 'take over', why: `into ${configuration.path}; the original stays as it is` };
      return { what, decision: 'nothing to do', why: 'zeroforce reads it by itself' };
    }),
  ];
}

function notes(
  { configuration, pairing, entries, holders, init }: Facts,
  httpPort: number,
  keptSshd: boolean,
): string[] {
  const said: string[] = configuration.deployedNotices.map((each) => each);
  if (httpPort !== configuration.httpPort) {
    const keeps = holders.find(({ port }) => port === configuration.httpPort)?.shown ?? 'a program that is left alone';
    said.push(
      `Port ${configuration.httpPort} belongs to ${keeps}. Pairing is on port ${httpPort} instead, and is announced there by mDNS (http=${httpPort}); a client that knows port 5000 only goes on talking to that program`,
    );
  }
  if (entries.some((each) => isActive(each) && each.parts.some(({ role }) => role === 'more'))) {
    said.push(
      'The application that is left alone still has pairing of its own, by its own rules: it opens at each of its starts until it sees the flag of a tunnel',
    );
  }
  if (keptSshd)
    said.push(
      'The sshd of the paired tunnel goes on as it is, so that no tunnel is cut; zeroforce-sshd is not needed beside it',
    );
  if (pairing.keyCount > 1) {
    said.push(
      `${pairing.keysFile} holds ${pairing.keyCount} keys. They stay now; the next pairing replaces them all by one`,
    );
  }
  if (init === 'systemd' && !pairing.keysFile.startsWith('/root/.ssh/')) {
    const folder = pairing.keysFile.slice(0, pairing.keysFile.lastIndexOf('/'));
    said.push(
      `The sandbox of zeroforce.service lets it write to /root/.ssh alone. So that pairing can replace the key in ${pairing.keysFile}, add BindPaths=-${folder} below [Service] with: systemctl edit zeroforce`,
    );
  }
  if (pairing.keys === 'unreadable') said.push(`${pairing.keysFile} cannot be read; the device counts as paired`);
  return said;
}

const baseName = (path: string) => path.slice(path.lastIndexOf('/') + 1);
const base64 = (text: string) => Buffer.from(text, 'utf8').toString('base64');
