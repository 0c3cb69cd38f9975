import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { type Core, type CoreParts, createCore } from '../../../src/gateway/core.ts';
import type { Authentication, EntryHost, Place } from '../../../src/gateway/entry.ts';
import { Secrets } from '../../../src/gateway/secrets.ts';
import type { Session } from '../../../src/gateway/session.ts';
import { loadHostKey, type SshHostKey } from '../../../src/gateway/ssh/host-key.ts';
import { SshEntry, type SshEntryOptions } from '../../../src/gateway/ssh/listener.ts';
import { makeTunnelToken } from '../../../src/gateway/tokens.ts';
import type { Device, EndReason, Service, ServiceSpec } from '../../../src/gateway/types.ts';
import { USUAL_SERVICES } from '../../../src/gateway/types.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { Failure } from '../../../src/support/failures.ts';
import { listen } from '../../support/tcp-services.ts';
import { testLog } from '../../support/test-log.ts';
import { MemoryStore } from '../memory-store.ts';
import { aDevice } from '../samples.ts';

/** A token that belongs to nobody yet. */
export const newToken = () => makeTunnelToken();

export const testDevice = (key: string, services: readonly ServiceSpec[] = USUAL_SERVICES): Device =>
  aDevice(key, { services });

/** What the rest of the gateway does for the entry, in a few lines: real public ports, no store. */
export class FakeHost implements EntryHost {
  /** By token. */
  readonly devices = new Map<string, Device>();
  readonly paused = new Set<string>();
  /** `KEY SERVICE` to port: it stays. */
  readonly ports = new Map<string, number>();
  readonly #listeners = new Map<string, Server>();
  readonly sessions = new Map<string, Session>();
  readonly events: string[] = [];
  readonly claims: string[] = [];
  /** Public connections that were given to a session. */
  readonly carried: Socket[] = [];
  admitting: (signal: AbortSignal) => Promise<Place | null>;
  pending = 0;
  forwarding: ((service: Service) => Promise<void>) | null = null;

  constructor() {
    this.admitting = async () => {
      this.pending += 1;
      let left = false;
      return {
        leave: () => {
          if (!left) this.pending -= 1;
          left = true;
        },
      };
    };
  }

  add(key: string, services?: readonly ServiceSpec[]): string {
    const token = newToken();
    this.devices.set(token, testDevice(key, services));
    return token;
  }

  admit(_entry: string, _address: string, signal: AbortSignal): Promise<Place | null> {
    return this.admitting(signal);
  }

  authenticateAgent(): Promise<Authentication> {
    throw new Error('not for this entry');
  }

  async authenticateToken({ token }: { token: string }): Promise<Authentication> {
    this.claims.push(token);
    const device = this.devices.get(token);
    if (device === undefined) return { refusal: { code: 'invalid', reason: 'the token is not valid' } };
    if (this.paused.has(device.key)) return { refusal: { code: 'paused', reason: 'this device is paused' } };
    return { device };
  }

  rejected(_entry: string, _address: string, reason: string): void {
    this.events.push(`rejected: ${reason}`);
  }

  started(session: Session): boolean {
    const old = this.sessions.get(session.deviceKey);
    this.sessions.set(session.deviceKey, session);
    old?.end('session_replaced');
    if (old !== undefined) this.#closePorts(session.deviceKey);
    this.events.push(`started ${session.deviceKey}`);
    return true;
  }

  ended(session: Session, reason: EndReason, detail: string | null): void {
    this.events.push(`ended ${session.deviceKey}: ${reason}${detail === null ? '' : ` (${detail})`}`);
    if (this.sessions.get(session.deviceKey) !== session) return;
    this.sessions.delete(session.deviceKey);
    this.#closePorts(session.deviceKey);
  }

  async forward(session: Session, service: Service): Promise<number> {
    await this.forwarding?.(service);
    if (this.sessions.get(session.deviceKey) !== session) throw new Failure('gateway.session-over', 'it is over');
    const name = `${session.deviceKey} ${service.name}`;
    const server = createServer(
      { allowHalfOpen: true, pauseOnConnect: true, noDelay: true, keepAlive: true },
      (socket) => {
        this.carried.push(socket);
        session.carry(service, socket);
      },
    );
    const port = this.ports.get(name);
    if (port === undefined) this.ports.set(name, await listen(server));
    else await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
    this.#listeners.set(name, server);
    return this.ports.get(name) ?? 0;
  }

  cancelForward({ deviceKey }: Session, { name }: Service): void {
    this.#listeners.get(`${deviceKey} ${name}`)?.close();
    this.#listeners.delete(`${deviceKey} ${name}`);
  }

  assignedPort(deviceKey: string, service: string): number | null {
    return this.ports.get(`${deviceKey} ${service}`) ?? null;
  }

  #closePorts(deviceKey: string): void {
    for (const [name, server] of this.#listeners) {
      if (!name.startsWith(`${deviceKey} `)) continue;
      server.close();
      this.#listeners.delete(name);
    }
  }
}

export interface TestEntry {
  host: FakeHost;
  entry: SshEntry;
  port: number;
  hostKey: SshHostKey;
  log: ReturnType<typeof testLog>;
}

export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'zeroforce-gateway-ssh-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** An SSH entry on a free port of 127.0.0.1, which goes with the test. */
export async function startEntry(t: Test, options: Partial<SshEntryOptions> = {}): Promise<TestEntry> {
  const host = new FakeHost();
  const log = testLog();
  const hostKey = options.hostKey ?? (await loadHostKey(await temporaryFolder(t), log.log));
  const entry = new SshEntry({
    listen: { host: '127.0.0.1', port: 0 },
    hostKey,
    host,
    handshakeTimeoutMs: 10_000,
    keepalive: { intervalMs: 30_000, timeoutMs: 15_000 },
    clock: systemClock,
    nowMs: Date.now,
    log: log.log,
    ...options,
  });
  await entry.start();
  t.teardown(() => entry.stop());
  return { host, entry, port: entry.address()?.port ?? 0, hostKey, log };
}

export interface TestGateway extends Omit<TestEntry, 'host'> {
  core: Core;
  store: MemoryStore;
  /** Makes a device and gives its token. */
  add(key: string, services?: readonly ServiceSpec[]): Promise<string>;
  portOf(key: string, service: string): number;
  /** Ends this one and starts another over the same store, with the same key and port. */
  restart(): Promise<void>;
}

/** Away from the ports that the system gives out, and from those of test files that run at the same time. */
function portRange(): { start: number; end: number } {
  const start = 10_000 + (process.pid % 200) * 50;
  return { start, end: start + 49 };
}

/** The entry over the real core of the gateway, with the store in memory. */
export async function startGateway(
  t: Test,
  {
    config,
    ...options
  }: Partial<Omit<SshEntryOptions, 'listen' | 'host'>> & { config?: Partial<CoreParts['config']> } = {},
): Promise<TestGateway> {
  const store = new MemoryStore();
  const secrets = await Secrets.open(await temporaryFolder(t));
  const log = testLog();
  const hostKey = options.hostKey ?? (await loadHostKey(await temporaryFolder(t), log.log));
  const start = async (port: number) => {
    const parts = { store, secrets, clock: systemClock, nowMs: Date.now, log: log.log };
    const limits = { bindHost: '127.0.0.1', portRange: portRange(), leaseMs: 3600_000, connectionRate: 1000 };
    const core = createCore({ ...parts, config: { ...limits, maxPending: 50, ...config } });
    await core.load();
    const entry = new SshEntry({
      ...{ listen: { host: '127.0.0.1', port }, hostKey, host: core.host },
      ...{ handshakeTimeoutMs: 10_000, keepalive: { intervalMs: 30_000, timeoutMs: 15_000 } },
      ...{ clock: systemClock, nowMs: Date.now, log: log.log, ...options },
    });
    await entry.start();
    const stop = async () => {
      core.stopAccepting();
      await entry.stop();
      await core.stop();
    };
    return { core, entry, stop, port: entry.address()?.port ?? 0 };
  };
  let running = await start(0);
  t.teardown(() => running.stop());
  return {
    ...{ store, hostKey, log },
    get core() {
      return running.core;
    },
    get entry() {
      return running.entry;
    },
    port: running.port,
    async add(key, services) {
      const { operations } = running.core;
      await operations.create({ key, tokenCode: `${key} 0123456789`, type: '', distribution: '', productSerial: null });
      if (services !== undefined) await operations.setForwards(key, services);
      return operations.tunnelToken(key, { rotate: false });
    },
    portOf: (key, service) => running.core.ports.portOf(key, service) ?? 0,
    async restart() {
      const { port } = running;
      await running.stop();
      running = await start(port);
    },
  };
}
