import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Test } from 'tap';
import { AgentEntry, type AgentEntryOptions } from '../../../src/gateway/agents/listener.ts';
import type { Authentication, EntryHost, Place } from '../../../src/gateway/entry.ts';
import type { Session } from '../../../src/gateway/session.ts';
import type { Device, EndReason, Service } from '../../../src/gateway/types.ts';
import { systemClock } from '../../../src/support/clock.ts';
import { listen } from '../../support/tcp-services.ts';
import { testLog } from '../../support/test-log.ts';
import { aDevice } from '../samples.ts';

export const DEVICE_KEY = '3316a52eb08837267bf6bd3e2b2e8dc7';
export const TOKEN = '5ec2e7';

export const deviceOf = (key: string): Device => aDevice(key, { services: [], tokenCodeStrong: false });

/** What an entry is given of the gateway, played by the test: one token for all devices, the newest session wins. */
export class TestHost implements EntryHost {
  /** How many strangers may still come in; then `admit` says null. */
  places = Number.POSITIVE_INFINITY;
  /** What `admit` waits for. */
  admission: Promise<void> = Promise.resolve();
  authentication: (deviceKey: string, token: string) => Promise<Authentication> | Authentication = (key, token) =>
    token === TOKEN
      ? { device: deviceOf(key) }
      : { refusal: { code: 'invalid', reason: 'unknown device or wrong token' } };
  allowed = true;
  inside = 0;
  mostInside = 0;
  admitted = 0;
  readonly rejections: string[] = [];
  readonly started_: Session[] = [];
  readonly ends: { session: Session; reason: EndReason; detail: string | null }[] = [];
  readonly current = new Map<string, Session>();
  #waiting = new Set<() => void>();

  async admit(): Promise<Place | null> {
    await this.admission;
    if (this.places <= 0) return null;
    this.places -= 1;
    this.admitted += 1;
    this.inside += 1;
    this.mostInside = Math.max(this.mostInside, this.inside);
    let inside = true;
    this.#changed();
    return {
      leave: () => {
        if (inside) this.inside -= 1;
        inside = false;
        this.#changed();
      },
    };
  }
  async authenticateAgent(claim: { deviceKey: string; token: string }): Promise<Authentication> {
    return this.authentication(claim.deviceKey, claim.token);
  }
  authenticateToken(): never {
    throw new Error('not the entry of this test');
  }
  rejected(_entry: string, _address: string, reason: string): void {
    this.rejections.push(reason);
    this.#changed();
  }
  started(session: Session): boolean {
    if (!this.allowed) return false;
    const before = this.current.get(session.deviceKey);
    this.current.set(session.deviceKey, session);
    before?.end('session_replaced');
    this.started_.push(session);
    this.#changed();
    return true;
  }
  ended(session: Session, reason: EndReason, detail: string | null): void {
    if (this.current.get(session.deviceKey) === session) this.current.delete(session.deviceKey);
    this.ends.push({ session, reason, detail });
    this.#changed();
  }
  forward(): never {
    throw new Error('not the entry of this test');
  }
  cancelForward(): void {}
  assignedPort(): null {
    return null;
  }

  /** Waits for something that this host is told. */
  until<T>(what: () => T | undefined | null | false): Promise<T> {
    return new Promise((resolve) => {
      const look = () => {
        const value = what();
        if (value === undefined || value === null || value === false) return;
        this.#waiting.delete(look);
        resolve(value);
      };
      this.#waiting.add(look);
      look();
    });
  }
  session(deviceKey = DEVICE_KEY): Promise<Session> {
    return this.until(() => this.current.get(deviceKey));
  }
  #changed(): void {
    for (const look of [...this.#waiting]) look();
  }
}

export interface Entry {
  entry: AgentEntry;
  host: TestHost;
  port: number;
  logged: ReturnType<typeof testLog>;
}

/** An agent entry on a free port of 127.0.0.1, stopped with the test; no log line may hold the token. */
export async function startEntry(t: Test, options: Partial<AgentEntryOptions> = {}): Promise<Entry> {
  const host = new TestHost();
  const logged = testLog();
  const entry = new AgentEntry({
    host: '127.0.0.1',
    port: 0,
    tls: 'off',
    handshakeTimeoutMs: 5_000,
    keepaliveMs: 30_000,
    entryHost: host,
    certificate: null,
    clock: systemClock,
    nowMs: Date.now,
    log: logged.log,
    ...options,
  });
  await entry.start();
  t.teardown(async () => {
    await entry.stop();
    if (logged.has(new RegExp(TOKEN))) throw new Error('the token is in a log line');
  });
  return { entry, host, port: entry.address?.port ?? 0, logged };
}

export interface PublicPort {
  port: number;
  server: Server;
}

/** A public port of a device's service, as small as it can be. */
export async function publicPort(t: Test, host: TestHost, localPort: number, key = DEVICE_KEY): Promise<PublicPort> {
  const service: Service = { name: 'test', localPort };
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    socket.on('error', () => {});
    const session = host.current.get(key);
    if (session === undefined || session.refusal(service) !== null) socket.destroy();
    else session.carry(service, socket);
  });
  const port = await listen(server);
  t.teardown(() => void server.close());
  return { port, server };
}

/** A raw connection that keeps what comes. */
export class Peer {
  readonly socket: Socket;
  received: Buffer = Buffer.alloc(0);
  /** How it ended: `end`, `close`, or the error's code. */
  readonly events: string[] = [];
  readonly closed: Promise<void>;
  #look = () => {};

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.received = Buffer.concat([this.received, bytes]);
      this.#look();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => this.events.push(error.code ?? error.message));
    socket.on('end', () => this.events.push('end'));
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#look();
        resolve();
      });
    });
  }

  static async connect(t: Test, port: number, options: { from?: string; allowHalfOpen?: boolean } = {}): Promise<Peer> {
    const { from, allowHalfOpen = false } = options;
    const socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      allowHalfOpen,
      ...(from !== undefined && { localAddress: from }),
    });
    t.teardown(() => socket.destroy());
    const peer = new Peer(socket);
    await once(socket, 'connect');
    return peer;
  }

  /** Everything so far, once it passes, or once the connection is over. */
  until(passes: (received: Buffer) => boolean): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#look = () => {
        if (passes(this.received)) resolve(this.received);
        else if (this.socket.destroyed) reject(new Error(`closed after ${JSON.stringify(this.received.toString())}`));
      };
      this.#look();
    });
  }

  /** The reply line as an object; what follows stays in `received`. */
  async reply(): Promise<Record<string, unknown>> {
    const bytes = await this.until((received) => received.includes(0x0a));
    const end = bytes.indexOf(0x0a);
    this.received = bytes.subarray(end + 1);
    return JSON.parse(bytes.toString('utf8', 0, end)) as Record<string, unknown>;
  }
}

export const helloOf = (name = DEVICE_KEY, token = TOKEN) => `${JSON.stringify({ token, name })}\n`;
