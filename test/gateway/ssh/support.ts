import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Authentication, EntryHost, Place } from '../../../src/gateway/entry.ts';
import type { Session } from '../../../src/gateway/session.ts';
import { loadHostKey, type SshHostKey } from '../../../src/gateway/ssh/host-key.ts';
import { SshEntry, type SshEntryOptions } from '../../../src/gateway/ssh/listener.ts';
import type { Device, EndReason, Service, ServiceSpec } from '../../../src/gateway/types.ts';
import { USUAL_SERVICES } from '../../../src/gateway/types.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { Failure } from '../../../src/support/failures.ts';
import { listen } from '../../support/tcp-services.ts';
import { testLog } from '../../support/test-log.ts';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** A token of the right shape (wire 5.9). */
export const newToken = () => [...randomBytes(52)].map((byte) => ALPHABET[byte % 32]).join('');

export function testDevice(key: string, services: readonly ServiceSpec[] = USUAL_SERVICES): Device {
  return {
    key,
    type: 'beamer',
    distribution: 'test',
    productSerial: null,
    authorized: true,
    pausedUntilMs: null,
    createdAtMs: 0,
    services,
    tokenCodeHash: '',
    tokenCodeStrong: true,
    tunnelTokenHash: null,
    tunnelTokenSealed: null,
    publicKey: null,
    lastConnectedAtMs: null,
    lastSeenAtMs: null,
    heartbeat: null,
  };
}

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
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
      session.carry(service, socket);
    });
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
