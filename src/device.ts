import { hostname, networkInterfaces } from 'node:os';
import { existsSync } from 'node:fs';
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
  monitor: { state: 'active' | 'none' | 'fault' | 'starting'; failure: FailureJson | null; sinceConnectedSeconds: number } | null;
  http: { host: string; port: number } | { failure: FailureJson } | null;
  /** null where the service runs pairing alone. */
  tunnel: TunnelStatus | null;
  /** What could not be started or kept running, and is tried again. */
  faults: FailureJson[];
}

export interface FailureJson {
  code: string;
  sentence: string;
  remedy: string;
}

/**
 * The device service: monitor → flag → pairing → HTTP, and beside it the tunnel. Its parts do not know each other;
 * who hears of what is all here.
 */
export function createDevice(options: DeviceOptions): Device {
  return new Device(options);
}

export class Device {
  readonly #config: Config;
  readonly #version: string;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  readonly #lifecycle = new Lifecycle();
  readonly #faults = new Map<string, Failure>();

  readonly #control: ControlServer;
  readonly #pairing: Pairing;
  readonly #watcher: FlagWatcher;
  readonly #monitor: ActivityMonitor | null;
  readonly #http: HttpListener;
  readonly #tunnel: TunnelAgent | null;

  constructor({ config, version, log, clock = systemClock }: DeviceOptions) {
    this.#config = config;
    this.#version = version;
    this.#log = log;
    this.#clock = clock;
    this.#startedAtMs = clock.nowMs();
  }
}
