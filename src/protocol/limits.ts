const KIB = 1024;
const MIB = 1024 * KIB;

/** Bounds of one session (README 5). */
export interface MuxLimits {
  /** Bytes that one legacy stream may keep waiting for its local end, and all of a session together. */
  streamQueueBytes: number;
  sessionQueueBytes: number;
  /** Streams whose id is in use at once. */
  maxStreams: number;
  /** First credit of each v1 stream towards us. */
  windowBytes: number;
  /** A legacy stream over its limit whose local end took no byte for so long is closed. */
  stalledMs: number;
  /** Silence before a ping, and how long it may stay unanswered. */
  pingAfterMs: number;
  pingDeadlineMs: number;
  /** How long our own close waits for what is queued and for the peer. */
  closeMs: number;
}

/** Numbers of the wire contract where README 5 names them; a close of 2 s is what a service stop leaves us. */
export const DEVICE_LIMITS: MuxLimits = {
  streamQueueBytes: 4 * MIB,
  sessionQueueBytes: 16 * MIB,
  maxStreams: 64,
  windowBytes: 256 * KIB,
  stalledMs: 2_000,
  pingAfterMs: 10_000,
  pingDeadlineMs: 15_000,
  closeMs: 2_000,
};

export const GATEWAY_LIMITS: MuxLimits = {
  ...DEVICE_LIMITS,
  streamQueueBytes: 8 * MIB,
  sessionQueueBytes: 64 * MIB,
};
