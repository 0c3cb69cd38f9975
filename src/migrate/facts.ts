import { endianness } from 'node:os';
import { join, resolve } from 'node:path';
import { DEPLOYED_FILES, readDeployed } from '../config/deployed.ts';
import { ConfigError, faultLine } from '../config/faults.ts';
import { type Layer, readNamed } from '../config/layers.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import type { OptionKey } from '../config/options.ts';
import { combine } from '../config/resolve.ts';
import { linkTarget } from '../support/readable.ts';
import { type RunningProgram, runningPrograms, socketHoldersAmong } from '../support/running-programs.ts';
import { connectedSockets, listeningSockets } from '../support/socket-table.ts';
import { cleanText } from '../support/text.ts';
import { askStatus, judgeAt } from './application.ts';
import { exists, readText } from './machine.ts';
import type {
  Configuration,
  DeployedProcess,
  Entry,
  Facts,
  Holder,
  InitSystem,
  OurService,
  PairingFacts,
} from './model.ts';
import { ourService, ourSshd } from './ours.ts';
import { baseName, flagFolderOf, isOurs, partOfWords, programOfWords, readSshdConfig } from './recognise.ts';
import { scriptEntries } from './scripts.ts';
import { systemdEntries } from './systemd.ts';
import { tableEntries } from './tables.ts';

/** What this room does not know by itself. */
export interface Tools {
  /** The first valid key of an authorized_keys file. @throws where nobody can tell */
  installedKey(path: string): Promise<{ fingerprint: string } | null>;
  /** Whether our marker "ever paired" is there. @throws where nobody can tell */
  isMarked(stateDir: string): Promise<boolean>;
  /** Writes it. */
  markPaired(stateDir: string): Promise<void>;
  /** The status of our service. @throws where it does not answer */
  status(runDir: string): Promise<OurStatus>;
}

/** What of the status of our service matters here. */
export interface OurStatus {
  readonly pid: number;
  readonly http: { readonly port: number } | null;
  readonly tunnel: {
    readonly state: string;
    readonly inStateMs: number;
    readonly lastFailure: { readonly sentence: string } | null;
  } | null;
  readonly faults: readonly { readonly code: string; readonly sentence: string }[];
}

/** Ports that the deployed software has had: pairing, USB. */
const DEPLOYED_PORTS = [5000, 6000];
/** Settings that the deployed monitor and application read from their environment, by the names that we have, too. */
const ENVIRONMENT_NAMES: ReadonlyMap<string, OptionKey> = new Map([
  ['ZEROFORCE_TUNNEL_PORT', 'tunnel.port'],
  ['ZEROFORCE_PAIRING_TIMEOUT', 'pairing.timeoutSeconds'],
]);
const SSHD_CONFIG = '/opt/beamer/beamer-ssh-tunnel';
const SSHD_NAMES: ReadonlyMap<string, OptionKey> = new Map([
  ['Port', 'tunnel.port'],
  ['AuthorizedKeysFile', 'pairing.authorizedKeysFile'],
]);

/** What starts services on this machine. */
export function initSystem(): InitSystem | null {
  if (exists('/run/systemd/system')) return 'systemd'; // sd_booted(3)
  if (exists('/run/openrc/softlevel')) return 'openrc';
  const first = runningPrograms().find(({ pid }) => pid === 1);
  return exists('/etc/init.d') && /^(?:init|busybox|linuxrc)$/.test(first?.name ?? '') ? 'scripts' : null;
}

/** Looks at everything that the plan depends on; changes nothing. */
export async function gatherFacts(configFile: string, tools: Tools): Promise<Facts> {
  const init = initSystem();
  const all = runningPrograms().filter(({ state }) => state !== 'Z');
  const sockets = await socketsOf(all);
  const known = await deployedProcesses(all, sockets);
  const notes: string[] = [];
  const entries = markRunning(await entriesOf(init), known, notes);
  const configuration = await readConfiguration(configFile, known);
  const loaded = await loadConfig({ env: {}, configFile }).catch(() => null);
  const { proxyPort, tunnelPort } = portsOf(loaded, configuration.deployed);
  const ports = new Set([...DEPLOYED_PORTS, configuration.httpPort, tunnelPort]);
  return {
    isRoot: process.geteuid?.() === 0,
    init,
    entries,
    processes: known,
    holders: sockets.listening.filter(({ port }) => ports.has(port)).map((each) => holderOf(each, known)),
    takenPorts: new Set(sockets.listening.map(({ port }) => port)),
    strangersAtProxy: sockets.connected
      .filter(({ remotePort, owner }) => remotePort === proxyPort && isStranger(owner, known))
      .map(({ owner }) => show(owner)),
    ours: await runningOrNot(await ourService(init), loaded, tools),
    ourSshd: await ourSshd(init),
    configuration: { ...configuration, tunnelPort },
    pairing: await readPairing(loaded, configuration, tools),
    notes,
  };
}

/** Who answers runs, whatever the init system knows of it. */
async function runningOrNot(ours: OurService, loaded: LoadedConfig | null, tools: Tools): Promise<OurService> {
  const status = await tools.status(loaded?.config.runDir ?? '/run/zeroforce').catch(() => null);
  return { ...ours, running: ours.running || status !== null };
}

async function entriesOf(init: InitSystem | null): Promise<Entry[]> {
  if (init === null) return [];
  const units = init === 'systemd' ? await systemdEntries() : [];
  return [...units, ...scriptEntries(init), ...tableEntries()].filter(({ name, parts }) => !isOurEntry(name, parts));
}

/** Our own sshd serves the same configuration, and install.sh, which the boot calls, names it. */
function isOurEntry(name: string, parts: Entry['parts']): boolean {
  return (
    /(?:^|\/)(?:[SK]\d\d)?zeroforce(?:-sshd|-recover)?(?:\.service)?$/.test(name) &&
    parts.every(({ role }) => role === 'sshd')
  );
}

/** Whether the programs of an entry run; and monitors whose flag is not ours, which somebody else reads. */
function markRunning(entries: readonly Entry[], known: readonly DeployedProcess[], notes: string[]): Entry[] {
  return entries.map((entry) => {
    const runs = entry.parts.some((part) =>
      known.some((process) => process.role === part.role && baseName(process.program) === baseName(part.program)),
    );
    const elsewhere = entry.parts
      .filter(({ role }) => role === 'monitor')
      .map(({ program }) => flagFolderOf(readText(program) ?? ''))
      .find((folder) => folder !== null && folder.replace(/^\/var\/run\//, '/run/') !== '/run/zeroforce');
    if (elsewhere === undefined || elsewhere === null) return { ...entry, running: entry.running || runs };
    notes.push(`${entry.name} keeps its flag in ${elsewhere}, where ours is not looked for; it is left alone`);
    return { ...entry, running: entry.running || runs, others: [...entry.others, `a flag in ${elsewhere}`] };
  });
}

interface Sockets {
  readonly listening: { readonly port: number; readonly owner: RunningProgram | null }[];
  readonly connected: { readonly remotePort: number; readonly owner: RunningProgram }[];
}

async function socketsOf(all: readonly RunningProgram[]): Promise<Sockets> {
  const tables = ['tcp', 'tcp6'].map((name) => readText(`/proc/net/${name}`) ?? '');
  const listening = tables.flatMap((table) => listeningSockets(table, endianness() === 'LE'));
  const connected = tables.flatMap(connectedSockets);
  const holders = await socketHoldersAmong(new Set([...listening, ...connected].map(({ inode }) => inode)), all);
  const seen = new Set<number>();
  return {
    listening: listening
      .filter(({ port }) => !seen.has(port) && seen.add(port))
      .map(({ port, inode }) => ({ port, owner: holders.get(inode)?.[0] ?? null })),
    connected: connected.flatMap(({ remotePort, inode }) =>
      (holders.get(inode) ?? []).map((owner) => ({ remotePort, owner })),
    ),
  };
}

/** The programs of the deployed software that run: by their names, and the pairing application by its port and source. */
async function deployedProcesses(all: readonly RunningProgram[], { listening }: Sockets): Promise<DeployedProcess[]> {
  const found: DeployedProcess[] = [];
  for (const program of all) {
    const part = partOfWords(program.words);
    if (part !== null) found.push({ ...part, ...identityOf(program) });
  }
  for (const { port, owner } of listening) {
    if (owner === null || isOurs(owner.words) || found.some(({ pid }) => pid === owner.pid)) continue;
    const app = programOfWords(owner.words);
    if (!DEPLOYED_PORTS.includes(port) || app === null || !app.endsWith('.py')) continue;
    const path = resolve(linkTarget(`/proc/${owner.pid}/cwd`) ?? '/', app);
    const ports = listening
      .filter((each) => each.owner?.words.join(' ') === owner.words.join(' '))
      .map((each) => each.port);
    const exportedDevices = (await askStatus(port, '/api/exported-devices'))?.status ?? null;
    const judged = judgeAt(path, { exportedDevices, ports });
    const role = judged?.role ?? (exportedDevices === 200 ? 'more' : null);
    if (role !== null) found.push({ role, program: path, ...identityOf(owner) });
  }
  return found;
}

function identityOf(program: RunningProgram): Pick<DeployedProcess, 'pid' | 'startTicks' | 'shown'> {
  return { pid: program.pid, startTicks: program.startTicks, shown: show(program) };
}

/** Program and script alone: arguments of others may hold a password. */
function show({ pid, name, words }: RunningProgram): string {
  const script = programOfWords(words);
  const shown = script === null || script === words[0] ? name : `${name} ${script}`;
  return `${cleanText(shown, 120)} (process ${pid})`;
}

function holderOf({ port, owner }: Sockets['listening'][number], known: readonly DeployedProcess[]): Holder {
  if (owner === null) return { port, shown: 'a program that cannot be seen', who: 'unknown' };
  const role = known.find(({ pid }) => pid === owner.pid)?.role;
  return { port, shown: show(owner), who: role ?? (isOurs(owner.words) ? 'ours' : 'unknown') };
}

function isStranger(owner: RunningProgram, known: readonly DeployedProcess[]): boolean {
  return !isOurs(owner.words) && !known.some(({ pid }) => pid === owner.pid);
}

/** Our configuration as it is, and what the deployed software says. */
async function readConfiguration(path: string, known: readonly DeployedProcess[]): Promise<Configuration> {
  const deployed = await readDeployed(DEPLOYED_FILES);
  const layers = [...environmentLayers(known), ...sshdLayers(), ...deployed.layers];
  const text = readText(path);
  const base = {
    path,
    text,
    deployed: combine(layers),
    deployedNotices: deployed.notices.map(({ sentence }) => sentence),
  };
  if (!exists(path)) {
    const none = { content: {}, faults: [], settled: false, hasTunnel: false };
    return { ...base, ...none, httpPort: 5000, tunnelPort: 8007 };
  }
  try {
    const { config } = await loadConfig({ env: {}, configFile: path, mustExist: true, strict: true });
    const hasTunnel = config.meeting !== null || config.ssh !== null;
    const settled = hasTunnel || config.transport !== 'meeting';
    const content = JSON.parse((text ?? '').replace(/^\ufeff/, '')) as Record<string, unknown>;
    return {
      ...base,
      content,
      faults: [],
      settled,
      hasTunnel,
      httpPort: config.http.port,
      tunnelPort: config.tunnel.port,
    };
  } catch (error) {
    const faults = error instanceof ConfigError ? error.faults.map(faultLine) : [String(error)];
    return { ...base, content: {}, faults, settled: true, hasTunnel: false, httpPort: 5000, tunnelPort: 8007 };
  }
}

function environmentLayers(known: readonly DeployedProcess[]): Layer[] {
  return known
    .filter(({ role }) => role === 'monitor' || role === 'pairing')
    .map(({ pid, shown }) => {
      const variables = (readText(`/proc/${pid}/environ`) ?? '')
        .split('\0')
        .map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)] as const);
      return sound(
        readNamed(ENVIRONMENT_NAMES, Object.fromEntries(variables), 'deployed', `the environment of ${shown}`),
      );
    });
}

function sshdLayers(): Layer[] {
  const text = readText(SSHD_CONFIG);
  if (text === null) return [];
  const { port, keysFile } = readSshdConfig(text);
  const values = {
    ...(port === null ? {} : { Port: port }),
    ...(keysFile === null ? {} : { AuthorizedKeysFile: keysFile }),
  };
  return [sound(readNamed(SSHD_NAMES, values, 'deployed', SSHD_CONFIG))];
}

const sound = (layer: Layer): Layer => ({ ...layer, faults: [], refused: new Set() });

function portsOf(loaded: LoadedConfig | null, deployed: Layer): { proxyPort: number; tunnelPort: number } {
  const proxyPort =
    loaded?.config.meeting?.proxy.port ?? Number(deployed.found.get('meeting.proxy.port')?.value ?? 9001);
  const own = loaded?.origin === 'file' ? loaded.config.tunnel.port : null;
  return { proxyPort, tunnelPort: own ?? Number(deployed.found.get('tunnel.port')?.value ?? 8007) };
}

async function readPairing(
  loaded: LoadedConfig | null,
  { deployed, settled }: Configuration,
  tools: Tools,
): Promise<PairingFacts> {
  const own = loaded?.config.pairing.authorizedKeysFile ?? '/root/.ssh/authorized_keys';
  const keysFile = settled ? own : String(deployed.found.get('pairing.authorizedKeysFile')?.value ?? own);
  const runDir = loaded?.config.runDir ?? '/run/zeroforce';
  const key = await tools.installedKey(keysFile).catch(() => 'unreadable' as const);
  const lines = (readText(keysFile) ?? '').split('\n').filter((line) => /^\s*[^#\s]/.test(line));
  return {
    keysFile,
    keys: key === 'unreadable' ? key : key === null ? 'none' : 'key',
    fingerprint: key === 'unreadable' ? null : (key?.fingerprint ?? null),
    keyCount: lines.length,
    flag: exists(join(runDir, 'tunnel_active')),
    marked: await tools.isMarked(loaded?.config.stateDir ?? '/var/lib/zeroforce').catch(() => false),
  };
}
