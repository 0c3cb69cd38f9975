import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Config } from './config/types.ts';
import { ControlServer } from './control/server.ts';
import { ActivityMonitor, type MonitorStatus } from './monitor/activity-monitor.ts';
import { readFlag } from './monitor/flag-file.ts';
import { FlagWatcher } from './monitor/flag-watcher.ts';
import { EverPaired } from './pairing/ever-paired.ts';
import { createPairingApp } from './pairing/http.ts';
import { KeyFile } from './pairing/key-file.ts';
import { type Observation, Pairing, type PairingStatus } from './pairing/pairing.ts';
import { type Cancel, type Clock, systemClock } from './support/clock.ts';
import { Failure, asFailure } from './support/failures.ts';
import { HttpListener } from './support/http-listener.ts';
import { Lifecycle, type StopReport } from './support/lifecycle.ts';
import type { Log } from './support/log.ts';
import { TunnelAgent, type TunnelStatus } from './tunnel/agent.ts';

/** Streams are dialled from here, so that sshd and our own routes can tell what came through the tunnel (wire 1.6). */
const TUNNEL_SOURCE = '127.0.0.77';
/** Every part stops in milliseconds; one that does not is passed over and reported. */
const STOP_EACH_MS = 3_000;
/** Exists on devices set up for development; reported, it opens nothing. */
const DEVMODE_FILE = '/boot/devmode';

export interface DeviceOptions {
  config: Config;
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
  monitor: { kind: 'active' | 'none' | 'fault' | 'starting'; connections: number; sinceConnectedSeconds: number } | null;
  http: { host: string; port: number } | null;
  /** null where the service runs pairing alone. */
  tunnel: TunnelStatus | null;
  /** What does not work now and is tried again; the tunnel's own failures stand in `tunnel`. */
  faults: FailureFacts[];
}

/**
 * The device service: monitor → flag → pairing → HTTP, and beside it the tunnel. Its parts do not know each other;
 * who hears of what is all here.
 */
export class Device {
  readonly #config: Config;
  readonly #version: string;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  readonly #lifecycle = new Lifecycle();
  #controlFailure: Failure | null = null;

  readonly #control: ControlServer;
  readonly #monitor: ActivityMonitor | null;
  readonly #watcher: FlagWatcher;
  readonly #pairing: Pairing;
  readonly #http: HttpListener;
  readonly #tunnel: TunnelAgent | null;

  constructor({ config, version, log, clock = systemClock }: DeviceOptions) {
    const { runDir, stateDir, pairing, monitor } = config;
    this.#config = config;
    this.#version = version;
    this.#log = log;
    this.#clock = clock;
    this.#startedAtMs = clock.nowMs();

    this.#control = new ControlServer({ runDir, status: () => this.status(), log });
    this.#pairing = new Pairing({
      timeoutMs: pairing.timeoutMs,
      remember: pairing.remember,
      keyFile: new KeyFile({ path: pairing.authorizedKeysFile, keyOptions: pairing.keyOptions ?? '', log }),
      everPaired: new EverPaired({ stateDir }),
      observe: () => this.#observeAgain(),
      clock,
      log,
    });
    this.#monitor = monitor.enabled ? createMonitor(config, { clock, log, onObservation: () => this.#polled() }) : null;
    this.#watcher = new FlagWatcher({ runDir, clock, log, onChange: () => this.#pairing.observed(this.#observation()) });
    this.#http = new HttpListener({
      handler: createPairingApp({
        pairing: this.#pairing,
        info: () => this.#info(),
        allowedHosts: pairing.allowedHosts,
        tunnelSource: TUNNEL_SOURCE,
        log,
      }),
      host: config.http.host,
      port: config.http.port,
      clock,
      log,
    });
    this.#tunnel = createTunnel(config, { clock, log });
  }

  /**
   * Starts the parts, in the order that they need each other. What cannot start now is reported and tried again: a
   * device that does not start cannot be reached.
   * @throws Failure `instance.running`: then nothing has been started
   */
  async start(): Promise<void> {
    await this.#startControl();
    this.#lifecycle.own('the control socket', () => this.#control.stop());

    this.#tunnel?.start();
    this.#lifecycle.own('the tunnel', () => this.#tunnel?.stop());

    await this.#pairing.start();
    this.#lifecycle.own('pairing', () => this.#pairing.stop());

    // The monitor first: its first poll corrects a stale flag of a crash before the watcher reads it.
    await this.#monitor?.start();
    this.#lifecycle.own('the monitor', () => this.#monitor?.stop());
    await this.#watcher.start();
    this.#lifecycle.own('the flag watcher', () => this.#watcher.stop());

    await this.#http.start();
    this.#lifecycle.own('the HTTP listener', () => this.#http.stop());
    this.#log.info({ version: this.#version, pid: process.pid }, 'the service is ready');
  }

  /** Stops the parts in reverse order, each within a bound; gives what did not stop cleanly. */
  stop(): Promise<StopReport> {
    return this.#lifecycle.stop(STOP_EACH_MS);
  }

  async status(): Promise<DeviceStatus> {
    return {
      version: this.#version,
      pid: process.pid,
      hostname: hostname(),
      uptimeSeconds: this.#uptimeSeconds(),
      pairing: await this.#pairing.status(),
      monitor: this.#monitorStatus(),
      http: this.#http.status().address,
      tunnel: this.#tunnel?.status() ?? null,
      faults: this.#faults().map(factsOf),
    };
  }

  /** The control socket proves that this is the only service of the run folder; nothing else may start before. */
  async #startControl(): Promise<void> {
    try {
      await this.#control.start();
      this.#controlFailure = null;
    } catch (error) {
      const failure = asFailure(error);
      if (failure.code === 'instance.running') throw failure;
      if (this.#controlFailure?.code !== failure.code) {
        this.#log.error({ code: failure.code, remedy: failure.remedy }, failure.message);
      }
      this.#controlFailure = failure;
    }
  }
