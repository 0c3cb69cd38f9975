import type { FailureCode } from '../support/failures.ts';
import { ByteQueue } from './byte-queue.ts';
import { encodeAnswer, encodeClose, encodeCredit, encodeEnd, encodeHeader, encodeReset } from './encode.ts';
import type { Lease, LocalEnd, LocalEvents, OpenLocal } from './endpoints.ts';
import type { Source } from './sender.ts';
import {
  codeName,
  LEGACY_DATA_MAX_BYTES,
  OPEN_RESULT,
  RESET,
  type ResetCode,
  TYPE,
  U32_MAX,
  V1_DATA_MAX_BYTES,
} from './types.ts';

/** Above this, a service that sends faster than the link takes is not read from; below half of it, it is again. */
const OUTGOING_MAX_BYTES = 256 * 1024;
/** How much, in bytes and in writes, a local end is given at once; what comes meanwhile waits here, small pieces joined. */
const LOCAL_WRITE_MAX_BYTES = 256 * 1024;
const LOCAL_WRITES_MAX = 64;
/** Empty D frames in a row that a v1 stream may carry: they cost no credit, so they have a budget (README 4.6). */
const EMPTY_DATA_MAX_FRAMES = 1000;

/** How a gateway names the results of A. */
const OPEN_FAILURES: ReadonlyMap<number, FailureCode> = new Map([
  [OPEN_RESULT.refused, 'target.refused'],
  [OPEN_RESULT.timeout, 'target.timeout'],
  [OPEN_RESULT['not-allowed'], 'target.not-allowed'],
  [OPEN_RESULT.limit, 'stream.limit'],
]);

/** What a stream may ask of its session. */
export interface StreamHost {
  /** Sends a frame ahead of all data. */
  control(frame: Buffer): void;
  /** The stream may have become sendable. */
  ready(stream: Stream): void;
  /** `bytes` more (or, negative, fewer) wait for the local end. */
  incomingChanged(stream: Stream, bytes: number): void;
  /** The id is free: no frame of this stream follows. The local end may still be writing what came. */
  released(stream: Stream): void;
  /** The id is free and the local end is gone. */
  over(stream: Stream): void;
  /** @param port of the local service that it is about, where one failed */
  note(code: FailureCode, sentence: string, port?: number): void;
}

/** Flow control of a v1 stream (README 4.9); legacy streams have none. */
export interface StreamCredit {
  /** What we may send at first. */
  sendBytes: number;
  /** What the peer may send at first; given back in batches of half of it. */
  windowBytes: number;
}

export interface StreamOptions {
  id: number;
  port: number;
  /** Null makes a legacy stream. */
  credit: StreamCredit | null;
  /** The agent tells the result of an open; the gateway asked for it. */
  answersOpen: boolean;
  host: StreamHost;
}

/**
 * One connection through the tunnel, between its id on the link and its local end. Each side ends by itself: the id
 * is released once no frame of it follows, the local end is gone once it is closed; the stream is over after both.
 */
export class Stream implements Source {
  readonly id: number;
  readonly v1: boolean;
  /** Of the local service. */
  readonly port: number;
  readonly #host: StreamHost;
  readonly #answersOpen: boolean;

  /** From the link to the local end, and the other way. */
  readonly #incoming = new ByteQueue();
  readonly #outgoing = new ByteQueue();
  #sendCredit: number;
  readonly #windowBytes: number;
  /** What the peer may still send, and what has drained since the last W. */
  #receiveCredit: number;
  #drainedBytes = 0;
  #emptyFrames = 0;

  #local: LocalEnd | null = null;
  #localPaused = false;
  /** Our wish to half-close the local end once all that came has been written, and whether that was done. */
  #endLocal: 'no' | 'wanted' | 'done' = 'no';

  #onWire = true;
  #answered = false;
  /** The frame that goes behind our last data: F, C or R. */
  #tail: Buffer | null = null;
  #sending: 'open' | 'ended' | 'closed' = 'open';
  #peerEnded = false;

  /** When the local end last took bytes, and how many it had taken until then. */
  #takenAtMs = 0;
  #takenBytes: number | null = 0;

  constructor(options: StreamOptions) {
    this.id = options.id;
    this.v1 = options.credit !== null;
    this.port = options.port;
    this.#host = options.host;
    this.#answersOpen = options.answersOpen;
    this.#sendCredit = options.credit?.sendBytes ?? Number.POSITIVE_INFINITY;
    this.#windowBytes = options.credit?.windowBytes ?? Number.POSITIVE_INFINITY;
    this.#receiveCredit = this.#windowBytes;
  }

  /** Connects the local side; bytes may arrive for it before the connection stands. */
  start(open: OpenLocal): void {
    const events: LocalEvents = {
      opened: () => this.#localOpened(),
      failed: (result, sentence) => this.#localFailed(result, sentence),
      data: (lease) => this.#localData(lease),
      ended: () => this.#localEnded(),
      closed: (error) => this.#localClosed(error),
    };
    this.#local = open(this.port, events);
  }

  /** Bytes from the link that the local end has not taken. */
  get incomingBytes(): number {
    return this.#incoming.bytes;
  }

  /** Bytes from the local end that the link has not taken. */
  get outgoingBytes(): number {
    return this.#outgoing.bytes;
  }

  /** For sentences. */
  get name(): string {
    return `stream ${this.id} to port ${this.port}`;
  }

  /** Whether the open has been answered: by the local end on an agent, by A on a gateway. */
  get answered(): boolean {
    return this.#answered;
  }

  // What the peer says -----------------------------------------------------------------------------------------------

  /** A D of `length` bytes begins. */
  peerDataBegin(length: number): void {
    if (!this.v1 || !this.#onWire) return;
    if (length > V1_DATA_MAX_BYTES) {
      this.reset(RESET.dataTooLong, `D of ${length} bytes, at most ${V1_DATA_MAX_BYTES} are allowed`);
      return;
    }
    if (this.#peerEnded) {
      this.reset(RESET.dataAfterEnd, 'D after F');
      return;
    }
    if (length > this.#receiveCredit) {
      this.reset(RESET.creditOverspent, `D of ${length} bytes, ${this.#receiveCredit} bytes of credit are left`);
      return;
    }
    this.#receiveCredit -= length;
    this.#emptyFrames = length === 0 ? this.#emptyFrames + 1 : 0;
    if (this.#emptyFrames > EMPTY_DATA_MAX_FRAMES) {
      this.reset(RESET.protocolError, `more than ${EMPTY_DATA_MAX_FRAMES} empty D in a row`);
    }
  }

  /** The next bytes of that D, which lie in `lease`. */
  peerData(bytes: Buffer, lease: Lease): void {
    if (!this.#onWire || this.#local === null || this.#endLocal !== 'no') return;
    this.#incoming.push(bytes, lease);
    this.#host.incomingChanged(this, bytes.length);
    this.#writeLocal();
  }

  /** F: no D follows. */
  peerEnd(): void {
    if (this.#peerEnded) return;
    this.#peerEnded = true;
    this.#wantLocalEnd();
    // Both directions have ended in order, so no C is needed.
    if (this.#sending === 'ended' && this.#tail === null) this.#release();
  }

  /** C: what came is still written to the service, what waits for the peer is dropped (README 3.4). */
  peerClose(): void {
    this.#release();
    this.#wantLocalEnd();
    // The end of a service that is not read from would never be seen.
    this.#resumeLocal();
  }

  /** R: everything is dropped. */
  peerReset(): void {
    this.destroyLocal();
    this.#release();
  }

  peerCredit(bytes: number): void {
    this.#sendCredit += bytes;
    if (this.#sendCredit > U32_MAX) {
      this.reset(RESET.creditOverflow, `W of ${bytes} bytes raises the credit over ${U32_MAX}`);
      return;
    }
    this.#host.ready(this);
  }

  /** A, on a gateway; false where none is due. */
  peerAnswer(result: number, text: string): boolean {
    if (!this.v1 || this.#answersOpen || this.#answered) return false;
    this.#answered = true;
    if (result === OPEN_RESULT.ok) return true;
    const reason = `${codeName(OPEN_RESULT, result)}${text === '' ? '' : ` (${text})`}`;
    this.#host.note(OPEN_FAILURES.get(result) ?? 'target.refused', `${this.name} was not opened: ${reason}`);
    this.peerReset();
    return true;
  }

  // What the local end says ------------------------------------------------------------------------------------------

  #localOpened(): void {
    // A gateway's local end stood before; what it waits for is the A of the agent.
    if (!this.#answersOpen) return;
    this.#answered = true;
    if (this.v1 && this.#onWire) this.#host.control(encodeAnswer(this.id, OPEN_RESULT.ok, ''));
  }

  #localFailed(result: 'refused' | 'timeout' | 'not-allowed', sentence: string): void {
    this.#answered = true;
    this.#host.note(`target.${result}`, `${this.name}: ${sentence}`, this.port);
    this.#localGone();
    if (this.#onWire && this.v1 && this.#answersOpen) {
      this.#host.control(encodeAnswer(this.id, OPEN_RESULT[result], sentence));
      this.#release();
    } else if (this.#onWire) {
      this.#closeAfterData(encodeClose(this.id));
    } else {
      this.#host.over(this);
    }
  }

  #localData(lease: Lease): void {
    if (!this.#onWire || this.#sending !== 'open' || lease.bytes.length === 0) return;
    this.#outgoing.push(lease.bytes, lease);
    this.#host.ready(this);
    if (this.#outgoing.bytes >= OUTGOING_MAX_BYTES && !this.#localPaused) {
      this.#localPaused = true;
      this.#local?.pause();
    }
  }

  #localEnded(): void {
    if (!this.#onWire || this.#sending !== 'open') return;
    if (!this.v1) {
      this.close();
      return;
    }
    this.#sending = 'ended';
    this.#tail = encodeEnd(this.id);
    this.#host.ready(this);
  }

  #localClosed(error: Error | null): void {
    this.#localGone();
    if (!this.#onWire) {
      this.#host.over(this);
      return;
    }
    if (this.#sending === 'closed') return;
    if (this.v1 && error !== null) {
      // In its turn behind the data that the service did send: what came before the error is delivered.
      this.#closeAfterData(encodeReset(this.id, RESET.localError, error.message));
      return;
    }
    if (this.v1 && this.#sending === 'ended' && this.#peerEnded) return;
    this.#closeAfterData(encodeClose(this.id));
  }

  /** The local end is over: what waits for it has nowhere to go. */
  #localGone(): void {
    this.#local = null;
    const dropped = this.#incoming.clear();
    if (dropped > 0) this.#host.incomingChanged(this, -dropped);
  }

  // What the session decides -----------------------------------------------------------------------------------------

  /** Full close in order: our data, then C; the service gets what came for it, then its end. */
  close(): void {
    this.#closeAfterData(encodeClose(this.id));
    this.#wantLocalEnd();
    this.#resumeLocal();
  }

  /** Reset of both sides: what is queued is dropped, the peer is told why. */
  reset(code: ResetCode, text: string): void {
    this.#host.note('stream.reset', `${this.name} was reset: ${text}`);
    this.#host.control(encodeReset(this.id, code, text));
    this.peerReset();
  }

  /** The service took nothing for too long: it is cut off, the peer gets the data that it did send, then C. */
  cutLocal(): void {
    this.destroyLocal();
    if (this.#onWire) this.#closeAfterData(encodeClose(this.id));
    else this.#host.over(this);
  }

  /** Closes the local end at once. The writes it had are still reported done, by its contract. */
  destroyLocal(): void {
    const local = this.#local;
    if (local === null) return;
    this.#localGone();
    local.destroy();
  }

  /** Starts to watch whether the local end takes bytes. To ask it costs something; `later` leaves that to `idleMs`. */
  watch(nowMs: number, { later }: { later: boolean }): void {
    this.#takenAtMs = nowMs;
    this.#takenBytes = later ? null : this.#countTaken();
  }

  /** For how long the local end has taken nothing, as seen by the calls of this method. */
  idleMs(nowMs: number): number {
    const taken = this.#countTaken();
    if (this.#takenBytes !== null && taken !== this.#takenBytes) this.#takenAtMs = nowMs;
    this.#takenBytes = taken;
    return nowMs - this.#takenAtMs;
  }

  #countTaken(): number {
    return this.#incoming.totalTakenBytes - (this.#local?.untakenBytes?.() ?? this.#incoming.takenBytes);
  }

  // Towards the link (Source) ----------------------------------------------------------------------------------------

  get sendable(): boolean {
    if (!this.#onWire) return false;
    return this.#outgoing.waitingBytes > 0 ? this.#sendCredit > 0 : this.#tail !== null;
  }

  nextFrame(chunks: Uint8Array[]): 'data' | 'closing' | 'nothing' {
    if (!this.sendable) return 'nothing';
    if (this.#outgoing.waitingBytes > 0) {
      const most = this.v1 ? Math.min(V1_DATA_MAX_BYTES, this.#sendCredit) : LEGACY_DATA_MAX_BYTES;
      const payload = this.#outgoing.take(most);
      this.#sendCredit -= payload.length;
      chunks.push(encodeHeader(TYPE.D, this.id, payload.length), payload);
      return 'data';
    }
    if (this.#tail === null) return 'nothing';
    chunks.push(this.#tail);
    this.#tail = null;
    if (this.#sending === 'closed' || this.#peerEnded) this.#release();
    return 'closing';
  }

  dataWritten(): void {
    this.#outgoing.done();
    if (this.#outgoing.bytes <= OUTGOING_MAX_BYTES / 2 && this.#sending === 'open') this.#resumeLocal();
  }

  #resumeLocal(): void {
    if (!this.#localPaused) return;
    this.#localPaused = false;
    this.#local?.resume();
  }

  /** Ends our direction with `tail`, behind the data that waits; replaces an F that has not been sent. */
  #closeAfterData(tail: Buffer): void {
    if (!this.#onWire || this.#sending === 'closed') return;
    this.#sending = 'closed';
    this.#tail = tail;
    this.#host.ready(this);
  }

  /** No frame of this id follows. */
  #release(): void {
    if (!this.#onWire) return;
    this.#onWire = false;
    this.#sending = 'closed';
    this.#tail = null;
    this.#outgoing.clear();
    this.#host.released(this);
    if (this.#local === null) this.#host.over(this);
  }

  // Towards the local end --------------------------------------------------------------------------------------------

  #wantLocalEnd(): void {
    if (this.#endLocal === 'no') this.#endLocal = 'wanted';
    this.#writeLocal();
  }

  #writeLocal(): void {
    const local = this.#local;
    if (local === null) return;
    const queue = this.#incoming;
    while (queue.waitingBytes > 0 && queue.takenBytes < LOCAL_WRITE_MAX_BYTES && queue.takenPieces < LOCAL_WRITES_MAX) {
      local.write(queue.take(LOCAL_WRITE_MAX_BYTES), this.#localWritten);
    }
    if (queue.waitingBytes === 0 && this.#endLocal === 'wanted') {
      this.#endLocal = 'done';
      local.end();
    }
  }

  /** One function for all writes, since they are done in their order. */
  readonly #localWritten = (): void => {
    const bytes = this.#incoming.done();
    this.#host.incomingChanged(this, -bytes);
    if (this.#local === null) return;
    this.#returnCredit(bytes);
    this.#writeLocal();
  };

  /** Batched at half a window (README 4.9); nothing is owed once the peer cannot send any more. */
  #returnCredit(bytes: number): void {
    if (!this.v1 || !this.#onWire || this.#endLocal !== 'no') return;
    this.#drainedBytes += bytes;
    if (this.#drainedBytes < this.#windowBytes / 2) return;
    this.#receiveCredit += this.#drainedBytes;
    this.#host.control(encodeCredit(this.id, this.#drainedBytes));
    this.#drainedBytes = 0;
  }
}
