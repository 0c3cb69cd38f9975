import fc from 'fast-check';
import t from 'tap';
import type { Link, LocalEnd, LocalEvents } from '../../src/protocol/endpoints.ts';
import { DEVICE_LIMITS } from '../../src/protocol/limits.ts';
import { Mux } from '../../src/protocol/mux.ts';
import type { Failure } from '../../src/support/failures.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { Lender } from './helpers.ts';

/**
 * Two sessions joined in memory. Nothing calls back at once: each effect is a task, and the test's random numbers
 * decide which link carries how many bytes next, which service takes its bytes, and when.
 */
class World {
  readonly clock = new FakeClock();
  /** Each chunk lies in a large buffer, spoiled on release, as in a socket's pool. */
  readonly lender = new Lender(8 * 1024);
  readonly links = { agent: new WireEnd(this), gateway: new WireEnd(this) };
  readonly agent: Mux;
  readonly gateway: Mux;
  readonly connections: Connection[] = [];
  readonly ends: (Failure | null)[] = [];
  #tasks: (() => void)[] = [];
  maxIncomingBytes = 0;
  maxOutgoingBytes = 0;

  constructor(v1: boolean) {
    const events = {
      ended: (failure: Failure | null) => this.ends.push(failure),
      goingAway: () => undefined,
      note: () => undefined,
    };
    const common = { v1, clock: this.clock, events, limits: { ...DEVICE_LIMITS, ...LIMITS } };
    this.gateway = new Mux({ ...common, role: 'gateway', link: this.links.gateway });
    this.agent = new Mux({
      ...common,
      role: 'agent',
      link: this.links.agent,
      openLocal: (port, local) => {
        const connection = this.connections[port]!;
        connection.service = new WorldEnd(this, local, port * 2 + 1);
        this.later(() => local.opened());
        return connection.service;
      },
    });
    this.links.agent.join(this.agent, this.gateway);
    this.links.gateway.join(this.gateway, this.agent);
  }

  later(task: () => void): void {
    this.#tasks.push(task);
  }

  runTasks(): void {
    while (this.#tasks.length > 0) {
      const tasks = this.#tasks;
      this.#tasks = [];
      for (const task of tasks) task();
    }
    for (const mux of [this.agent, this.gateway]) {
      const { incomingBytes, outgoingBytes } = mux.stats();
      this.maxIncomingBytes = Math.max(this.maxIncomingBytes, incomingBytes);
      this.maxOutgoingBytes = Math.max(this.maxOutgoingBytes, outgoingBytes);
    }
  }

  open(): void {
    const connection = new Connection();
    // The port is the connection's number, by which the agent's side finds it.
    this.connections.push(connection);
    const number = this.connections.length - 1;
    this.gateway.openStream(number, (events) => {
      connection.client = new WorldEnd(this, events, number * 2);
      return connection.client;
    });
  }

  /** Everybody takes what comes, until nothing moves any more. */
  settle(): void {
    for (let moved = true; moved; ) {
      this.runTasks();
      moved = this.links.agent.carry(100_000) || this.links.gateway.carry(100_000);
      for (const end of this.connections.flatMap((connection) => connection.ends)) {
        end.slow = false;
        moved = end.take(100_000) || moved;
      }
    }
    this.runTasks();
  }
}

const LIMITS = { windowBytes: 20_000, streamQueueBytes: 60_000, sessionQueueBytes: 240_000 };

class WireEnd implements Link {
  queuedBytes = 0;
  paused = false;
  readonly #world: World;
  #chunks: { bytes: Uint8Array; done: (() => void) | undefined }[] = [];
  #self: Mux | null = null;
  #peer: Mux | null = null;
  #peerLink: WireEnd | null = null;
  #ended = false;
  #gone = false;

  constructor(world: World) {
    this.#world = world;
  }
  join(self: Mux, peer: Mux): void {
    this.#self = self;
    this.#peer = peer;
    const { agent, gateway } = this.#world.links;
    this.#peerLink = this === agent ? gateway : agent;
  }
  write(chunks: readonly Uint8Array[], done?: () => void): void {
    for (const bytes of chunks) this.queuedBytes += bytes.length;
    chunks.forEach((bytes, index) => {
      this.#chunks.push({ bytes, done: index === chunks.length - 1 ? done : undefined });
    });
    if (this.#gone) this.#world.later(() => this.#drop());
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  end(): void {
    this.#ended = true;
    this.#world.later(() => this.carry(0));
  }
  destroy(): void {
    this.#goneBoth();
  }

  /** Takes up to `most` bytes to the peer, in one chunk; tells whether anything moved. */
  carry(most: number): boolean {
    if (this.#gone || this.#peerLink?.paused) return false;
    const first = this.#chunks[0];
    if (first === undefined) {
      if (this.#ended) this.#goneBoth();
      return false;
    }
    const parts: Uint8Array[] = [];
    for (let room = most; room > 0 && this.#chunks.length > 0; ) {
      const chunk = this.#chunks[0]!;
      const part = Buffer.from(chunk.bytes.subarray(0, room));
      parts.push(part);
      room -= part.length;
      this.queuedBytes -= part.length;
      chunk.bytes = chunk.bytes.subarray(part.length);
      if (chunk.bytes.length > 0) break;
      this.#chunks.shift();
      chunk.done?.();
    }
    this.#world.lender.lend(Buffer.concat(parts), (lease) => this.#peer?.receive(lease));
    if (this.queuedBytes === 0) this.#self?.drained();
    return true;
  }

  #goneBoth(): void {
    for (const link of [this, this.#peerLink]) {
      if (link === null || link.#gone) continue;
      link.#gone = true;
      this.#world.later(() => {
        link.#drop();
        link.#self?.linkEnded(null);
      });
    }
  }
  #drop(): void {
    for (const { done } of this.#chunks.splice(0)) done?.();
    this.queuedBytes = 0;
  }
}

/** A client of the gateway or a service of the device, as the test plays it. */
class WorldEnd implements LocalEnd {
  slow = false;
  paused = false;
  sent = 0;
  received = 0;
  mixed = false;
  finished = false;
  ended = false;
  destroyed = false;
  readonly #world: World;
  readonly #events: LocalEvents;
  #queue: { bytes: Uint8Array; done: () => void }[] = [];
  #gone = false;

  /** Which sequence of bytes this end sends; its peer's number differs in the last bit. */
  readonly #seed: number;

  constructor(world: World, events: LocalEvents, seed: number) {
    this.#world = world;
    this.#events = events;
    this.#seed = seed;
  }
  write(bytes: Uint8Array, done: () => void): void {
    this.#queue.push({ bytes, done });
  }
  end(): void {
    this.ended = true;
    this.#world.later(() => this.#closeWhenBothEnded());
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  destroy(): void {
    this.destroyed = true;
    this.#gone = true;
    this.#world.later(() => {
      for (const { done } of this.#queue.splice(0)) done();
    });
  }

  /** Sends the next `length` bytes of this end's sequence, in pieces of `piece`. */
  send(length: number, piece: number): void {
    for (let left = length; left > 0 && !this.#gone && !this.finished && !this.paused; ) {
      const bytes = Buffer.alloc(Math.min(left, piece));
      for (let index = 0; index < bytes.length; index += 1) bytes[index] = sequence(this.#seed, this.sent + index);
      this.sent += bytes.length;
      left -= bytes.length;
      this.#world.lender.lend(bytes, (lease) => this.#events.data(lease));
    }
  }
  /** The program behind this end reads, and checks what it reads against the other end's sequence. */
  take(most: number): boolean {
    let moved = false;
    for (let left = most; left > 0 && !this.slow && this.#queue.length > 0; ) {
      const { bytes, done } = this.#queue.shift()!;
      if (!this.#gone) {
        for (const byte of bytes) {
          if (byte !== sequence(this.#seed ^ 1, this.received)) this.mixed = true;
          this.received += 1;
        }
      }
      left -= bytes.length;
      moved = true;
      done();
    }
    this.#closeWhenBothEnded();
    return moved;
  }
  /** The program sends its FIN. */
  finish(): void {
    if (this.#gone || this.finished) return;
    this.finished = true;
    this.#events.ended();
    this.#closeWhenBothEnded();
  }
  /** The connection breaks. */
  break(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#events.closed(new Error('ECONNRESET'));
    for (const { done } of this.#queue.splice(0)) done();
  }
  #closeWhenBothEnded(): void {
    if (!this.ended || !this.finished || this.#queue.length > 0 || this.#gone) return;
    this.#gone = true;
    this.#events.closed(null);
  }
}

class Connection {
  client: WorldEnd | null = null;
  service: WorldEnd | null = null;
  broken = false;

  get ends(): WorldEnd[] {
    return [this.client, this.service].filter((end) => end !== null);
  }
}

/** Differs from connection to connection and from direction to direction, so that mixed bytes are seen. */
function sequence(seed: number, index: number): number {
  return (index * 7 + (index >> 8) * 31 + seed * 101) & 0xff;
}

const which = fc.nat({ max: 5 });
const side = fc.constantFrom('client', 'service');
const action = fc.oneof(
  { weight: 2, arbitrary: fc.record({ do: fc.constant('open') }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('send'),
      which,
      side,
      length: fc.integer({ min: 1, max: 40_000 }),
      piece: fc.constantFrom(30_000, 5_000, 700),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('carry'),
      from: fc.constantFrom('agent', 'gateway'),
      most: fc.integer({ min: 1, max: 50_000 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('take'), which, side, most: fc.integer({ min: 1, max: 30_000 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('slow'), which, side }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('finish'), which, side }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('break'), which, side }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('wait'), ms: fc.nat({ max: 1500 }) }) },
);

type Action = {
  do: string;
  which?: number;
  side?: string;
  length?: number;
  piece?: number;
  from?: string;
  most?: number;
  ms?: number;
};

function perform(world: World, step: Action): void {
  if (step.do === 'open') world.open();
  if (step.do === 'carry') world.links[step.from === 'agent' ? 'agent' : 'gateway'].carry(step.most ?? 0);
  if (step.do === 'wait') world.clock.advance(step.ms ?? 0);
  const connection = world.connections[step.which ?? -1];
  const end = step.side === 'client' ? connection?.client : connection?.service;
  if (connection !== undefined && end) {
    if (step.do === 'send') end.send(step.length ?? 0, step.piece ?? 1);
    if (step.do === 'take') end.take(step.most ?? 0);
    if (step.do === 'slow') end.slow = true;
    if (step.do === 'finish') end.finish();
    if (step.do === 'break') {
      connection.broken = true;
      end.break();
    }
  }
  world.runTasks();
}

function check(v1: boolean, steps: Action[]): void {
  const world = new World(v1);
  // X is on its way before the first stream, so that all of them are of one kind.
  world.settle();
  for (const step of [{ do: 'open' }, { do: 'open' }, ...steps]) perform(world, step);
  world.settle();

  world.connections.forEach(({ client, service, broken }, index) => {
    const name = `connection ${index}: ${JSON.stringify({ client, service, broken })}`;
    for (const end of [client, service]) if (end?.mixed) throw new Error(`bytes of others, or lost ones, in ${name}`);
    if (!client || !service) return;
    if (client.received > service.sent || service.received > client.sent)
      throw new Error(`more than was sent in ${name}`);
    // A legacy service may have been cut off as stalled while it was slow; a broken end is a reset: both may lose bytes.
    if (broken || client.destroyed || service.destroyed) return;
    // In v1 every byte arrives; in legacy the end of one side is the end of both, and only that side's bytes all arrive.
    const firstEnded = client.finished || service.finished;
    if (service.received !== client.sent && (v1 || !firstEnded)) throw new Error(`bytes lost in ${name}`);
    if (client.received !== service.sent && (v1 || !firstEnded)) throw new Error(`bytes lost in ${name}`);
    if (firstEnded && !(client.ended || service.ended)) throw new Error(`an end was lost in ${name}`);
  });
  // Queues: v1 by credit; legacy by the limits and one chunk. Towards the link: the bound and one read a stream.
  const streams = world.connections.length;
  const incomingMax = v1 ? streams * LIMITS.windowBytes : LIMITS.sessionQueueBytes + 100_000;
  if (world.maxIncomingBytes > incomingMax) throw new Error(`${world.maxIncomingBytes} bytes queued for local ends`);
  if (world.maxOutgoingBytes > streams * 300_000)
    throw new Error(`${world.maxOutgoingBytes} bytes queued for the link`);
  if (world.ends.length > 0) throw new Error(`ended: ${world.ends[0]?.message}`);

  world.gateway.close('shutdown');
  world.settle();
  world.clock.advance(60_000);
  world.settle();
  if (world.ends.length !== 2) throw new Error('a session did not end once');
  if (world.agent.stats().streams + world.agent.stats().closing > 0) throw new Error('streams left on the agent');
  if (world.gateway.stats().streams + world.gateway.stats().closing > 0) throw new Error('streams left on the gateway');
  if (world.agent.stats().incomingBytes + world.gateway.stats().incomingBytes > 0) throw new Error('bytes left');
  if (world.lender.held > 0) throw new Error(`${world.lender.held} leases left`);
  if (world.clock.pending > 0) throw new Error(`${world.clock.pending} timers left`);
}

for (const v1 of [true, false]) {
  t.test(
    `property: two ends in memory, ${v1 ? 'v1' : 'legacy'}: every stream gets its own bytes, all is given back`,
    async (t) => {
      fc.assert(
        fc.property(fc.array(action, { minLength: 10, maxLength: 200, size: 'max' }), (steps) => check(v1, steps)),
        { numRuns: 150 },
      );
      t.pass();
    },
  );
}

t.test('trap: both sides blocked writing still read, and all arrives', async (t) => {
  for (const v1 of [true, false]) {
    const world = new World(v1);
    world.settle();
    for (let index = 0; index < 6; index += 1) perform(world, { do: 'open' });
    world.settle();
    // Neither link takes a byte while both sides fill it from every stream.
    for (let index = 0; index < 6; index += 1) {
      for (const side of ['client', 'service']) {
        perform(world, { do: 'send', which: index, side, length: 200_000, piece: 30_000 });
      }
    }
    world.settle();
    for (const { client, service } of world.connections) {
      t.ok(client && service && client.sent > 100_000 && service.sent > 100_000);
      t.equal(service?.received, client?.sent);
      t.equal(client?.received, service?.sent);
      t.notOk(client?.mixed || service?.mixed);
    }
    world.agent.destroy();
    world.gateway.destroy();
    world.settle();
    t.equal(world.lender.held, 0);
    t.equal(world.clock.pending, 0);
  }
});
