import type { Socket } from 'node:net';
import type { EndReason, EntryName, Service } from './types.ts';

/** For people and metrics. */
export interface SessionFacts {
  /** `v1`, `legacy`, or what an SSH client calls itself. */
  readonly client: string;
  /** Streams that are open now, and all that were. */
  readonly streams: number;
  readonly opened: number;
}

/** A device that is connected, whichever way it came: one connection of one of the entries. */
export interface Session {
  readonly deviceKey: string;
  readonly entry: EntryName;
  /** Where it comes from. */
  readonly address: string;
  /** Wall clock, for people. */
  readonly connectedAtMs: number;
  facts(): SessionFacts;
  /** Why a connection to that service could not be carried now, as a sentence; null where it could. */
  refusal(service: Service): string | null;
  /**
   * Joins a connection that was accepted at the public port, and not read yet, to the service on the device. The socket
   * is the session's from here, until its close: also where the device then refuses. Its options are set: half-open
   * allowed, without delay, with keepalive.
   */
  carry(service: Service, socket: Socket): void;
  /**
   * Ends the session, telling the device why where its protocol can. It takes nothing further from this call on, and its
   * connections are gone within 2 s. A second call does nothing. The session reports its end itself, once, to
   * `SessionHost.ended`, also when this was what ended it, with this reason.
   */
  end(reason: EndReason): void;
  /**
   * The gateway stops soon: nothing new is opened; what is open may finish, then the session ends with `shutdown`. A
   * v1 agent is told to come back between the two times.
   */
  drain(comeBack: { readonly minMs: number; readonly maxMs: number }): void;
}
