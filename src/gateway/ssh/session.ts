import type { Socket } from 'node:net';
import type { Channel, Connection, TcpipBindInfo } from 'ssh2';
import type { Cancel, Clock } from '../../support/clock.ts';
import { asFailure, Failure } from '../../support/failures.ts';
import type { Log } from '../../support/log.ts';
import { cleanText, counted } from '../../support/text.ts';
import { TokenBucket } from '../../support/token-bucket.ts';
import type { EntryHost } from '../entry.ts';
import type { Session, SessionFacts } from '../session.ts';
import { plainAddress } from '../source.ts';
import { type Device, type EndReason, localPortOf, type Service } from '../types.ts';
import { decideForward } from './forward-requests.ts';
import { endSoon } from './sockets.ts';
import { SshStream } from './stream.ts';
import { DISCONNECT, disconnect } from './untold.ts';
import { Uplink } from './uplink.ts';

/** Open connections of one device: a browser and a few shells. The last are kept for who comes to repair it. */
const MAX_STREAMS = 64;
const KEPT_FOR_SSH = 8;
/** A device whose service hangs answers late; wire 1.6 gives an agent the same time. */
const OPEN_DEADLINE_MS = 10_000;
/** With those that were given up and are not answered: for a target that swallows packets that takes two minutes. */
const MAX_CHANNELS = 512;
/** Of answers that the client does not read; and what its channels may add: what Node reads at once, for each. */
const MAX_UNREAD_BYTES = 1024 * 1024;
const UNREAD_BYTES_OF_CHANNEL = 64 * 1024;
/** Refusals of one session that are logged: so many at once, then one a minute. */
const TOLD_AT_ONCE = 20;
const TOLD_PER_SECOND = 1 / 60;

interface Forward {
  readonly service: Service;
  /** As the client asked for it: it knows its own forward by the text (wire 5.3). */
  readonly address: string;
  readonly port: number;
}

export interface SshSessionOptions {
  readonly connection: Connection;
  readonly socket: Socket;
  readonly device: Device;
  readonly address: string;
  /** What it calls itself. */
  readonly client: string;
  readonly host: Pick<EntryHost, 'forward' | 'cancelForward' | 'assignedPort'>;
  readonly keepalive: { readonly intervalMs: number; readonly timeoutMs: number };
  readonly clock: Clock;
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly log: Log;
  /** Called once, when the connection is gone. */
  readonly ended: (reason: EndReason, detail: string | null) => void;
}

/** A device that came with an SSH client, from its authentication on. */
export class SshSession implements Session {
  readonly deviceKey: string;
  readonly entry = 'ssh';
  readonly address: string;
  readonly connectedAtMs: number;
  readonly #options: SshSessionOptions;
  readonly #uplink: Uplink;
  /** By the name of the service. */
  readonly #forwards = new Map<string, Forward>();
  /** What the device can forward, in the order of its requests: where no local port is known it has nothing to ask for. */
  readonly #services: readonly Service[];
  readonly #named = new Set<string>();
  /** Public connections; null while they wait for the device's answer. */
  readonly #streams = new Map<Socket, SshStream | null>();
  #opened = 0;
  #channels = 0;
  #requests = 0;
  readonly #telling: TokenBucket;
  #draining = false;
  #end: { reason: EndReason; detail: string | null } | null = null;
  #closed = false;
  #cancelTimer: Cancel;

  constructor(options: SshSessionOptions) {
    const { connection, socket, device, address, clock, nowMs } = options;
    this.#options = options;
    this.deviceKey = device.key;
    this.address = address;
    this.connectedAtMs = nowMs();
    this.#telling = new TokenBucket(TOLD_AT_ONCE, TOLD_PER_SECOND, clock.nowMs());
    this.#services = device.services.flatMap(({ name, localPort }) => {
      const port = localPortOf({ name, localPort }, 'ssh');
      return port === null ? [] : [{ name, localPort: port }];
    });
    this.#uplink = new Uplink(connection, socket);
    connection.on('request', (accept, reject, name, info) => {
      // Of the others, streamlocal and what ssh2 refuses by itself, none is for us (wire 5.4).
      if (name === 'tcpip-forward') this.#forward(info, accept, reject);
      else if (name === 'cancel-tcpip-forward' && this.#cancel(info)) accept?.();
      else reject?.();
    });
    connection.on('error', (error: Error) => this.#failed(error.message));
    socket.on('data', () => {
      const unread = socket.writableLength - this.#channels * UNREAD_BYTES_OF_CHANNEL;
      if (unread > MAX_UNREAD_BYTES) this.#failed('it does not read our answers');
    });
    socket.once('close', () => this.#close());
    this.#cancelTimer = this.#keepAlive();
  }

  facts(): SessionFacts {
    return { client: this.#options.client, streams: this.#streams.size, opened: this.#opened };
  }

  refusal(service: Service): string | null {
    if (this.#end !== null) return 'the session is over';
    if (this.#draining) return 'the gateway is about to stop';
    if (!this.#forwards.has(service.name)) return `the device does not forward ${service.name}`;
    const most = service.name === 'ssh' ? MAX_STREAMS : MAX_STREAMS - KEPT_FOR_SSH;
    if (this.#streams.size >= most) return `the device has ${counted(this.#streams.size, 'connection')} open`;
    return null;
  }

  carry(service: Service, socket: Socket): void {
    socket.on('error', () => undefined); // its close follows
    const refusal = this.refusal(service);
    const forward = this.#forwards.get(service.name);
    if (refusal !== null || forward === undefined) {
      this.#tell({ service: service.name, reason: refusal }, 'a connection was refused');
      socket.resetAndDestroy();
      return;
    }
    this.#streams.set(socket, null);
    this.#opened += 1;
    socket.once('close', () => {
      this.#streams.delete(socket);
      this.#endIfDrained();
    });
    this.#open(forward, socket);
  }

  #open({ service: { name }, address, port }: Forward, socket: Socket): void {
    const { connection, clock } = this.#options;
    const cancelDeadline = clock.after(OPEN_DEADLINE_MS, () => {
      this.#tell({ service: name }, `the device did not answer within ${OPEN_DEADLINE_MS / 1000} s`);
      socket.resetAndDestroy();
    });
    this.#channels += 1;
    if (this.#channels > MAX_CHANNELS) this.#failed('it answers no opens and closes no channels');
    const { remoteAddress = '', remotePort = 0 } = socket;
    connection.forwardOut(address, port, plainAddress(remoteAddress), remotePort, (error, channel) => {
      cancelDeadline();
      if (channel !== undefined) return this.#join(channel, socket, name);
      this.#channels -= 1;
      const reason = cleanText(error?.message ?? 'no reason');
      if (this.#end === null) this.#tell({ service: name, reason }, 'the device refused a connection');
      socket.resetAndDestroy();
    });
  }

  #join(channel: Channel, socket: Socket, service: string): void {
    channel.once('close', () => {
      this.#channels -= 1;
    });
    const cut = (reason: string) => this.#tell({ service, reason }, 'a connection was cut off');
    const stream = new SshStream({ channel, socket, uplink: this.#uplink, cut });
    // It may have been given up while the device took its time.
    if (socket.destroyed) stream.abort();
    else this.#streams.set(socket, stream);
  }

  #forward(
    { bindAddr: address, bindPort }: TcpipBindInfo,
    accept: ((port: number) => void) | undefined,
    reject: (() => void) | undefined,
  ): void {
    const { device, host } = this.#options;
    if (this.#end !== null || this.#draining) {
      reject?.();
      return;
    }
    const decision = decideForward(
      { address, port: bindPort },
      {
        services: this.#services,
        named: this.#named,
        portOf: (service) => host.assignedPort(device.key, service),
      },
    );
    if ('refused' in decision) {
      this.#tell({ reason: decision.refused }, 'a forward was refused');
      reject?.();
      return;
    }
    const { name } = decision.service;
    this.#named.add(name);
    this.#hold();
    this.#listen(decision.service, address, bindPort)
      .then(
        (port) => accept?.(port),
        (error: unknown) => {
          const { code, message } = asFailure(error);
          if (this.#end === null) this.#tell({ service: name, code, reason: message }, 'a forward was refused');
          reject?.();
        },
      )
      .catch((error: unknown) => this.#failed(asFailure(error).message)) // ssh2 throws where its connection is over
      .finally(() => this.#release());
  }

  /** Has the public port opened, and gives it. */
  async #listen(service: Service, address: string, wanted: number): Promise<number> {
    const { host } = this.#options;
    const port = await host.forward(this, service);
    if (wanted !== 0 && port !== wanted) {
      host.cancelForward(this, service);
      const why = `port ${wanted} is taken by another program; ${service.name} has port ${port} from now on`;
      throw new Failure('gateway.port-taken', why);
    }
    this.#forwards.set(service.name, { service, address, port });
    return port;
  }

  #cancel({ bindAddr, bindPort }: TcpipBindInfo): boolean {
    for (const [name, { service, address, port }] of this.#forwards) {
      if (port !== bindPort || address !== bindAddr) continue;
      this.#forwards.delete(name);
      this.#named.delete(name);
      this.#options.host.cancelForward(this, service);
      return true;
    }
    return false;
  }

  /** Replies have to keep their order, and wait for the slowest: a client that goes on asking waits with them. */
  #hold(): void {
    this.#requests += 1;
    this.#options.socket.pause();
  }

  #release(): void {
    this.#requests -= 1;
    if (this.#requests === 0) this.#options.socket.resume();
  }

  /** Asks at each interval; what is heard until the time is over, whatever it is, means alive (wire 5.5). */
  #keepAlive(): Cancel {
    const { socket, clock, keepalive } = this.#options;
    return clock.after(keepalive.intervalMs - keepalive.timeoutMs, () => {
      const heard = socket.bytesRead;
      this.#uplink.ping();
      this.#cancelTimer = clock.after(keepalive.timeoutMs, () => {
        if (socket.bytesRead > heard || this.#requests > 0) this.#cancelTimer = this.#keepAlive();
        else this.end('keepalive_timeout');
      });
    });
  }

  drain(): void {
    this.#draining = true;
    this.#endIfDrained();
  }

  #endIfDrained(): void {
    if (this.#draining && this.#streams.size === 0) this.end('shutdown');
  }

  end(reason: EndReason): void {
    this.#finish(reason, null);
  }

  #failed(detail: string): void {
    this.#finish('connection_error', cleanText(detail));
  }

  #finish(reason: EndReason, detail: string | null): void {
    if (this.#end !== null) return;
    this.#end = { reason, detail };
    const { connection, socket, clock } = this.#options;
    this.#cancelTimer();
    for (const [one, stream] of this.#streams) {
      if (stream === null) one.resetAndDestroy();
      else stream.abort();
      endSoon(one, clock);
    }
    try {
      if (!this.#closed) disconnect(connection, DISCONNECT.byApplication, reason);
    } catch {
      // A connection that is broken needs no goodbye.
    }
    endSoon(socket, clock);
  }

  /** The connection is gone: told once, whoever ended it. */
  #close(): void {
    this.#closed = true;
    this.#finish('connection_closed', null);
    if (this.#end !== null) this.#options.ended(this.#end.reason, this.#end.detail);
  }

  #tell(facts: Record<string, unknown>, what: string): void {
    const { clock, log } = this.#options;
    if (this.#telling.take(clock.nowMs())) log.warn({ deviceKey: this.deviceKey, entry: this.entry, ...facts }, what);
  }
}
