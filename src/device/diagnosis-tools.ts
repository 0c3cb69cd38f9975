import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, type Fault, faultLine } from '../config/faults.ts';
import { CONFIG_FILE, type LoadedConfig, type LoadOptions, loadConfig } from '../config/load.ts';
import { identityOf, isIdentityFault } from '../config/resolve.ts';
import type { Config } from '../config/types.ts';
import type { Settings } from '../diagnose/facts.ts';
import { cannotRead } from '../diagnose/probes/access.ts';
import type { OpenStreamOptions, ServiceStatus, StreamResult, Tools, TunnelTool } from '../diagnose/tools.ts';
import { browse } from '../discovery/browse.ts';
import { BufferPool } from '../link/buffer-pool.ts';
import { MeetingCalls } from '../meeting/calls.ts';
import { MeetingApi } from '../meeting/request.ts';
import { masked } from '../meeting/words.ts';
import { parseNetstat } from '../monitor/netstat.ts';
import { runNetstat } from '../monitor/run-netstat.ts';
import { KeyFile } from '../pairing/key-file.ts';
import { abortScope } from '../support/abort-scope.ts';
import type { Clock } from '../support/clock.ts';
import { Failure, systemCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { LocalForward } from '../tunnel/local-forward.ts';
import { createTransport, sshHostKeyFile, TUNNEL_SOURCE } from './parts.ts';

// What the diagnosis tries things with: the parts of the service itself, with the configuration of the service.

const NETSTAT_TIMEOUT_MS = 3_000;
/** The service gives a call 10 s; whoever waits for a diagnosis has no patience for that. */
const API_TIMEOUT_MS = 4_000;
/**
 * For the connection of a dial with its TLS, and again for the answer to its handshake, which our gateway delays by up to
 * 4 s after wrong tokens. The service may wait longer.
 */
const DIAL_STEP_MS = 4_300;

interface Base {
  clock: Clock;
  log: Log;
}

/** @param service how to get the status of the running service */
export function createTools(
  config: Config,
  { service, clock, log }: Base & { service: (signal: AbortSignal) => Promise<ServiceStatus> },
): Tools {
  const { monitor, pairing } = config;
  const keyFile = new KeyFile({ path: pairing.authorizedKeysFile, log });
  return {
    service,
    tunnel: tunnelTool(config, { clock, log }),
    api: apiTool(config, clock),
    connections: async (signal) => {
      const options = { command: monitor.netstat, timeoutMs: NETSTAT_TIMEOUT_MS, clock, signal };
      return parseNetstat(await runNetstat(options));
    },
    pairedKey: () => keyFile.current(),
    browse: (timeoutMs, signal) => browse({ timeoutMs, clock, signal, log }),
    openStream: (port, options) => openStream(config, port, options, clock),
  };
}

function tunnelTool(config: Config, { clock, log }: Base): TunnelTool | null {
  const pairingPorts = () => [config.http.port];
  const limited = { ...config, handshakeTimeoutMs: Math.min(config.handshakeTimeoutMs, DIAL_STEP_MS) };
  const transportIn = (folder: string, stateDir = config.stateDir) =>
    createTransport({ ...limited, stateDir }, () => limited, {
      sshFolder: join(folder, 'ssh'),
      pairingPorts,
      clock,
      log,
    });
  const known = transportIn(tmpdir()); // only to be asked who it is
  if (known === null) return null;
  return {
    transport: known.name,
    peer: known.peer,
    async dial(signal) {
      // Not the folders of the service: its ssh would be ended, and a key trusted here be written for it.
      const folder = await mkdtemp(join(tmpdir(), 'zeroforce-diagnose-'));
      const stateDir = (await takeHostKey(config, folder)) ? folder : config.stateDir;
      const transport = transportIn(folder, stateDir) ?? known;
      const { scope, release } = abortScope(signal);
      let up: Awaited<ReturnType<TunnelTool['dial']>> | null = null;
      try {
        const events = {
          up: (session: Awaited<ReturnType<TunnelTool['dial']>>) => {
            up = { protocol: session.protocol, peerDeviceKey: session.peerDeviceKey };
            scope.abort(new Error('the session was only tried'));
          },
          note: () => undefined,
          served: () => undefined,
        };
        const { failure } = await transport.connect(events, scope.signal);
        if (up === null) throw failure ?? new Failure('session.closed', 'the session was ended before it stood');
        return up;
      } catch (error) {
        if (up !== null) return up;
        throw withoutSecret(error, transport.secret);
      } finally {
        release();
        await transport.close();
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}

/**
 * Copies the host key that the service trusts, where it has stored one.
 * @returns false where there is one that cannot be read: the dial is to meet it in its place, as the service does
 */
async function takeHostKey({ ssh, stateDir }: Config, folder: string): Promise<boolean> {
  if (ssh === null) return true;
  try {
    await copyFile(sshHostKeyFile(ssh, stateDir), sshHostKeyFile(ssh, folder));
    return true;
  } catch (error) {
    return systemCode(error) === 'ENOENT';
  }
}

/** A peer's words may repeat our token. */
function withoutSecret(error: unknown, secret: string): unknown {
  if (!(error instanceof Failure) || secret === '' || !error.message.includes(secret)) return error;
  return new Failure(error.code, error.message.replaceAll(secret, '[secret]'));
}

function apiTool({ meetingApi }: Config, clock: Clock): Tools['api'] {
  if (meetingApi === null) return null;
  const { url, deviceKey, token, ca } = meetingApi;
  const api = new MeetingApi({ url, token: token.reveal(), ca, deadlineMs: API_TIMEOUT_MS, clock });
  const calls = new MeetingCalls(api, deviceKey);
  return {
    url,
    deviceKey,
    async device(signal) {
      const { authorized, services } = await calls.device(signal);
      if (services === null) return { authorized, services };
      // A service may have any name, the token too.
      const shown = Object.entries(services).map(([name, enabled]) => [masked(name, token.reveal()), enabled] as const);
      return { authorized, services: Object.fromEntries(shown) };
    },
    availability: (signal) => calls.availability(signal),
    isServed: async (signal) => (await api.call({ method: 'GET', path: '/api/ssh-hostkey' }, signal)).status !== 404,
  };
}

/** One stream, as the other end of the tunnel would open it; through an SSH gateway it comes from the ssh of this machine. */
async function openStream(
  { services, ssh }: Config,
  port: number,
  { greeting, timeoutMs, signal }: OpenStreamOptions,
  clock: Clock,
): Promise<StreamResult> {
  const forward = new LocalForward({
    services: ssh?.forwards ?? services,
    sourceAddress: ssh === null ? TUNNEL_SOURCE : '127.0.0.1',
    pool: new BufferPool(),
    clock,
  });
  try {
    return await new Promise<StreamResult>((resolve) => {
      let opened = false;
      const end = forward.open(port, {
        opened: () => {
          opened = true;
          end.write(Buffer.from(greeting), () => undefined);
        },
        failed: (reason, sentence) => settle({ kind: 'failed', reason, sentence }),
        data: ({ bytes }) => settle({ kind: 'answered', firstBytes: Buffer.from(bytes) }),
        ended: () => settle({ kind: 'closed', reset: false }),
        closed: (error) => settle({ kind: 'closed', reset: error !== null }),
      });
      const silent = () => {
        const sentence = `127.0.0.1:${port} did not accept the connection within ${timeoutMs / 1000} s`;
        settle(opened ? { kind: 'silent' } : { kind: 'failed', reason: 'timeout', sentence });
      };
      const cancel = clock.after(timeoutMs, silent);
      signal.addEventListener('abort', silent);
      const settle = (result: StreamResult) => {
        cancel();
        signal.removeEventListener('abort', silent);
        end.destroy();
        resolve(result);
      };
    });
  } finally {
    await forward.stop(0);
  }
}

/** The configuration as a service would find it now, and all that is wrong with it. Never rejects for a broken one. */
export async function readSettings(source: LoadOptions): Promise<Settings> {
  let all: readonly Fault[] = [];
  const strict = await loadConfig({ ...source, strict: true }).catch((error: unknown) => {
    if (!(error instanceof ConfigError)) throw error;
    all = error.faults;
    return null;
  });
  const loaded = strict ?? (await loadConfig(source).catch(() => null)) ?? (await defaults());
  const { config, settings, notices, origin } = loaded;
  const identity = {
    ...identityOf(settings, config.transport),
    faults: all.filter(isIdentityFault).map(faultLine),
  };
  const faults = all.filter((fault) => !isIdentityFault(fault)).map(faultLine);
  const file = source.configFile ?? CONFIG_FILE;
  return { config, faults, identity, notices, file, origin, isReadable: !(await cannotRead(file)) };
}

/** Never there. */
const NO_FILE = '/proc/self/none';

/** What a device has that nobody has configured, for the checks that need little of it. */
function defaults(): Promise<LoadedConfig> {
  return loadConfig({ env: {}, configFile: NO_FILE, deployedFiles: { meeting: [], deviceInfo: NO_FILE } });
}

/** How a device is called in a report. */
export function nameOf({ meeting, meetingApi }: Config): string {
  return (meeting ?? meetingApi)?.deviceKey ?? hostname();
}
