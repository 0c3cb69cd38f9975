import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Facts, Probe } from '../facts.ts';
import { reaches } from '../socket-table.ts';
import { parseSshdCommand, type SshdCommand } from '../sshd/command-line.ts';
import { type Greeting, understand } from '../sshd/greeting.ts';
import { contact } from './contact.ts';
import { type Listener, type Listeners, listeners, programs, type RunningProgram } from './sockets.ts';

/**
 * `sshd`: the one that a technician reaches through the reverse tunnel. `paired`: the one of the paired tunnel, with a
 * configuration of its own, that a client in the home network reaches.
 */
export type Role = 'sshd' | 'paired';

/** A probe for each role. */
export function perRole<T>(look: (facts: Facts, role: Role) => Promise<T>): (role: Role) => Probe<T> {
  const probes: Record<Role, Probe<T>> = {
    sshd: (facts) => look(facts, 'sshd'),
    paired: (facts) => look(facts, 'paired'),
  };
  return (role) => probes[role];
}

/** The dedicated sshd of the image. */
const DEDICATED_CONFIG = '/opt/beamer/beamer-ssh-tunnel';
const SYSTEM_CONFIG = '/etc/ssh/sshd_config';
/** As the tunnel's own streams, and as ssh of the ssh transport. */
const TUNNEL_SOURCE = '127.0.0.77';
const LOOPBACK = '127.0.0.1';

/** What runs and listens, as an SSH server or in its place. */
export interface SshServer {
  readonly role: Role;
  /** Where its clients come in. `setting` names what says so; `given` that a person has said it for this run. */
  readonly target: { readonly host: string; readonly port: number; readonly setting: string; readonly given: boolean };
  /** Addresses that clients come from: the one that matters first. */
  readonly sources: readonly string[];
  /**
   * `openssh`, `dropbear`; `activated`: systemd or inetd listens and starts it for a connection; `foreign`: something
   * else listens, or nobody may know who; `absent`: nothing.
   */
  readonly kind: 'openssh' | 'dropbear' | 'activated' | 'foreign' | 'absent';
  /** The sshd or dropbear that waits for connections. */
  readonly daemon: Daemon | null;
  /** Where a connection to the target ends: there may be several, and null stands for what nobody can tell. */
  readonly atTarget: readonly Listener[];
  /** Whatever listens on the port, also where no client comes. */
  readonly onPort: readonly Listener[];
  /** Where it is to be tried: the target; another place where the target belongs to somebody else, which is the tunnel's fault. */
  readonly lookAt: { readonly host: string; readonly port: number };
  readonly configFile: string;
  /** The paired tunnel ends at this one, too. */
  readonly servesPaired: boolean;
}

export interface Daemon {
  readonly program: RunningProgram;
  readonly command: SshdCommand;
  /** Empty where this user may not know. */
  readonly listeners: readonly Listener[];
}

/** How the init systems call them. */
export const SERVICE_NAMES: Readonly<Record<Role, readonly string[]>> = {
  sshd: ['ssh', 'sshd', 'dropbear'],
  paired: [],
};

const SSH_SERVERS = new Set(['sshd', 'dropbear']);
/** Programs that listen for others. */
const SUPER_SERVERS = new Set(['systemd', 'init', 'inetd', 'xinetd', 'tcpsvd']);

/** Every OpenSSH and dropbear that waits for connections in this network. */
const daemons: Probe<Daemon[]> = async (facts) => {
  const { all, ownersKnown } = await facts.get(listeners);
  const running = await facts.get(programs);
  return running
    .filter(({ name, state }) => SSH_SERVERS.has(name) && state !== 'Z')
    .map((program) => ({
      program,
      command: parseSshdCommand(program.words),
      listeners: all.filter(({ owners }) => owners.some(({ pid }) => pid === program.pid)),
    }))
    .filter(({ command, listeners: own }) => (ownersKnown ? own.length > 0 : command.isListener));
};

/** Which of them serves whom. */
const byRole: Record<Role, Probe<SshServer>> = {
  sshd: async (facts) => {
    const target = maintenanceTarget(facts);
    const found = await facts.get(daemons);
    const paired = pairedPort(facts);
    const isDedicated = ({ command, listeners: own }: Daemon) =>
      target.port !== paired &&
      (command.configFile === DEDICATED_CONFIG || (own.length > 0 && own.every(({ port }) => port === paired)));
    const daemon = choose(
      found.filter((each) => !isDedicated(each)),
      target.port,
      facts.options.sshdConfig ?? null,
    );
    const configFile = facts.options.sshdConfig ?? daemon?.command.configFile ?? SYSTEM_CONFIG;
    const servesPaired = target.port === paired || (daemon?.listeners.some(({ port }) => port === paired) ?? false);
    const sources = facts.config.transport === 'meeting' ? [TUNNEL_SOURCE, LOOPBACK] : [LOOPBACK, TUNNEL_SOURCE];
    return describe('sshd', { target, daemon, configFile, servesPaired, sources }, await facts.get(listeners));
  },
  paired: async (facts) => {
    const port = pairedPort(facts);
    const maintenance = await facts.get(byRole.sshd);
    const found = (await facts.get(daemons)).filter(
      ({ program }) => maintenance.servesPaired || program.pid !== maintenance.daemon?.program.pid,
    );
    const daemon = choose(found, port, DEDICATED_CONFIG, true);
    const configFile = daemon?.command.configFile ?? (daemon === null ? DEDICATED_CONFIG : SYSTEM_CONFIG);
    const { servesPaired } = maintenance;
    const all = await facts.get(listeners);
    const own = ownAddresses();
    const host = pairedHost(
      all.all.filter((each) => each.port === port),
      own,
    );
    const target = { host, port, setting: 'tunnel.port', given: false };
    const sources = [own[0] ?? LOOPBACK];
    return describe('paired', { target, daemon, configFile, servesPaired, sources }, all);
  },
};

/** Where a client of the home network comes in: any address will do that is not this machine's alone. */
function pairedHost(onPort: readonly Listener[], own: readonly string[]): string {
  const reached = own.find((address) => onPort.some((each) => reaches(each, address, each.port) !== false));
  if (reached !== undefined) return reached;
  const other = onPort.find(({ address }) => !/^(?:127\.|::1$|::ffff:127\.)/.test(address))?.address;
  if (other !== undefined) return other === '::' ? '::1' : other;
  return own[0] ?? LOOPBACK;
}

/** The SSH server of this role. */
export function sshServer(role: Role): Probe<SshServer> {
  return byRole[role];
}

function choose(found: readonly Daemon[], port: number, config: string | null, only = false): Daemon | null {
  return (
    found.find(({ listeners: own }) => own.some((each) => each.port === port)) ??
    found.find(({ command }) => config !== null && command.configFile === config) ??
    (only ? null : (found.find(({ program }) => program.name === 'sshd') ?? found[0])) ??
    null
  );
}

function describe(
  role: Role,
  known: Pick<SshServer, 'target' | 'daemon' | 'configFile' | 'servesPaired' | 'sources'>,
  { all }: Listeners,
): SshServer {
  const { target, daemon } = known;
  const onPort = all.filter(({ port }) => port === target.port);
  const atTarget = onPort.filter((each) => reaches(each, target.host, target.port) !== false);
  const isOwn = ({ owners }: Listener) =>
    owners.length === 0 || owners.some(({ pid }) => pid === daemon?.program.pid || pid === 1);
  // Nothing of it at the target, but somebody else: what the tunnel leads to is wrong, not this server.
  const misled = daemon !== null && !target.given && atTarget.length > 0 && !atTarget.some(isOwn);
  const own = misled ? daemon.listeners.find((each) => reaches(each, LOOPBACK, each.port) === true) : undefined;
  return {
    role,
    ...known,
    kind: kindOf(daemon, onPort),
    onPort,
    atTarget,
    lookAt: { host: target.host, port: own?.port ?? target.port },
  };
}

function kindOf(daemon: Daemon | null, onPort: readonly Listener[]): SshServer['kind'] {
  const held = daemon?.listeners.some(({ inode }) => onPort.some((each) => each.inode === inode)) ?? false;
  const owners = onPort.flatMap((each) => each.owners).filter(({ name }) => !SSH_SERVERS.has(name));
  if (!held && owners.some(({ pid, name }) => pid === 1 || SUPER_SERVERS.has(name))) return 'activated';
  if (daemon !== null) return daemon.program.name === 'sshd' ? 'openssh' : 'dropbear';
  return onPort.length > 0 ? 'foreign' : 'absent';
}

/** The port that the tunnel leads a technician to. */
function maintenanceTarget({ options, config }: Facts): SshServer['target'] {
  const at = (port: number, setting: string, given = false) => ({ host: LOOPBACK, port, setting, given });
  if (options.sshPort !== null) return at(options.sshPort, '--ssh-port', true);
  const forward = config.transport === 'ssh' ? config.ssh?.forwards.ssh : undefined;
  if (forward !== undefined) return at(forward, 'ssh.forwards.ssh');
  const service = config.services.ssh;
  return service === undefined ? at(22, 'the default') : at(service, 'services.ssh');
}

const pairedPort = ({ config }: Facts) => config.tunnel.port;

/** The IPv4 addresses of this machine in its networks. */
function ownAddresses(): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return addresses.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address);
}

/** Why there is nothing to say about this server; null where there is. */
export async function absence(facts: Facts, role: Role): Promise<string | null> {
  if (role === 'sshd') return null;
  const { servesPaired, onPort, target, daemon } = await facts.get(sshServer('paired'));
  if (servesPaired) return `the sshd of the technician serves the paired tunnel, too: see sshd.*`;
  if (onPort.length > 0 || daemon !== null || existsSync(DEDICATED_CONFIG)) return null;
  const paired = await isPaired(facts);
  return paired ? null : `no dedicated sshd: no ${DEDICATED_CONFIG}, and nothing listens on port ${target.port}`;
}

/** A key alone may be anybody's: only where the service has seen its tunnel it is the paired one. */
async function isPaired({ config }: Facts): Promise<boolean> {
  const files = [config.pairing.authorizedKeysFile, join(config.stateDir, 'ever-paired')];
  const found = await Promise.all(
    files.map((file) =>
      stat(file).then(
        ({ size }) => size >= 0,
        () => false,
      ),
    ),
  );
  return found.every(Boolean);
}

/** How it greets clients, by the address that they come from. */
export interface Greetings {
  /** From the address that matters. */
  readonly first: Greeting;
  /** From another one; null where that was not tried. */
  readonly second: Greeting | null;
}

const GREETING_MS = 4_000;

/** Real connections, one after the other: sshd drops some where many come at once (MaxStartups). */
export const greetings = perRole(greet);

async function greet(facts: Facts, role: Role): Promise<Greetings> {
  const { sources, lookAt } = await facts.get(sshServer(role));
  const { clock, signal } = facts;
  const from = async (address: string | null) =>
    understand(await contact({ ...lookAt, from: address, timeoutMs: GREETING_MS, clock, signal }));
  // From elsewhere the system chooses the address.
  const [one = null, other = null] = lookAt.host === LOOPBACK && role === 'sshd' ? sources : [];
  const first = await from(one);
  // What has taken all the time once would take it again, and the check has only so much.
  const tooLong = first.kind === 'silent' || first.kind === 'no-answer';
  return { first, second: other === null || tooLong ? null : await from(other) };
}
