import { join } from 'node:path';
import type { Config, SshConfig } from '../config/types.ts';
import { Advertiser } from '../discovery/advertise.ts';
import { readModel } from '../discovery/model.ts';
import { MeetingClient } from '../meeting/client.ts';
import { ActivityMonitor } from '../monitor/activity-monitor.ts';
import { StatusPage } from '../page/page.ts';
import { isTrustedOrigin, ownAddresses } from '../pairing/origin.ts';
import type { Clock } from '../support/clock.ts';
import { HttpListener, type HttpListenerOptions } from '../support/http-listener.ts';
import type { Log } from '../support/log.ts';
import { TunnelAgent } from '../tunnel/agent.ts';
import { meetingTransport } from '../tunnel/meeting-transport.ts';
import { sshTransport } from '../tunnel/ssh-transport.ts';
import type { Transport } from '../tunnel/transport.ts';
import type { DeviceStatus } from './status.ts';

// The parts of the service as they are configured. Those of pairing are in pairing-parts.ts.

/** Streams are dialled from here, so that sshd and our own routes can tell what came through the tunnel (wire 1.6). */
export const TUNNEL_SOURCE = '127.0.0.77';

interface Base {
  clock: Clock;
  log: Log;
}

/** Also run alone, by `tunnel-agent monitor`, whether the service would run one or not. */
export function createMonitor(
  { monitor, tunnel, runDir }: Config,
  parts: Base & { onObservation?: () => void },
): ActivityMonitor {
  return new ActivityMonitor({
    tunnelPort: tunnel.port,
    countEnd: monitor.count,
    confirmMs: monitor.confirmMs,
    intervalMs: monitor.intervalMs,
    runDir,
    netstatCommand: monitor.netstat,
    ...parts,
  });
}

export function createHttp({ http }: Config, parts: Base & Pick<HttpListenerOptions, 'handler'>): HttpListener {
  return new HttpListener({ ...http, ...parts });
}

/** The page shows the status, to browsers that opened it by an address or a name of this device. */
export function createPage(
  config: () => Config,
  { status, ...parts }: Base & { status: () => Promise<DeviceStatus> },
): StatusPage {
  return new StatusPage({
    status: async () => {
      const { meeting, meetingApi, mdns } = config();
      const deviceKey = (meeting ?? meetingApi)?.deviceKey ?? null;
      const model = readModel(mdns.model);
      return { ...(await status()), deviceKey, model: model === 'unknown' ? null : model };
    },
    isOwnHost: (host) => isTrustedOrigin(`http://${host}`, [...ownAddresses(), ...config().pairing.allowedHosts]),
    tunnelSource: TUNNEL_SOURCE,
    ...parts,
  });
}

/** Announces the port that HTTP has at that time, unless only this machine can reach it. */
export function createAdvertiser(
  { mdns, tunnel }: Config,
  { httpAddress, ...parts }: Base & { httpAddress: () => DeviceStatus['http'] },
): Advertiser | null {
  if (!mdns.enabled) return null;
  const httpPort = () => {
    const address = httpAddress();
    return address === null || isLoopback(address.host) ? null : address.port;
  };
  return new Advertiser({ tunnelPort: tunnel.port, httpPort, model: readModel(mdns.model), ...parts });
}

const isLoopback = (host: string) => host === '::1' || host.startsWith('127.');

/** Null where no tunnel is configured. Allow-list, reconnect rules and deadlines are taken from `live` at every attempt. */
export function createTunnel(
  config: Config,
  live: () => Config,
  parts: Base & { pairingPorts: () => number[] },
): TunnelAgent | null {
  const { clock, log } = parts;
  const transport = createTransport(config, live, { ...parts, sshFolder: join(config.runDir, 'ssh') });
  if (transport === null) return null;
  return new TunnelAgent({
    transport,
    get reconnect() {
      return live().reconnect;
    },
    random: Math.random,
    clock,
    log,
  });
}

/** @param parts `sshFolder` belongs to this transport alone: an ssh that was left running with it is ended */
export function createTransport(
  config: Config,
  live: () => Config,
  parts: Base & { pairingPorts: () => number[]; sshFolder: string },
): Transport | null {
  return createMeetingTransport(config, live, parts.clock) ?? createSshTransport(config, live, parts);
}

function createMeetingTransport({ meeting }: Config, live: () => Config, clock: Clock): Transport | null {
  if (meeting === null) return null;
  const { host, port, tls, ca, pin } = meeting.proxy;
  return meetingTransport({
    proxy: { host, port, tls: tls ? { ...(ca !== null && { ca }), ...(pin !== null && { pin }) } : null },
    identity: { deviceKey: meeting.deviceKey, token: meeting.token.reveal() },
    get services() {
      return live().services;
    },
    tunnelSource: TUNNEL_SOURCE,
    get handshakeTimeoutMs() {
      return live().handshakeTimeoutMs;
    },
    clock,
  });
}

function createSshTransport(
  { ssh, stateDir }: Config,
  live: () => Config,
  { pairingPorts, sshFolder, clock, log }: Base & { pairingPorts: () => number[]; sshFolder: string },
): Transport | null {
  if (ssh === null) return null;
  const { host, port, token, hostKey, forwards, program } = ssh;
  const knownHostsFile = sshHostKeyFile(ssh, stateDir);
  return sshTransport({
    program,
    gateway: { host, port },
    token: token.reveal(),
    hostKeys: hostKey === null ? { kind: 'first-use', knownHostsFile } : { kind: 'pinned', key: hostKey },
    forwards,
    folder: sshFolder,
    get connectTimeoutMs() {
      return live().handshakeTimeoutMs;
    },
    pairingPorts,
    clock,
    log,
  });
}

/** Where the host key of the first session is kept. One file a gateway: another one has another key. */
export function sshHostKeyFile({ host, port }: SshConfig, stateDir: string): string {
  return join(stateDir, `ssh-host-key-${host.toLowerCase()}-${port}`);
}

/** Null without an address of the API, or without an identity. */
export function createMeeting({ meetingApi, meeting, pairing }: Config, parts: Base): MeetingClient | null {
  if (meetingApi === null) return null;
  const { token, maintenanceKeysFiles: files, ...settings } = meetingApi;
  return new MeetingClient({
    ...settings,
    token: token.reveal(),
    proxy: meeting?.proxy ?? null,
    maintenance: files.length === 0 ? null : { files, pairingFile: pairing.authorizedKeysFile },
    random: Math.random,
    ...parts,
  });
}
