import type { Session } from './session.ts';
import type { Device, EndReason, EntryName, Service } from './types.ts';

/** A place in the crowd before authentication, for one connection. Both calls may be repeated; `leave` ends all. */
export interface Place {
  /** Authentication ended: the place is free for another, however long the session lasts. */
  leave(): void;
}

/** A refusal that may be told to the peer: precise only once its token was right. */
export interface Refusal {
  /** `invalid` for an unknown device and a wrong token alike. */
  readonly code: 'invalid' | 'paused' | 'unauthorized' | 'busy';
  /** A sentence for the peer and for the audit, without anything secret. */
  readonly reason: string;
}

export type Authentication = { readonly device: Device } | { readonly refusal: Refusal };

/**
 * What an entry is given of the gateway. An entry accepts connections, speaks its protocol, and knows nothing of ports,
 * files, or the other entry.
 */
export interface EntryHost {
  /**
   * Asks for a place for a connection that was just accepted, before a byte is read: at once, later (known devices wait
   * their turn when many come together), or null where it is to be closed. `signal` tells that the peer has gone.
   */
  admit(entry: EntryName, address: string, signal: AbortSignal): Promise<Place | null>;
  /** Agent entry. Takes its time with wrong answers, and counts them; an error of the store is a refusal `busy`. */
  authenticateAgent(claim: { deviceKey: string; token: string; address: string }): Promise<Authentication>;
  /** SSH entry: the user name is the token. */
  authenticateToken(claim: { token: string; address: string }): Promise<Authentication>;
  /** A refusal that the entry itself decided: a broken handshake, a deadline. For the audit and the metrics. */
  rejected(entry: EntryName, address: string, reason: string): void;
  /**
   * The device is online through this session. One that was is ended first (`session_replaced`); then its ports are the
   * new session's. False where that is no longer allowed (removed, paused since), or the gateway stops: end it.
   *
   * @param device as authentication gave it: a session whose token was changed since is not let in
   */
  started(session: Session, device: Device): boolean;
  /** The session is over; only the session that was started counts, never its successor's place. */
  ended(session: Session, reason: EndReason, detail: string | null): void;
  /**
   * SSH entry: the public port of the nth service listens from now on for this session. Gives the port.
   *
   * @throws Failure `gateway.no-port`, `gateway.port-taken`, `gateway.cannot-listen`, `gateway.store-failed`,
   * `gateway.session-over`
   */
  forward(session: Session, service: Service): Promise<number>;
  /** SSH entry: `cancel-tcpip-forward`; open connections go on. */
  cancelForward(session: Session, service: Service): void;
  /** SSH entry: the port that belongs to this device's service, where one was ever assigned. */
  assignedPort(deviceKey: string, service: string): number | null;
}
