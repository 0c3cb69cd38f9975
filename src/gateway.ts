import type { RequestListener } from 'node:http';
import { hostname } from 'node:os';
import { reachedAt } from './config/gateway.ts';
import type { GatewayConfig } from './config/gateway-types.ts';
import { openAdminToken } from './gateway/admin-token.ts';
import { AgentEntry } from './gateway/agents/listener.ts';
import { createApp } from './gateway/api/app.ts';
import { Metrics } from './gateway/api/metrics.ts';
import { ApiServer } from './gateway/api/server.ts';
import { Certificate } from './gateway/certificate.ts';
import { Copies } from './gateway/copies.ts';
import { type Core, createCore } from './gateway/core.ts';
import { DRAIN_MS, drain } from './gateway/drain.ts';
import { ephemeralWarning } from './gateway/ephemeral-range.ts';
import { Secrets } from './gateway/secrets.ts';
import { openDataDir } from './gateway/sql-store/data-dir.ts';
import { openStore } from './gateway/sql-store/open.ts';
import { HOST_KEY_FILE, loadHostKey } from './gateway/ssh/host-key.ts';
import { SshEntry } from './gateway/ssh/listener.ts';
import { type Clock, systemClock } from './support/clock.ts';
import { Lifecycle, type StopReport } from './support/lifecycle.ts';
import type { Log } from './support/log.ts';
import { hostAndPort } from './support/text.ts';

/** The entries give their sessions two seconds; whatever takes longer is passed over and reported. */
const STOP_EACH_MS = 3_000;

export interface GatewayOptions {
  readonly config: GatewayConfig;
  readonly version: string;
  /** Begin with an empty database where it is missing; one that is there is never emptied. */
  readonly emptyStore?: boolean;
  readonly log: Log;
  readonly clock?: Clock;
  /** Wall clock. */
  readonly nowMs?: () => number;
  /** How long a stop waits for what is open. */
  readonly drainMs?: number;
}

interface Address {
  readonly host: string;
  readonly port: number;
}

/** Where the gateway listens. */
export interface GatewayAddresses {
  readonly agent: Address;
  readonly ssh: Address;
  readonly http: Address;
}

/** What listens, besides the public ports. */
interface Entries {
  readonly agent: AgentEntry;
  readonly ssh: SshEntry;
}

/**
 * The gateway: two entries for devices, the public ports that lead to them, and REST for the operator, over one core.
 * Its parts do not know each other; who needs what is all here.
 */
export class Gateway {
  readonly #options: Required<GatewayOptions>;
  readonly #lifecycle: Lifecycle;
  #core: Core | null = null;
  #certificate: Certificate | null = null;
  #entries: Entries | null = null;
  #addresses: GatewayAddresses | null = null;
  #starting: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(options: GatewayOptions) {
    this.#options = { emptyStore: false, clock: systemClock, nowMs: Date.now, drainMs: DRAIN_MS, ...options };
    this.#lifecycle = new Lifecycle(this.#options.clock);
  }

  /** Null until it is ready. */
  get addresses(): GatewayAddresses | null {
    return this.#addresses;
  }

  /**
   * Starts the parts, in the order that they need each other. What is missing or broken ends it, and is left as it is.
   *
   * @throws Failure `gateway.data-dir-unusable`, `gateway.running`, `gateway.store-*`, `gateway.secret-key-unusable`,
   * `gateway.host-key-unusable`, `gateway.admin-token-unusable`, `gateway.certificate-unusable`, `gateway.cannot-listen`.
   * The caller stops what was started by then.
   */
  async start(): Promise<void> {
    try {
      this.#starting = this.#start();
      await this.#starting;
    } catch (error) {
      if (error !== STOPPED) throw error;
    }
  }

  async #start(): Promise<void> {
    const { config, version, emptyStore, clock, nowMs, log } = this.#options;
    const basics = { clock, nowMs, log };

    // What is kept. The lock first: nobody else changes it from then on.
    const folder = await this.#begin('the data folder', openDataDir(config.dataDir), (dir) => dir.release());
    const opening = openStore({ dataDir: folder.path, emptyStore, traces: [HOST_KEY_FILE], nowMs, log });
    const { store, fleet, keepCopy } = await this.#begin('the store', opening, (opened) => opened.store.close());
    const copies = await this.#begin('the copies', new Copies({ keepCopy, clock, log }), (one) => one.stop());
    // Behind the store, which tells a first start from a loss by what else is there.
    const secrets = await Secrets.open(folder.path, fleet.devices);
    const hostKey = await loadHostKey(folder.path, log);
    const adminToken = config.adminToken ?? (await this.#adminToken());
    const certificate = config.tls === null ? null : await Certificate.load(config.tls, { clock, log });

    // What decides.
    const creating = createCore({ store, secrets, config, ...basics });
    const core = await this.#begin('the core', creating, (one) => one.stop());
    this.#core = core;
    await core.load(fleet);

    // What listens. The entries before REST, which has to tell their ports.
    const { agent, ssh } = {
      agent: new AgentEntry({
        ...config.agent,
        handshakeTimeoutMs: config.handshakeTimeoutMs,
        keepaliveMs: config.keepalive.intervalMs,
        entryHost: core.host,
        certificate,
        ...basics,
      }),
      ssh: new SshEntry({
        listen: config.ssh,
        hostKey,
        host: core.host,
        handshakeTimeoutMs: config.handshakeTimeoutMs,
        keepalive: config.keepalive,
        ...basics,
      }),
    };
    this.#entries = { agent, ssh };
    await this.#begin('the agent entry', agent.start(), () => agent.stop());
    await this.#begin('the SSH entry', ssh.start(), () => ssh.stop());
    const sshAddress = listening(ssh.address());

    // Its own port is in what it answers; no request is read before it can be answered.
    let answer: RequestListener = (request) => void request.socket.destroy();
    const handler: RequestListener = (request, response) => answer(request, response);
    const rest = new ApiServer({ ...config.http, handler, certificate, clock, log });
    await this.#begin('REST', rest.start(), () => rest.stop());
    const { port } = listening(rest.address);
    const { portRange } = config;
    const counts = () => ({ ...core.counts(), ports: core.ports.counts() });
    const counting = new Metrics({ operations: core.operations, counts, portRange, version });
    const metrics = await this.#begin('the metrics', counting, (one) => one.stop());
    const { gateway, tunnels } = reachedAt(config, hostname());
    answer = createApp({
      operations: core.operations,
      adminToken,
      version,
      publicHost: gateway,
      tunnelHost: tunnels,
      sshPort: sshAddress.port,
      hostKey: hostKey.publicKey,
      baseUrl: `${certificate === null ? 'http' : 'https'}://${hostAndPort(gateway, port)}`,
      draining: () => this.#stopping,
      metrics,
      ...basics,
    });

    // What goes by itself.
    if (certificate !== null) {
      this.#certificate = certificate;
      certificate.start();
      await this.#begin('the certificate', certificate, (one) => one.stop());
    }
    copies.start();
    const warning = ephemeralWarning(config.portRange);
    if (warning !== null) log.warn({ code: warning.code, remedy: warning.remedy }, warning.message);
    this.#addresses = { agent: listening(agent.address), ssh: sshAddress, http: listening(rest.address) };
    const facts = { version, pid: process.pid, ...this.#addresses, devices: fleet.devices.length };
    log.info({ ...facts, hostKey: hostKey.fingerprint }, 'the gateway is ready');
  }

  /** How it is, as one line for `systemctl status`. */
  words(): string {
    const count = this.#core?.sessions.all().length ?? 0;
    return count === 1 ? '1 device is connected' : `${count} devices are connected`;
  }

  /** Looks at the certificate now, where there is one: its files were exchanged. */
  reload(): void {
    this.#certificate?.lookNow();
  }

  /**
   * Lets nobody in any more, lets the devices finish what is open, then stops the parts in reverse order, each within a
   * bound; gives what did not stop cleanly.
   *
   * @param hurry aborted when nothing is to be waited for any more
   */
  async stop(hurry: AbortSignal = new AbortController().signal): Promise<StopReport> {
    this.#stopping = true;
    await this.#starting.catch(() => undefined); // it ends with the step that is under way
    await this.#drain(hurry);
    return this.#lifecycle.stop(STOP_EACH_MS);
  }

  async #drain(hurry: AbortSignal): Promise<void> {
    const { clock, drainMs, log } = this.#options;
    if (this.#core === null) return;
    this.#entries?.agent.stopAccepting();
    this.#entries?.ssh.stopAccepting();
    this.#core.stopAccepting();
    const { sessions } = this.#core;
    const count = sessions.all().length;
    if (count === 0) return;
    log.info({ sessions: count, withinMs: drainMs }, 'the devices finish what is open');
    const startMs = clock.nowMs();
    const cut = await drain(sessions, { graceMs: drainMs, hurry, clock });
    log.info({ sessions: count, cutOff: cut, ms: Math.round(clock.nowMs() - startMs) }, 'the devices have left');
  }

  /** Owns a part that is started, so that it is stopped whatever happens; throws where the gateway stops already. */
  async #begin<T>(name: string, starting: T | Promise<T>, stop: (part: T) => unknown): Promise<T> {
    const part = await starting;
    this.#lifecycle.own(name, () => stop(part));
    if (this.#stopping) throw STOPPED;
    return part;
  }

  async #adminToken(): Promise<GatewayConfig['adminToken'] & object> {
    const { config, log } = this.#options;
    const { token, made } = await openAdminToken(config.adminTokenFile);
    if (made) log.info({ path: config.adminTokenFile }, 'a token of the operator was made');
    return token;
  }
}

/** A start that was overtaken by a stop. */
const STOPPED = new Error('stopped while starting');

function listening(address: Address | null): Address {
  if (address === null) throw STOPPED;
  return address;
}
