import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import type { OptionKey } from './config/options.ts';
import type { Config } from './config/types.ts';
import { type ControlRoutes, ControlServer } from './control/server.ts';
import { SelfDiagnosis } from './device/diagnosis.ts';
import { LOOP_STANDS, oneLine } from './device/one-line.ts';
import { isSilent } from './device/own-http.ts';
import { createButton, createPairing, createReset } from './device/pairing-parts.ts';
import {
  createAdvertiser,
  createHttp,
  createMeeting,
  createMonitor,
  createPage,
  createTunnel,
  TUNNEL_SOURCE,
} from './device/parts.ts';
import type { DeviceStatus, Told } from './device/status.ts';
import { troublesOf } from './device/troubles.ts';
import type { Report } from './diagnose/report.ts';
import type { Advertiser } from './discovery/advertise.ts';
import type { MeetingClient } from './meeting/client.ts';
import type { ActivityMonitor } from './monitor/activity-monitor.ts';
import { readFlag } from './monitor/flag-file.ts';
import { FlagWatcher } from './monitor/flag-watcher.ts';
import type { StatusPage } from './page/page.ts';
import { AuditRing } from './pairing/audit.ts';
import { createPairingApp, type DeviceInfo } from './pairing/http.ts';
import type { Observation, Pairing } from './pairing/pairing.ts';
import type { ResetButton } from './reset/button.ts';
import type { FactoryReset, ResetSource } from './reset/factory-reset.ts';
import type { SessionsEnd } from './reset/tunnel-sessions.ts';
import { type Cancel, type Clock, systemClock } from './support/clock.ts';
import { asFailure, FAILURES, Failure, type FailureCode } from './support/failures.ts';
import type { HttpListener } from './support/http-listener.ts';
import { Lifecycle, type StopReport } from './support/lifecycle.ts';
import { isListening } from './support/listening-ports.ts';
import type { Log } from './support/log.ts';
import { prepareRunDir } from './support/run-dir.ts';
import { Slot } from './support/slot.ts';
import type { TunnelAgent } from './tunnel/agent.ts';

export { LOOP_STANDS } from './device/one-line.ts';
export { createMonitor } from './device/parts.ts';
export type { DeviceStatus } from './device/status.ts';

/** Every part stops in milliseconds; one that does not is passed over and reported. */
const STOP_EACH_MS = 3_000;
/** How often the control socket is looked after, and what keeps people out; as often as the monitor polls. */
const HEAL_MS = 5_000;
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
  /** Makes the checks of `diagnose`, in a process of its own; without it the service looks for no cause. */
  examine?: (status: DeviceStatus, signal: AbortSignal) => Promise<Report>;
  version: string;
  log: Log;
  clock?: Clock;
}

/**
 * The device service: monitor → flag → pairing → HTTP, and beside it the tunnel and what else talks to the world. Its
 * parts do not know each other; who hears of what is all here. A part in a slot is exchanged when its settings change.
 */
export class Device {
  #config: Config;
  #notices: readonly Notice[];
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
  readonly #watcher: FlagWatcher;
  readonly #audit: AuditRing;
  readonly #pairing: Pairing;
  readonly #reset: FactoryReset;
  readonly #page: StatusPage;
  readonly #diagnosis: SelfDiagnosis | null;
  /** The handler outlives its listener: who has asked too often, and a PIN under way, stay known. */
  readonly #handler: ReturnType<typeof createPairingApp>;

  readonly #monitor: Slot<ActivityMonitor>;
  readonly #button: Slot<ResetButton>;
  readonly #http: Slot<HttpListener>;
  readonly #tunnel: Slot<TunnelAgent>;
  readonly #meeting: Slot<MeetingClient>;
  readonly #advertiser: Slot<Advertiser>;

  constructor({ config, notices = [], examine, version, log, clock = systemClock }: DeviceOptions) {
    const { runDir, stateDir } = config;
    const parts = { clock, log };
    this.#config = config;
    this.#notices = notices;
    this.#version = version;
    this.#log = log;
    this.#clock = clock;
    this.#startedAtMs = clock.nowMs();

    this.#control = new ControlServer({ runDir, routes: this.#routes(), log });
    this.#watcher = new FlagWatcher({ runDir, ...parts, onChange: () => this.#look() });
    this.#audit = new AuditRing({ stateDir, log });
    this.#pairing = createPairing(config, { audit: this.#audit, observe: () => this.#lookAgain(), ...parts });
    this.#reset = createReset(config, {
      pairing: this.#pairing,
      audit: this.#audit,
      look: () => this.#lookAgain(),
      tunnelPort: () => this.#config.tunnel.port,
      ...parts,
    });
    this.#page = createPage(() => this.#config, { status: () => this.status(), ...parts });
    this.#diagnosis =
      examine === undefined
        ? null
        : new SelfDiagnosis({
            troubles: () => troublesOf(this.#tunnel.current?.status() ?? null, this.#faults()),
            examine: async (signal) => examine(await this.status(), signal),
            ...parts,
          });
    this.#handler = createPairingApp({
      pairing: this.#pairing,
      info: () => this.#info(),
      healthy: () => this.#isHealthy(),
      allowedHosts: () => this.#config.pairing.allowedHosts,
      tunnelSource: TUNNEL_SOURCE,
      pages: this.#page.routes,
      ...parts,
    });

    this.#monitor = new Slot(this.#newMonitor());
    this.#button = new Slot(this.#newButton());
    this.#http = new Slot(this.#newHttp());
    this.#tunnel = new Slot(this.#newTunnel());
    this.#meeting = new Slot(createMeeting(config, parts));
    this.#advertiser = new Slot(this.#newAdvertiser());
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
      { name: 'the tunnel', start: () => this.#tunnel.start(), stop: () => this.#tunnel.stop() },
      { name: 'the Meeting client', start: () => this.#meeting.start(), stop: () => this.#meeting.stop() },
      { name: 'the HTTP listener', start: () => this.#http.start(), stop: () => this.#http.stop() },
      // After HTTP, whose port is announced; the goodbye comes before HTTP ends.
      { name: 'mDNS', start: () => this.#advertiser.start(), stop: () => this.#advertiser.stop() },
      { name: 'the status page', start: () => undefined, stop: () => this.#page.stop() },
      { name: 'the flag watcher', start: () => this.#watcher.start(), stop: () => this.#watcher.stop() },
      // Pairing asks for the first poll, which corrects a stale flag of a crash; the monitor goes on from there.
      { name: 'the monitor', start: () => undefined, stop: () => this.#monitor.stop() },
      { name: 'the factory reset', start: () => this.#reset.atStart(), stop: () => this.#reset.stop() },
      { name: 'pairing', start: () => this.#pairing.start(), stop: () => this.#pairing.stop() },
      { name: 'the reset button', start: () => this.#button.start(), stop: () => this.#button.stop() },
      // It looks when the control socket is looked after.
      { name: 'the self-diagnosis', start: () => undefined, stop: () => this.#diagnosis?.stop() },
    ];
    for (const { name, start, stop } of steps) {
      if (this.#stopping) return;
      this.#lifecycle.own(name, stop);
      await start();
    }
    if (this.#stopping) return;
    await this.#monitor.start();
    for (const { code, sentence } of this.#httpNotices()) this.#log.warn({ code, remedy: FAILURES[code] }, sentence);
    this.#log.info({ version: this.#version, pid: process.pid }, 'the service is ready');
  }

  /** Stops the parts in reverse order, each within a bound; gives what did not stop cleanly. */
  stop(): Promise<StopReport> {
    this.#stopping = true;
    return this.#lifecycle.stop(STOP_EACH_MS);
  }

  /**
   * How the service is, in words, and why only a restart would help where that is so. Within `limitMs`: no file is
   * looked at, which may lie on a dead mount.
   */
  async look(limitMs: number): Promise<{ status: string; stuck: string | null }> {
    const status = oneLine({
      tunnel: this.#tunnel.current?.status() ?? null,
      monitor: this.#monitorStatus()?.kind ?? null,
      isPairingOpen: this.#pairing.isOpen(),
      faults: this.#faults(),
    });
    if (!this.#isHealthy()) return { status, stuck: LOOP_STANDS };
    const http = this.#httpAddress();
    const silent = http !== null && (await isSilent(http, limitMs, this.#clock));
    return { status, stuck: silent ? `HTTP takes connections and did not answer within ${limitMs} ms` : null };
  }

  /** Whether the session with the other side could end without cutting anybody off. ssh does not tell of its streams. */
  isIdle(): boolean {
    const status = this.#tunnel.current?.status();
    if (status?.state !== 'up') return true;
    return status.transport === 'meeting' && status.streams === 0;
  }

  /**
   * Takes on what has changed in a configuration (docs/options.md: changing a running service). Only the parts that it
   * concerns are exchanged; an exchanged tunnel ends its session.
   */
  async reconfigure(config: Config, changed: readonly OptionKey[], notices: readonly Notice[]): Promise<void> {
    this.#config = config;
    this.#notices = notices;
    const parts = { clock: this.#clock, log: this.#log };
    const touches = (...names: string[]) => changed.some((key) => names.some((name) => key.startsWith(name)));
    if (touches('logLevel')) this.#log.level = config.logLevel;
    if (touches('pairing.')) this.#pairing.configure(config.pairing);
    if (touches('monitor.', 'tunnel.port')) {
      await this.#monitor.replace(this.#newMonitor());
      this.#look(); // without a monitor of ours the flag decides from now on
    }
    if (touches('pairing.resetButton')) await this.#button.replace(this.#newButton());
    if (touches('http.')) await this.#http.replace(this.#newHttp());
    if (touches('transport', 'meeting.deviceKey', 'meeting.token', 'meeting.proxy.', 'ssh.')) {
      await this.#tunnel.replace(this.#newTunnel());
    }
    if (touches('meeting.')) await this.#meeting.replace(createMeeting(config, parts));
    if (touches('mdns.', 'tunnel.port')) await this.#advertiser.replace(this.#newAdvertiser());
  }

  /** Makes the device one that was never paired; throws as `FactoryReset.run` does. */
  factoryReset(by: ResetSource): Promise<SessionsEnd> {
    return this.#reset.run(by);
  }

  async status(): Promise<DeviceStatus> {
    return {
      version: this.#version,
      pid: process.pid,
      hostname: hostname(),
      uptimeSeconds: Math.floor(this.#uptimeMs() / 1000),
      pairing: await this.#pairing.status(),
      monitor: this.#monitorStatus(),
      http: this.#httpAddress(),
      mdns: this.#mdnsStatus(),
      tunnel: this.#tunnel.current?.status() ?? null,
      meetingApi: this.#meeting.current?.status() ?? null,
      faults: this.#faults().map(({ code, message, remedy }) => ({ code, sentence: message, remedy })),
      diagnosis: this.#diagnosis?.status() ?? null,
      notices: [...this.#notices, ...this.#httpNotices(), ...this.#nameNotices()].map(told),
    };
  }

  #newMonitor(): ActivityMonitor | null {
    if (!this.#config.monitor.enabled) return null;
    return createMonitor(this.#config, { clock: this.#clock, log: this.#log, onObservation: () => this.#look() });
  }

  #newButton(): ResetButton | null {
    const onHeld = () => void this.#reset.runReporting('button');
    return createButton(this.#config, { onHeld, clock: this.#clock, log: this.#log });
  }

  #newHttp(): HttpListener {
    return createHttp(this.#config, { handler: this.#handler, clock: this.#clock, log: this.#log });
  }

  #newTunnel(): TunnelAgent | null {
    const pairingPorts = () => this.#pairingPorts();
    return createTunnel(this.#config, () => this.#config, { pairingPorts, clock: this.#clock, log: this.#log });
  }

  #newAdvertiser(): Advertiser | null {
    const httpAddress = () => this.#httpAddress();
    return createAdvertiser(this.#config, { httpAddress, clock: this.#clock, log: this.#log });
  }

  #httpAddress(): DeviceStatus['http'] {
    return this.#http.current?.status().address ?? null;
  }

  /** Where the pairing routes listen, or will as soon as they can. */
  #pairingPorts(): number[] {
    return [this.#config.http.port, this.#httpAddress()?.port].filter((port) => port !== undefined);
  }

  /** What the command line can ask for over the control socket. */
  #routes(): ControlRoutes {
    return {
      'GET /status': () => this.status(),
      'GET /pairing/audit': () => this.#audit.read(),
      'POST /pairing/open': () => this.#pairing.openLocally(),
      'POST /pairing/reset': () => this.factoryReset('local'),
      'POST /pairing/pin': async (body) => {
        await this.#pairing.setPin(pinOf(body));
        return { policy: this.#pairing.policy };
      },
    };
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
    await this.#monitor.current?.poll();
    return this.#observation();
  }

  /**
   * What is known of the paired tunnel. The flag decides; that it is absent counts only while our monitor, where it
   * runs, can tell (pairing: state machine 3).
   */
  #observation(): Observation {
    if (readFlag(this.#config.runDir) === 'present') return { kind: 'active' };
    if (this.#monitor.current === null) return { kind: 'none' };
    return { kind: this.#monitor.current.status().observation?.kind === 'none' ? 'none' : 'fault' };
  }

  /** Someone may have emptied the run folder: then nobody could ask the service how it is. */
  #healLater(): void {
    this.#cancelHeal = this.#clock.after(HEAL_MS, () => {
      this.#healing = this.#openControl(() => this.#control.heal()).then(() => {
        if (this.#stopping) return;
        this.#diagnosis?.look();
        this.#healLater();
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
    return this.#monitor.current?.isTurning() ?? true;
  }

  #monitorStatus(): DeviceStatus['monitor'] {
    if (this.#monitor.current === null) return null;
    const { observation, connections, sinceConnectedSeconds } = this.#monitor.current.status();
    return { kind: observation?.kind ?? 'starting', connections, sinceConnectedSeconds };
  }

  #faults(): Failure[] {
    const observation = this.#monitor.current?.status().observation;
    return [
      this.#controlFailure,
      observation?.kind === 'fault' ? observation.failure : null,
      this.#http.current?.status().failure ?? null,
      ...this.#pairing.faults(),
      this.#reset.failure(),
      this.#button.current?.failure() ?? null,
      this.#advertiser.current?.status().failure ?? null,
      ...(this.#meeting.current?.failures() ?? []),
    ].filter((failure) => failure !== null);
  }

  #mdnsStatus(): DeviceStatus['mdns'] {
    const status = this.#advertiser.current?.status();
    return status === undefined ? null : { ...status, failure: status.failure?.code ?? null };
  }

  #nameNotices(): Notice[] {
    const mdns = this.#advertiser.current?.status();
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

const told = ({ code, sentence }: Notice): Told => ({ code, sentence, remedy: FAILURES[code] });

function pinOf(body: unknown): string | null {
  const pin = typeof body === 'object' && body !== null && 'pin' in body ? body.pin : undefined;
  if (typeof pin === 'string' || pin === null) return pin;
  throw new Failure('pairing.pin-invalid', 'the request has no PIN');
}
