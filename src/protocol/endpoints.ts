/**
 * The two sides that a session touches, as small interfaces: the link below (one TCP or TLS connection between agent
 * and proxy) and the local ends above (one connection each to a service of this device). The session knows no socket.
 */

/**
 * Bytes lent from a pooled read buffer. They may be kept beyond the call only after `retain()`, and every `retain()`
 * is matched by one `release()`; the buffer is read into again once nobody holds it.
 */
export interface Lease {
  readonly bytes: Buffer;
  retain(): void;
  release(): void;
}

/** The connection that carries the frames. Bytes arrive through `Mux.receive`. */
export interface Link {
  /**
   * Queues the chunks, in order, as one write. `done` runs exactly once, when the kernel has taken them or the link
   * has gone; the `done`s run in the order of the writes. Never throws and never calls back into the session
   * synchronously, `done` included.
   */
  write(chunks: readonly Uint8Array[], done?: () => void): void;
  /** Bytes accepted by `write` that the kernel has not taken yet. `Mux.drained` is called when it falls to 0. */
  readonly queuedBytes: number;
  /** Stops and starts reading. */
  pause(): void;
  resume(): void;
  /** Writes what is queued, then ends the connection. */
  end(): void;
  /** Ends the connection at once. */
  destroy(): void;
}

/** One connection to a local service, made by an `OpenLocal`. */
export interface LocalEnd {
  /** Queues bytes towards the service; before the connection stands they wait. `done` as for `Link.write`. */
  write(bytes: Uint8Array, done: () => void): void;
  /**
   * Bytes given to `write` that the service has not taken yet, the kernel's send queue included where the platform
   * tells it (Linux: tx_queue in /proc/net/tcp). Asked at most twice a second, and only of a connection that is in
   * arrears: it tells a slow service from a stalled one. Where it is absent, a finished write is the only sign of life.
   */
  untakenBytes?(): number;
  /** Half-close towards the service, after what is queued. */
  end(): void;
  /** Stops and starts reading from the service. */
  pause(): void;
  resume(): void;
  /** Closes both directions at once and drops what is queued; no event follows, but every `done` still runs. */
  destroy(): void;
}

/** What a local end reports; each of `opened`, `failed`, `ended`, `closed` at most once, none synchronously. */
export interface LocalEvents {
  opened(): void;
  /** The connection could not be made; nothing else follows. */
  failed(result: 'refused' | 'timeout' | 'not-allowed', sentence: string): void;
  /** Bytes from the service, lent (see `Lease`). */
  data(lease: Lease): void;
  /** The service finished sending (FIN); the other direction may go on. */
  ended(): void;
  /** Both directions are over; `error` is null after an orderly end. Nothing else follows. */
  closed(error: Error | null): void;
}

/** Starts a connection to a local port; returns at once. */
export type OpenLocal = (port: number, events: LocalEvents) => LocalEnd;
