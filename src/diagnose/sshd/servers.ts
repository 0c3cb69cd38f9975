import type { Config } from '../../config/types.ts';
import { reaches } from '../../support/socket-table.ts';
import type { DiagnoseOptions } from '../facts.ts';
import type { Listener, RunningProgram } from '../probes/sockets.ts';
import type { SshdCommand } from './command-line.ts';

/**
 * `sshd`: the one that a technician reaches through the reverse tunnel. `paired`: the one of the paired tunnel, with a
 * configuration of its own, that a client in the home network reaches.
 */
export type Role = 'sshd' | 'paired';

/** Of the dedicated sshd: on a Beamer, and elsewhere. */
export const DEDICATED_CONFIGS = ['/opt/beamer/beamer-ssh-tunnel', '/etc/zeroforce/sshd_config'] as const;
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

/** Programs that are SSH servers. */
export const SSH_SERVERS: ReadonlySet<string> = new Set(['sshd', 'dropbear']);
/** Programs that listen for others. */
const SUPER_SERVERS = new Set(['systemd', 'init', 'inetd', 'xinetd', 'tcpsvd']);

/** What is known of this machine, to find its SSH servers in. */
export interface View {
  readonly config: Pick<Config, 'services' | 'ssh' | 'transport' | 'tunnel'>;
  readonly options: Pick<DiagnoseOptions, 'sshPort' | 'sshdConfig'>;
  readonly sockets: readonly Listener[];
  readonly daemons: readonly Daemon[];
  /** The IPv4 addresses of this machine in its networks. */
  readonly ownAddresses: readonly string[];
  /** The one of `DEDICATED_CONFIGS` that this machine has, or would have. */
  readonly dedicatedConfig: string;
}

/** The server that a technician reaches. Pure. */
export function maintenanceServer(view: View): SshServer {
  const { config, options, sockets, daemons } = view;
  const target = maintenanceTarget(view);
  const paired = config.tunnel.port;
  const isDedicated = ({ command, listeners: own }: Daemon) =>
    target.port !== paired &&
    (DEDICATED_CONFIGS.some((path) => path === command.configFile) ||
      (own.length > 0 && own.every(({ port }) => port === paired)));
  const others = daemons.filter((each) => !isDedicated(each));
  const daemon = choose(others, target.port, options.sshdConfig) ?? anyOf(others);
  const configFile = options.sshdConfig ?? daemon?.command.configFile ?? SYSTEM_CONFIG;
  const servesPaired = target.port === paired || (daemon?.listeners.some(({ port }) => port === paired) ?? false);
  const sources = config.transport === 'meeting' ? [TUNNEL_SOURCE, LOOPBACK] : [LOOPBACK, TUNNEL_SOURCE];
  return describe('sshd', { target, daemon, configFile, servesPaired, sources }, sockets);
}

/** The server of the paired tunnel. Pure. */
export function pairedServer(view: View): SshServer {
  const { config, sockets, daemons, ownAddresses, dedicatedConfig } = view;
  const { port } = config.tunnel;
  const { servesPaired, daemon: maintenance } = maintenanceServer(view);
  const others = daemons.filter(({ program }) => servesPaired || program.pid !== maintenance?.program.pid);
  const daemon = choose(others, port, dedicatedConfig);
  const host = pairedHost(
    sockets.filter((each) => each.port === port),
    ownAddresses,
  );
  const target = { host, port, setting: 'tunnel.port', given: false };
  const sources = [ownAddresses[0] ?? LOOPBACK];
  return describe(
    'paired',
    { target, daemon, configFile: pairedConfig(daemon, dedicatedConfig), servesPaired, sources },
    sockets,
  );
}

/** Where the words of the process are cut, the name of the file may be lost: it is the one that ships then. */
function pairedConfig(daemon: Daemon | null, dedicated: string): string {
  return daemon?.command.configFile ?? (daemon?.command.isWhole === true ? SYSTEM_CONFIG : dedicated);
}

/** Where a client of the home network comes in: any address will do that is not this machine's alone. */
function pairedHost(onPort: readonly Listener[], own: readonly string[]): string {
  const reached = own.find((address) => onPort.some((each) => reaches(each, address, each.port) !== false));
  if (reached !== undefined) return reached;
  const other = onPort.find(({ address }) => !/^(?:127\.|::1$|::ffff:127\.)/.test(address))?.address;
  if (other !== undefined) return other === '::' ? '::1' : other;
  return own[0] ?? LOOPBACK;
}

/** The one at this port, else the one with this configuration. */
function choose(found: readonly Daemon[], port: number, config: string | null): Daemon | null {
  return (
    found.find(({ listeners: own }) => own.some((each) => each.port === port)) ??
    found.find(({ command }) => config !== null && command.configFile === config) ??
    null
  );
}

function anyOf(found: readonly Daemon[]): Daemon | null {
  return found.find(({ program }) => program.name === 'sshd') ?? found[0] ?? null;
}

function describe(
  role: Role,
  known: Pick<SshServer, 'target' | 'daemon' | 'configFile' | 'servesPaired' | 'sources'>,
  all: readonly Listener[],
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
function maintenanceTarget({ options, config }: View): SshServer['target'] {
  const at = (port: number, setting: string, given = false) => ({ host: LOOPBACK, port, setting, given });
  if (options.sshPort !== null) return at(options.sshPort, '--ssh-port', true);
  const forward = config.transport === 'ssh' ? config.ssh?.forwards.ssh : undefined;
  if (forward !== undefined) return at(forward, 'ssh.forwards.ssh');
  const service = config.services.ssh;
  return service === undefined ? at(22, 'the default') : at(service, 'services.ssh');
}
