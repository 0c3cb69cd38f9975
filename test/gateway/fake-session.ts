import { EventEmitter, once } from 'node:events';
import type { Socket } from 'node:net';
import type { Session, SessionFacts } from '../../src/gateway/session.ts';
import type { EndReason, EntryName, Service } from '../../src/gateway/types.ts';

export interface Carried {
  service: Service;
  socket: Socket;
}

/** A session without a device: it keeps what it is given, for the test to look at. */
export class FakeSession implements Session {
  readonly deviceKey: string;
  readonly entry: EntryName;
  readonly address = '127.0.0.9';
  readonly connectedAtMs = 0;
  /** Names of services that it cannot carry. */
  readonly refused = new Set<string>();
  /** Sends back what it is sent, half-close included; before the first connection. */
  echo = false;
  /** What `carry` throws. */
  fault: Error | null = null;
  /** Called by `end`, the first time only, as an entry calls `SessionHost.ended`: at once, or later. */
  onEnd: (reason: EndReason) => void = () => {};
  /** Every reason that it was told, in order; the first is the one. */
  readonly ends: EndReason[] = [];
  readonly drains: { minMs: number; maxMs: number }[] = [];
  readonly carried: Carried[] = [];
  readonly #open = new Set<Socket>();
  readonly #events = new EventEmitter();
  #given = 0;

  constructor(deviceKey: string, entry: EntryName = 'agent') {
    this.deviceKey = deviceKey;
    this.entry = entry;
  }

  facts(): SessionFacts {
    return { client: 'fake', streams: this.#open.size, opened: this.carried.length };
  }

  refusal(service: Service): string | null {
    if (this.ends.length > 0) return 'the session is over';
    return this.refused.has(service.name) ? `${service.name} is not forwarded` : null;
  }

  carry(service: Service, socket: Socket): void {
    if (this.fault !== null) throw this.fault;
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    if (this.echo) socket.pipe(socket);
    this.carried.push({ service, socket });
    this.#events.emit('carried');
  }

  /** The next connection that was not given out yet, in order. */
  async next(): Promise<Carried> {
    const index = this.#given++;
    for (;;) {
      const carried = this.carried[index];
      if (carried !== undefined) return carried;
      await once(this.#events, 'carried');
    }
  }

  end(reason: EndReason): void {
    this.ends.push(reason);
    if (this.ends.length > 1) return;
    for (const socket of this.#open) socket.destroy();
    this.onEnd(reason);
  }

  drain(comeBack: { readonly minMs: number; readonly maxMs: number }): void {
    this.drains.push({ ...comeBack });
  }
}
