import { networkInterfaces } from 'node:os';
import type { Clock } from '../support/clock.ts';
import { asFailure, Failure, type FailureCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import type { Availability, DeviceAnswer, HeartbeatAnswer } from './answers.ts';
import { MeetingCalls } from './calls.ts';
import { type KnownHosts, keepKnownHosts, keepMaintenanceKey, type Maintenance, readOwnKey } from './kept-files.ts';
import { lanOf } from './lan.ts';
import { MeetingApi } from './request.ts';
import { type Job, type JobState, Rounds } from './rounds.ts';
import { masked } from './words.ts';

export interface MeetingOptions {
  url: string;
  deviceKey: string;
  token: string;
  /** PEM file, or null for the authorities that Node knows. */
  ca: string | null;
  heartbeatMs: number;
  /** A public key to publish, or null. */
  publicKeyFile: string | null;
  /** A known_hosts file to keep, or null. */
  knownHostsFile: string | null;
  /** Another machine of the server, whose host keys it may tell as well as its own. */
  proxy: { host: string; port: number } | null;
  maintenance: Maintenance | null;
  clock: Clock;
  /** A number in [0, 1), as Math.random. */
  random: () => number;
  log: Log;
}

/** What the Meeting client is doing, fit for JSON, without secrets. */
export interface MeetingStatus {
  url: string;
  /** Of the heartbeat: `failing` covers a server that is away and one that declines. */
  state: 'starting' | 'online' | 'failing' | 'stopped';
  nextHeartbeatInMs: number | null;
  /** The last that was answered: from where the server saw us, and its time (ISO 8601). */
  lastHeartbeat: { agoMs: number; ipAddress: string | null; lastSeen: string | null } | null;
  /** These three as the server said last, null before it did. Nothing on the device depends on them. */
  authorized: boolean | null;
  services: DeviceAnswer['services'];
  availability: Availability | null;
  /** These three are null where they are not configured. */
  sshKeyPublished: JobState | null;
  knownHosts: JobState | null;
  maintenanceKey: JobState | null;
  /** The last since the start, also when all is well again. */
  lastFailure: { code: FailureCode; sentence: string; remedy: string; agoMs: number } | null;
}

/** What the server knows of us, and the files that we keep after it, change seldom. */
const SELDOM_MS = 10 * 60_000;
/** Where the SSH entry of a gateway usually is: a hashed name in known_hosts may stand for it. */
const SSH_GATEWAY_PORT = 2222;
const STATES = { pending: 'starting', done: 'online', failed: 'failing' } as const;

/**
 * Tells the Meeting server that this device is alive, and keeps after it what is configured. One timer, one call at a
 * time, and nothing else waits for it. All but the heartbeat follows one that was answered: no wake-ups of its own.
 */
export class MeetingClient {
  readonly #options: MeetingOptions;
  readonly #calls: MeetingCalls;
  readonly #hostname: string;
  readonly #rounds: Rounds;
  readonly #heartbeat: Job;
  readonly #sshKey: Job | null;
  readonly #knownHosts: Job | null;
  readonly #maintenance: Job | null;

  #lastHeartbeat: (HeartbeatAnswer & { atMs: number }) | null = null;
  #device: DeviceAnswer | null = null;
  #availability: Availability | null = null;
  #publishedKey: string | null = null;

  /** @param options with a URL that can be parsed */
  constructor(options: MeetingOptions) {
    const { url, token, ca, deviceKey, heartbeatMs, publicKeyFile, knownHostsFile, proxy, maintenance } = options;
    const { clock, random, log } = options;
    const api = new MeetingApi({ url, token, ca, clock });
    this.#options = options;
    this.#calls = new MeetingCalls(api, deviceKey);
    this.#hostname = api.host;
    const seldom = (name: string, run: Job['run']): Job => ({ name, run, usualMs: SELDOM_MS });
    this.#heartbeat = { name: 'heartbeat', run: (stop) => this.#beat(stop), usualMs: heartbeatMs };
    const optional = <T>(setting: T | null, name: string, run: (setting: T, stop: AbortSignal) => Promise<void>) =>
      setting === null ? null : seldom(name, (stop) => run(setting, stop));
    const hosts = [api, ...(proxy === null ? [] : [proxy])].map(({ host, port }) => ({
      host: host.toLowerCase(),
      ports: [port, SSH_GATEWAY_PORT],
    }));
    this.#sshKey = optional(publicKeyFile, 'ssh key', (file, stop) => this.#publishKey(file, stop));
    this.#knownHosts = optional(knownHostsFile, 'known hosts', (file, stop) => this.#keepHosts({ file, hosts }, stop));
    this.#maintenance = optional(maintenance, 'maintenance key', (kept, stop) => this.#keepMaintenance(kept, stop));
    const others = [
      seldom('device', (stop) => this.#askDevice(stop)),
      seldom('availability', (stop) => this.#askAvailability(stop)),
      this.#sshKey,
      this.#knownHosts,
      this.#maintenance,
    ].filter((job) => job !== null);
    this.#rounds = new Rounds({ pulse: this.#heartbeat, others, clock, random, log });
  }

  /** Begins; returns at once. To be called once. */
  start(): void {
    this.#rounds.start();
  }

  /** Ends the call that is under way and all that would follow. The client cannot be started again. */
  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  /** What does not work now and is tried again. */
  failures(): Failure[] {
    return this.#rounds.failures();
  }

  status(): MeetingStatus {
    const { running, last, nextInMs } = this.#rounds;
    const stateOf = (job: Job | null) => job && this.#rounds.stateOf(job);
    const beat = this.#lastHeartbeat;
    return {
      url: this.#options.url,
      state: running ? STATES[this.#rounds.stateOf(this.#heartbeat)] : 'stopped',
      nextHeartbeatInMs: running ? nextInMs : null,
      lastHeartbeat: beat && {
        agoMs: this.#options.clock.nowMs() - beat.atMs,
        ipAddress: beat.ipAddress,
        lastSeen: beat.lastSeen,
      },
      authorized: this.#device?.authorized ?? null,
      services: this.#device?.services ?? null,
      availability: this.#availability,
      sshKeyPublished: stateOf(this.#sshKey),
      knownHosts: stateOf(this.#knownHosts),
      maintenanceKey: stateOf(this.#maintenance),
      lastFailure: last && {
        code: last.failure.code,
        sentence: last.failure.message,
        remedy: last.failure.remedy,
        agoMs: last.agoMs,
      },
    };
  }

  async #beat(stop: AbortSignal): Promise<void> {
    const answer = await this.#calls.heartbeat((address) => lanOf(address, interfaces()), stop);
    if (this.#lastHeartbeat === null) this.#options.log.info({ url: this.#options.url }, 'the Meeting API answers');
    this.#lastHeartbeat = { ...answer, atMs: this.#options.clock.nowMs() };
  }

  async #askDevice(stop: AbortSignal): Promise<void> {
    const { authorized, services } = await this.#calls.device(stop);
    // A service may have any name, the token too.
    const shown = services && Object.entries(services).map(([name, on]) => [masked(name, this.#options.token), on]);
    this.#device = { authorized, services: shown && (Object.fromEntries(shown) as Record<string, boolean>) };
    if (!authorized) throw new Failure('meeting.not-authorized', 'the server has not authorized this device');
  }

  async #askAvailability(stop: AbortSignal): Promise<void> {
    this.#availability = await this.#calls.availability(stop);
  }

  /** At the start, and when the file has changed. */
  async #publishKey(path: string, stop: AbortSignal): Promise<void> {
    const key = await readOwnKey(path);
    if (key === this.#publishedKey) return;
    await this.#calls.publishKey(key, stop);
    this.#publishedKey = key;
    this.#options.log.info({ file: path }, 'the SSH key was published to the Meeting server');
  }

  async #keepHosts(knownHosts: KnownHosts, stop: AbortSignal): Promise<void> {
    const changed = await keepKnownHosts(knownHosts, await this.#calls.hostKeys(stop));
    if (changed) this.#options.log.info({ file: knownHosts.file }, 'the host keys of the Meeting server were updated');
  }

  /** A file that cannot be kept does not keep the others from it. */
  async #keepMaintenance({ files, pairingFile }: Maintenance, stop: AbortSignal): Promise<void> {
    const key = await this.#calls.serverKey(stop);
    const failures: Failure[] = [];
    for (const file of files) {
      try {
        const changed = await keepMaintenanceKey(file, pairingFile, key, this.#hostname);
        if (changed) this.#options.log.info({ file }, 'the key of the Meeting server was added');
      } catch (error) {
        failures.push(asFailure(error));
      }
    }
    const sentences = failures.map(({ message }) => message).join('; ');
    if (sentences !== '') throw new Failure('meeting.maintenance-file', sentences, { cause: failures[0] });
  }
}

/** A hardened service may not be allowed to list them; its heartbeat matters more. */
function interfaces(): ReturnType<typeof networkInterfaces> {
  try {
    return networkInterfaces();
  } catch {
    return {};
  }
}
