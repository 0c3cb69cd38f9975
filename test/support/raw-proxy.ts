import { createServer, type Server, type Socket } from 'node:net';
import { Duplex, pipeline } from 'node:stream';
import { createServer as createTlsServer } from 'node:tls';

/**
 * A Meeting proxy for tests and for the demo, written from the wire reference alone: it shares no code with the agent,
 * and it can break every rule on request.
 */

export interface RawFrame {
  type: string;
  id: number;
  payload: Buffer;
}

export interface RawProxyOptions {
  /** What the accepting reply offers: nothing, or the v1 extension. */
  mode: 'legacy' | 'v1';
  /** Default: a free port of 127.0.0.1. */
  port?: number;
  host?: string;
  tls?: { key: Buffer; cert: Buffer };
  /** In place of the accepting reply: these bytes, or whatever the script does with the agent. */
  reply?: string | Buffer | ((agent: RawAgent) => void);
  /** Answer pings (default), or leave them. */
  pong?: boolean;
}

export interface PublicPort {
  port: number;
  close(): Promise<void>;
}

/** First credit that this proxy gives to each side of a v1 stream. */
const WINDOW = 256 * 1024;
const MAX_DATA = 16 * 1024;

/** Bytes of one frame; `length` can lie. */
export function frame(
  type: string,
  id: number,
  payload: Uint8Array = Buffer.alloc(0),
  length = payload.length,
): Buffer {
  const header = Buffer.alloc(9);
  header.write(type, 0, 'latin1');
  header.writeUInt32BE(id, 1);
  header.writeUInt32BE(length, 5);
  return Buffer.concat([header, payload]);
}

/** Payload of N: the local port, and in v1 the credit for the agent's data towards the proxy's reader. */
export function openPayload(port: number, window?: number): Buffer {
  const payload = Buffer.alloc(window === undefined ? 2 : 6);
  payload.writeUInt16BE(port, 0);
  if (window !== undefined) payload.writeUInt32BE(window, 2);
  return payload;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export class RawProxy {
  readonly #options: RawProxyOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #publicPorts = new Set<PublicPort>();
  readonly #ready: RawAgent[] = [];
  #waiting: ((agent: RawAgent) => void)[] = [];
  /** Connections accepted so far, whatever they said. */
  connections = 0;
  /** The agents whose handshake was accepted, the newest last. */
  readonly agents: RawAgent[] = [];

  constructor(options: RawProxyOptions) {
    this.#options = options;
    const accept = (socket: Socket) => this.#accept(socket);
    this.#server = options.tls ? createTlsServer(options.tls, accept) : createServer(accept);
    this.#server.on('tlsClientError', () => {});
    // A TLS server counts and ends raw connections too.
    if (options.tls) this.#server.on('connection', (socket: Socket) => this.#own(socket));
  }

  listen(): Promise<this> {
    const { port = 0, host = '127.0.0.1' } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => resolve(this));
    });
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  #own(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#sockets.delete(socket));
  }

  #accept(socket: Socket): void {
    this.connections += 1;
    this.#own(socket);
    socket.setNoDelay(true);
    const agent = new RawAgent(socket, this.#options.pong ?? true);
    agent.onHello = () => {
      const { reply, mode } = this.#options;
      if (typeof reply === 'function') reply(agent);
      else if (reply !== undefined) agent.send(reply);
      else agent.accept(mode);
    };
    agent.onReady = () => {
      this.agents.push(agent);
      const waiting = this.#waiting.shift();
      if (waiting) waiting(agent);
      else this.#ready.push(agent);
    };
  }

  /** The next agent that was accepted (and, in v1, has sent its X), in order; each is given once. */
  nextAgent(): Promise<RawAgent> {
    const agent = this.#ready.shift();
    if (agent) return Promise.resolve(agent);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Listens on a free public port; each client becomes a stream to `localPort` of the newest agent. */
  async openPublicPort(localPort: number, host = '127.0.0.1'): Promise<PublicPort> {
    const clients = new Set<Socket>();
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      clients.add(client);
      client.once('close', () => clients.delete(client));
      const agent = this.agents.at(-1);
      if (agent === undefined || agent.ended) client.destroy();
      else pipeline(client, agent.open(localPort), client, () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    const address = server.address();
    const publicPort = {
      port: typeof address === 'object' && address !== null ? address.port : 0,
      close: () => {
        this.#publicPorts.delete(publicPort);
        for (const client of clients) client.destroy();
        return new Promise<void>((resolve) => server.close(() => resolve()));
      },
    };
    this.#publicPorts.add(publicPort);
    return publicPort;
  }

  /** Ends everything at once, as a killed proxy would. */
  async close(): Promise<void> {
    for (const publicPort of [...this.#publicPorts]) await publicPort.close();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

export function startRawProxy(options: RawProxyOptions): Promise<RawProxy> {
  return new RawProxy(options).listen();
}

/** The proxy's end of one agent connection. */
export class RawAgent {
  readonly socket: Socket;
  /** The agent's first line, without its end. */
  hello = '';
  mode: 'legacy' | 'v1' = 'legacy';
  /** The agent's X frame, once read. */
  settings: { v: number; maxStreams: number; window: number } | null = null;
  /** Frames that belong to no stream opened by `open`, and that no `expect` has taken. */
  readonly frames: RawFrame[] = [];
  readonly streams = new Map<number, RawStream>();
  pings = 0;
  ended = false;
  /** Resolves when the agent's connection is over. */
  readonly closed: Promise<void>;
  onHello: () => void = () => {};
  onReady: () => void = () => {};
  readonly #pong: boolean;
  readonly #expected: { matches: (frame: RawFrame) => boolean; resolve: (frame: RawFrame) => void }[] = [];
  #buffer: Buffer = Buffer.alloc(0);
  #nextId = 1;

  constructor(socket: Socket, pong: boolean) {
    this.socket = socket;
    this.#pong = pong;
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.ended = true;
        for (const stream of this.streams.values()) stream.destroy();
        resolve();
      });
    });
  }

  /** Sends an accepting reply. */
  accept(mode: 'legacy' | 'v1'): void {
    const { name } = JSON.parse(this.hello) as { name: string };
    const ext = mode === 'v1' ? { ext: { v: 1 } } : {};
    this.send(`${JSON.stringify({ status: 'authenticated', device_key: name, ...ext })}\n`);
    this.accepted(mode);
  }

  /** Tells that a scripted reply was an accepting one. */
  accepted(mode: 'legacy' | 'v1'): void {
    this.mode = mode;
    if (mode === 'legacy') this.onReady();
  }

  send(bytes: string | Uint8Array): void {
    if (!this.ended) this.socket.write(bytes);
  }

  sendFrame(type: string, id: number, payload?: Uint8Array): void {
    this.send(frame(type, id, payload));
  }

  /** The first frame of that kind, taken out of those received or awaited. Frames of `open`ed streams never appear. */
  expect(type: string, id?: number, timeoutMs = 15_000): Promise<RawFrame> {
    const matches = (each: RawFrame) => each.type === type && (id === undefined || each.id === id);
    const index = this.frames.findIndex(matches);
    const [found] = index === -1 ? [] : this.frames.splice(index, 1);
    if (found) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`no frame ${type} ${id ?? ''} within ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.#expected.push({
        matches,
        resolve: (each) => {
          clearTimeout(timer);
          resolve(each);
        },
      });
    });
  }

  /** Opens a stream to a local port of the agent, in the agent's mode. */
  open(port: number, id = this.#nextId++): RawStream {
    const stream = new RawStream(this, id);
    this.streams.set(id, stream);
    this.sendFrame('N', id, openPayload(port, this.mode === 'v1' ? WINDOW : undefined));
    return stream;
  }

  #received(chunk: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    if (this.hello === '') {
      const end = this.#buffer.indexOf('\n');
      if (end === -1) return;
      this.hello = this.#buffer.toString('utf8', 0, end);
      this.#buffer = this.#buffer.subarray(end + 1);
      this.onHello();
    }
    let at = 0;
    while (this.#buffer.length - at >= 9) {
      const length = this.#buffer.readUInt32BE(at + 5);
      if (this.#buffer.length - at - 9 < length) break;
      const type = this.#buffer.toString('latin1', at, at + 1);
      const id = this.#buffer.readUInt32BE(at + 1);
      this.#frame({ type, id, payload: this.#buffer.subarray(at + 9, at + 9 + length) });
      at += 9 + length;
    }
    this.#buffer = this.#buffer.subarray(at);
  }

  #frame(received: RawFrame): void {
    const stream = this.streams.get(received.id);
    if (received.type === 'P') {
      this.pings += 1;
      if (this.#pong) this.sendFrame('p', 0, received.payload);
    } else if (received.type === 'X' && this.settings === null) {
      this.settings = JSON.parse(received.payload.toString()) as NonNullable<RawAgent['settings']>;
      this.onReady();
    } else if (stream !== undefined) {
      stream.received(received);
    } else {
      const index = this.#expected.findIndex(({ matches }) => matches(received));
      const [expected] = index === -1 ? [] : this.#expected.splice(index, 1);
      if (expected) expected.resolve(received);
      else this.frames.push({ ...received, payload: Buffer.from(received.payload) });
    }
  }
}

/** The proxy's end of one stream. In legacy mode an end is a full close, as deployed proxies do it. */
export class RawStream extends Duplex {
  readonly id: number;
  /** Code of the A frame, once read; 0 is ok. */
  opened: number | null = null;
  /** The frame that ended the stream: 'C', 'R', or 'A' with its code. */
  endedBy: string | null = null;
  readonly #agent: RawAgent;
  #credit: number;
  #owed = 0;
  #blocked: (() => void) | null = null;
  #sentEnd = false;
  #sentFin = false;
  #readEnd = false;

  constructor(agent: RawAgent, id: number) {
    super({ allowHalfOpen: true });
    this.#agent = agent;
    this.id = id;
    this.#credit = agent.mode === 'v1' ? (agent.settings?.window ?? 0) : Number.POSITIVE_INFINITY;
    this.on('error', () => {});
  }

  received({ type, payload }: RawFrame): void {
    if (type === 'D' && !this.#readEnd) {
      this.#owed += payload.length;
      if (this.push(Buffer.from(payload))) this.#returnCredit();
    } else if (type === 'W') {
      this.#credit += payload.readUInt32BE();
      const blocked = this.#blocked;
      this.#blocked = null;
      blocked?.();
    } else if (type === 'A') {
      this.opened = payload.readUInt16BE();
      if (this.opened !== 0) this.#finish(`A${this.opened}`);
    } else if (type === 'F') {
      this.#endReading();
    } else if (type === 'C') {
      this.#endReading();
      this.#finish('C');
    } else if (type === 'R') {
      this.#finish(`R${payload.readUInt16BE()}`);
      this.destroy(new Error(`reset by the agent: ${payload.toString('utf8', 2)}`));
    }
  }

  #endReading(): void {
    if (!this.#readEnd) this.push(null);
    this.#readEnd = true;
  }

  #finish(how: string): void {
    this.endedBy = how;
    this.#sentEnd = true;
    this.#agent.streams.delete(this.id);
    this.emit('finishedByAgent', how);
    if (how.startsWith('A')) this.destroy();
    // After a full close nothing more can be sent; what was received is still there to read.
    else if (how === 'C') this.end();
  }

  override _read(): void {
    this.#returnCredit();
  }

  #returnCredit(): void {
    if (this.#agent.mode !== 'v1' || this.#owed < WINDOW / 2 || this.#sentEnd) return;
    this.#agent.sendFrame('W', this.id, u32(this.#owed));
    this.#owed = 0;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#send(chunk, done);
  }

  #send(chunk: Buffer, done: (error?: Error | null) => void): void {
    if (this.#sentEnd || this.#agent.ended) {
      done();
    } else if (this.#credit === 0) {
      this.#blocked = () => this.#send(chunk, done);
    } else {
      const size = this.#agent.mode === 'v1' ? Math.min(chunk.length, this.#credit, MAX_DATA) : chunk.length;
      this.#credit -= size;
      this.#agent.socket.write(frame('D', this.id, chunk.subarray(0, size)), (error) => {
        if (error || size === chunk.length) done();
        else this.#send(chunk.subarray(size), done);
      });
    }
  }

  override _final(done: () => void): void {
    this.#sentFin = true;
    if (!this.#sentEnd) this.#agent.sendFrame(this.#agent.mode === 'v1' ? 'F' : 'C', this.id);
    if (this.#agent.mode === 'legacy') {
      this.#sentEnd = true;
      this.#endReading(); // the agent need not answer a C
    }
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const over = this.#sentEnd || (this.#sentFin && this.#readEnd);
    if (!over) this.#agent.sendFrame('C', this.id);
    this.#sentEnd = true;
    this.#agent.streams.delete(this.id);
    this.#blocked?.();
    done(error);
  }
}
