import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Config } from './config/types.ts';
import { type ControlRoutes, ControlServer } from './control/server.ts';
import { Advertiser } from './discovery/advertise.ts';
import { readModel } from './discovery/model.ts';
import { ActivityMonitor } from './monitor/activity-monitor.ts';
import { readFlag } from './monitor/flag-file.ts';
import { FlagWatcher } from './monitor/flag-watcher.ts';
import { EverPaired } from './pairing/ever-paired.ts';
import { createPairingApp, type DeviceInfo } from './pairing/http.ts';
import { KeyFile } from './pairing/key-file.ts';
import { type Observation, Pairing, type PairingStatus } from './pairing/pairing.ts';
import { PinFile } from './pairing/pin-file.ts';
import { PinGuard } from './pairing/pin-guard.ts';
import { type Cancel, type Clock, systemClock } from './support/clock.ts';
import { asFailure, FAILURES, type Failure, type FailureCode } from './support/failures.ts';
import { HttpListener } from './support/http-listener.ts';
import { Lifecycle, type StopReport } from './support/lifecycle.ts';
import { isListening } from './support/listening-ports.ts';
import type { Log } from './support/log.ts';
import { prepareRunDir } from './support/run-dir.ts';
import { TunnelAgent, type TunnelStatus } from './tunnel/agent.ts';

/** Streams are dialled from here, so that sshd and our own routes can tell what came through the tunnel (wire 1.6). */
const TUNNEL_SOURCE = '127.0.0.77';
/** Every part stops in milliseconds; one that does not is passed over and reported. */
const STOP_EACH_MS = 3_000;
/** How often the control socket is looked after; as often as the monitor polls. */
const HEAL_MS = 5_000;
/** A poll may wait for one that hangs and then hang itself, 3 s each; doubled, because a Pi is slow. */
const POLL_ALLOWANCE_MS = 12_000;
/** Where the notes put pairing, and where clients look that know nothing of mDNS. */
const WELL_KNOWN_HTTP_PORT = 5000;
/** Exists on devices set up for development; reported, it opens nothing. */
const DEVMODE_FILE = '/boot/devmode';

interface Notice {
  code: FailureCode;
  sentence: string;
}

export interface DeviceOptions {
  config: Config;
  /** What the configuration has to say, for the status. */
  notices?: readonly Notice[];
  version: string;
  log: Log;
  clock?: Clock;
}

/** What `tunnel-agent status --json` prints. Without secrets. */
export interface DeviceStatus {
  version: string;
  pid: number;
  hostname: string;
  uptimeSeconds: number;
  pairing: PairingStatus;
  /** null with an outside monitor. */
  monitor: {
    kind: 'active' | 'none' | 'fault' | 'starting';
    connections: number;
    sinceConnectedSeconds: number;
  } | null;
  http: { host: string; port: number } | null;
  /** null where the device does not announce itself. */
  mdns: {
    name: string;
    renamed: boolean;
    interfaces: { name: string; addresses: string[]; state: 'claiming' | 'announced' | 'failed' }[];
    /** The code of what stands in `faults`, too. */
    failure: FailureCode | null;
  } | null;
  /** null where the service runs pairing alone. */
  tunnel: TunnelStatus | null;
  /** What does not work now and is tried again; the tunnel's own failures stand in `tunnel`. */
  faults: { code: string; sentence: string; remedy: string }[];
  /** What is to be known and is no fault: that the last good configuration runs, for example. */
  notices: { code: string; sentence: string; remedy: string }[];
}

/**
 * The device service: monitor → flag → pairing → HTTP, and beside it the tunnel. Its parts do not know each other;
 * who hears of what is all here.
 */
export class Device {
  readonly #config: Config;
  readonly #notices: readonly Notice[];
  readonly #version: string;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  readonly #lifecycle = new Lifecycle();
  #controlFailure: Failure | null = null;
  #cancelHeal: Cancel = () => undefined;
  #healing: Promise<void> = Promise.resolve();
  #stopping = false;

  readonly #control: ControlServer;
  readonly #monitor: ActivityMonitor | null;
  readonly #watcher: FlagWatcher;
  readonly #pairing: Pairing;
  readonly #http: HttpListener;
  readonly #tunnel: TunnelAgent | null;
  readonly #advertiser: Advertiser | null;

  constructor({ config, notices = [], version, log, clock = systemClock }: DeviceOptions) {
    const { runDir, stateDir, pairing, monitor } = config;
    this.#config = config;
    this.#notices = notices;
    this.#version = version;
    this.#log = log;
    this.#clock = clock;
    this.#startedAtMs = clock.nowMs();

    this.#control = new ControlServer({ runDir, routes: this.#routes(), log });
    this.#pairing = new Pairing({
      policy: pairing.policy,
      timeoutMs: pairing.timeoutMs,
      remember: pairing.remember,
      keyFile: new KeyFile({ path: pairing.authorizedKeysFile, keyOptions: pairing.keyOptions ?? '', log }),
      everPaired: new EverPaired({ stateDir }),
      pin: new PinGuard({ file: new PinFile({ stateDir }), clock, log }),
      audit: { record: async () => undefined },
      observe: () => this.#lookAgain(),
      clock,
      log,
    });
    this.#monitor = monitor.enabled ? createMonitor(config, { clock, log, onObservation: () => this.#look() }) : null;
    this.#watcher = new FlagWatcher({ runDir, clock, log, onChange: () => this.#look() });
    this.#http = new HttpListener({
      handler: createPairingApp({
        pairing: this.#pairing,
        info: () => this.#info(),
        healthy: () => this.#isHealthy(),
        allowedHosts: pairing.allowedHosts,
        tunnelSource: TUNNEL_SOURCE,
        clock,
        log,
      }),
      host: config.http.host,
      port: config.http.port,
      clock,
      log,
    });
    this.#tunnel = createTunnel(config, { clock, log });
    this.#advertiser = createAdvertiser(config, this.#http, { clock, log });
  }

  /**
   * Starts the parts, in the order that they need each other. What cannot start now is reported and tried again: a
   * device that does not start cannot be reached.
   * @throws Failure `instance.running`: then nothing else has been started
   */
  async start(): Promise<void> {
    await this.#openControl(() => this.#control.start());
    if (this.#controlFailure?.code === 'instance.running') throw this.#controlFailure;
    const steps: { name: string; start: () => unknown; stop: () => unknown }[] = [
      { name: 'the control socket', start: () => this.#healLater(), stop: () => this.#stopControl() },
      { name: 'the tunnel', start: () => this.#tunnel?.start(), stop: () => this.#tunnel?.stop() },
      { name: 'the HTTP listener', start: () => this.#http.start(), stop: () => this.#http.stop() },
      // After HTTP, whose port is announced; the goodbye comes before HTTP ends.
      { name: 'mDNS', start: () => this.#advertiser?.start(), stop: () => this.#advertiser?.stop() },
      { name: 'the flag watcher', start: () => this.#watcher.start(), stop: () => this.#watcher.stop() },
      // Pairing asks for the first poll, which corrects a stale flag of a crash; the monitor goes on from there.
      { name: 'the monitor', start: () => undefined, stop: () => this.#monitor?.stop() },
      { name: 'pairing', start: () => this.#pairing.start(), stop: () => this.#pairing.stop() },
    ];
    for (const { name, start, stop } of steps) {
      if (this.#stopping) return;
      this.#lifecycle.own(name, stop);
      await start();
    }
    if (this.#stopping) return;
    await this.#monitor?.start();
    for (const { code, sentence } of this.#httpNotices()) this.#log.warn({ code, remedy: FAILURES[code] }, sentence);
    this.#log.info({ version: this.#version, pid: process.pid }, 'the service is ready');
  }

  /** Stops the parts in reverse order, each within a bound; gives what did not stop cleanly. */
  stop(): Promise<StopReport> {
    this.#stopping = true;
    return this.#lifecycle.stop(STOP_EACH_MS);
  }

  async status(): Promise<DeviceStatus> {
    return {
      version: this.#version,
      pid: process.pid,
      hostname: hostname(),
      uptimeSeconds: Math.floor(this.#uptimeMs() / 1000),
      pairing: await this.#pairing.status(),
      monitor: this.#monitorStatus(),
      http: this.#http.status().address,
      mdns: this.#mdnsStatus(),
      tunnel: this.#tunnel?.status() ?? null,
      faults: this.#faults().map(({ code, message, remedy }) => ({ code, sentence: message, remedy })),
      notices: [...this.#notices, ...this.#httpNotices(), ...this.#nameNotices()].map(({ code, sentence }) => ({
        code,
        sentence,
        remedy: FAILURES[code],
      })),
    };
  }

  /** What the command line can ask for over the control socket. */
  #routes(): ControlRoutes {
    return { 'GET /status': () => this.status() };
  }

  /** Never rejects: trouble with the socket is reported once, stands in the status, and is tried again. */
  async #openControl(open: () => Promise<void>): Promise<void> {
    const before = this.#controlFailure;
    try {
      await prepareRunDir(this.#config.runDir);
      await open();
      this.#controlFailure = null;
    } catch (error) {
      const failure = asFailure(error);
      if (failure.code !== before?.code) {
        this.#log.error({ code: failure.code, remedy: failure.remedy }, failure.message);
      }
      this.#controlFailure = failure;
    }
  }

  /** After each poll and each change of the flag: pairing hears what is known now. */
  #look(): void {
    this.#pairing.observed(this.#observation());
  }

  async #lookAgain(): Promise<Observation> {
    await this.#monitor?.poll();
    return this.#observation();
  }

  /**
   * What is known of the paired tunnel. The flag decides; that it is absent counts only while our monitor, where it
   * runs, can tell (pairing: state machine 3).
   */
  #observation(): Observation {
    if (readFlag(this.#config.runDir) === 'present') return { kind: 'active' };
    if (this.#monitor === null) return { kind: 'none' };
    return { kind: this.#monitor.status().observation?.kind === 'none' ? 'none' : 'fault' };
  }

  /** Someone may have emptied the run folder: then nobody could ask the service how it is. */
  #healLater(): void {
    this.#cancelHeal = this.#clock.after(HEAL_MS, () => {
      this.#healing = this.#openControl(() => this.#control.heal()).then(() => {
        if (!this.#stopping) this.#healLater();
      });
    });
  }

  async #stopControl(): Promise<void> {
    this.#cancelHeal();
    await this.#healing;
    await this.#control.stop();
  }

  #info(): DeviceInfo {
    return {
      version: this.#version,
      hostname: hostname(),
      uptimeSeconds: this.#uptimeMs() / 1000,
      devmode: existsSync(DEVMODE_FILE),
    };
  }

  /** The monitor's loop turns. What netstat or the proxy say does not count: no restart would help there. */
  #isHealthy(): boolean {
    const polledAtMs = this.#monitor?.status().polledAtMs ?? this.#clock.nowMs();
    return this.#clock.nowMs() - polledAtMs < 3 * this.#config.monitor.intervalMs + POLL_ALLOWANCE_MS;
  }

  #monitorStatus(): DeviceStatus['monitor'] {
    if (this.#monitor === null) return null;
    const { observation, connections, sinceConnectedSeconds } = this.#monitor.status();
    return { kind: observation?.kind ?? 'starting', connections, sinceConnectedSeconds };
  }

  #faults(): Failure[] {
    const observation = this.#monitor?.status().observation;
    const monitorFailure = observation?.kind === 'fault' ? observation.failure : null;
    const mdnsFailure = this.#advertiser?.status().failure ?? null;
    const parts = [this.#controlFailure, monitorFailure, this.#http.status().failure, mdnsFailure];
    return [...parts, ...this.#pairing.faults()].filter((failure) => failure !== null);
  }

  #mdnsStatus(): DeviceStatus['mdns'] {
    if (this.#advertiser === null) return null;
    const { failure, ...status } = this.#advertiser.status();
    return { ...status, failure: failure?.code ?? null };
  }

  #nameNotices(): Notice[] {
    const mdns = this.#advertiser?.status();
    if (!mdns?.renamed) return [];
    const sentence = `another machine in the network has the name of this one, so it is announced as ${mdns.name}`;
    return [{ code: 'mdns.name-conflict', sentence }];
  }

  /** Another program may own port 5000 on purpose; clients that do not look for the port by mDNS end up there. */
  #httpNotices(): Notice[] {
    const { port } = this.#config.http;
    if (port === WELL_KNOWN_HTTP_PORT || !isListening(WELL_KNOWN_HTTP_PORT)) return [];
    const sentence = `pairing is on port ${port}, and another program of this machine has port ${WELL_KNOWN_HTTP_PORT}`;
    return [{ code: 'http.elsewhere', sentence }];
  }

  #uptimeMs(): number {
    return this.#clock.nowMs() - this.#startedAtMs;
  }
}

/** The monitor as it is configured; also run alone, by `tunnel-agent monitor`. */
export function createMonitor(
  { monitor, tunnel, runDir }: Config,
  parts: { clock: Clock; log: Log; onObservation?: () => void },
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

function createTunnel(config: Config, parts: { clock: Clock; log: Log }): TunnelAgent | null {
  const { meeting, services, reconnect, handshakeTimeoutMs } = config;
  if (meeting === null) return null;
  const { host, port, tls, ca, pin } = meeting.proxy;
  return new TunnelAgent({
    proxy: { host, port, tls: tls ? { ...(ca !== null && { ca }), ...(pin !== null && { pin }) } : null },
    identity: { deviceKey: meeting.deviceKey, token: meeting.token.reveal() },
    services,
    tunnelSource: TUNNEL_SOURCE,
    reconnect,
    handshakeTimeoutMs,
    random: Math.random,
    ...parts,
  });
}

/** Announces the port that HTTP has at that time, unless only this machine can reach it. */
function createAdvertiser(
  { mdns, tunnel }: Config,
  http: HttpListener,
  parts: { clock: Clock; log: Log },
): Advertiser | null {
  if (!mdns.enabled) return null;
  const httpPort = () => {
    const { address } = http.status();
    return address === null || isLoopback(address.host) ? null : address.port;
  };
  return new Advertiser({ tunnelPort: tunnel.port, httpPort, model: readModel(mdns.model), ...parts });
}

const isLoopback = (host: string) => host === '::1' || host.startsWith('127.');
