import type { Cancel, Clock } from '../support/clock.ts';
import { Failure, type FailureCode } from '../support/failures.ts';
import { cleanText } from '../support/text.ts';
import { TokenBucket } from '../support/token-bucket.ts';
import { Backlog } from './backlog.ts';
import { decodeCode, decodeSettings, FrameDecoder, knownTypes } from './decode.ts';
import {
  encodeAnswer,
  encodeClose,
  encodeGoingAway,
  encodeOpen,
  encodePing,
  encodeSettings,
  type Settings,
} from './encode.ts';
import type { Lease, Link, LocalEnd, LocalEvents, OpenLocal } from './endpoints.ts';
import { Keepalive } from './keepalive.ts';
import type { MuxLimits } from './limits.ts';
import { Sender } from './sender.ts';
import { Stream } from './stream.ts';
import { codeName, OPEN_RESULT, RESET, TYPE, U32_MAX } from './types.ts';

/** Released streams whose services still take what is left; further opens wait until some are gone (README 3.5). */
const CLOSING_MAX_STREAMS = 256;
/** Opens that the peer resets before they are answered: this many at once, then this many a second (README 4.6). */
const RAPID_RESETS = { burst: 64, perSecond: 16 };
/** Notes end as log lines, and the peer can cause them at will. */
const NOTES = { burst: 50, perSecond: 2 };

export interface MuxEvents {
  /** The session is over: null after our own `close`. Exactly once. Local ends may still be writing what came. */
  ended(failure: Failure | null): void;
  /**
   * The peer is going away and said why (README 4.8). What is open is finished, then `ended` follows; reconnect after a
   * random time between the two.
   */
  goingAway(minMs: number, maxMs: number, text: string): void;
  /** Something about one stream that a technician may want to read. @param port of the local service, where that failed */
  note(code: FailureCode, sentence: string, port?: number): void;
}

export type MuxOptions = SessionOptions & RoleOptions;

/** How an agent reaches its local services; `openLocal` also applies the allow-list. */
type RoleOptions = { role: 'agent'; openLocal: OpenLocal } | { role: 'gateway' };

interface SessionOptions {
  /** The accepting reply offered v1: an agent has read that, a gateway has written it. */
  v1: boolean;
  link: Link;
  clock: Clock;
  limits: MuxLimits;
  events: MuxEvents;
}

export interface MuxStats {
  /** Whether v1 is in use: X was sent, or read. */
  v1: boolean;
  /** False while a legacy stream in arrears keeps the session from being read. */
  reading: boolean;
  /** Streams whose id is in use; those released whose local end is not gone; all that were ever opened. */
  streams: number;
  closing: number;
  opened: number;
  bytesReceived: number;
  /** Bytes that wait for local ends, and for the link. */
  incomingBytes: number;
  outgoingBytes: number;
  /** Frames that meant nothing here: for unknown ids, and of unknown types. */
  ignoredFrames: number;
  unknownFrames: number;
  suppressedNotes: number;
}

/**
 * One session between an agent and its proxy: many streams over one link. It knows no socket and no timer of its own:
 * link, local ends and clock are given, so that two of these can be joined in memory.
 */
export class Mux {
  readonly #options: MuxOptions;
  readonly #decoder: FrameDecoder;
  readonly #sender: Sender;
  readonly #backlog: Backlog;
  readonly #rapidResets: TokenBucket;
  readonly #notes: TokenBucket;
  #keepalive: Keepalive | null = null;

  /** Streams by id, and those whose id is free but whose local end is not gone. */
  readonly #streams = new Map<number, Stream>();
  readonly #closing = new Set<Stream>();
  #nextId = 1;
  /** Gateway: what the agent's X said. */
  #peerSettings: Settings | null = null;

  /** The chunk that is being read, and the stream of the D in it. */
  #chunk: Lease | null = null;
  #dataStream: Stream | null = null;

  /** The peer said G. */
  #goingAway: Failure | null = null;
  /** We said G with this text, or would have to a v1 peer: nothing new is opened, what is open may finish. */
  #leaving: string | null = null;
  /** We are closing: nothing new is opened, and the link ends once all is written. */
  #ending = false;
  /** The link has been told to end: nothing more is written. */
  #linkEnding = false;
  #linkEnded = false;
  #over = false;
  #cancelClose: Cancel | null = null;

  #opened = 0;
  #bytesReceived = 0;
  #ignoredFrames = 0;
  #suppressedNotes = 0;

  constructor(options: MuxOptions) {
    this.#options = options;
    const { role, v1, link, clock, limits } = options;
    this.#rapidResets = new TokenBucket(RAPID_RESETS.burst, RAPID_RESETS.perSecond, clock.nowMs());
    this.#notes = new TokenBucket(NOTES.burst, NOTES.perSecond, clock.nowMs());
    this.#sender = new Sender(link, () => this.#violation('the peer reads none of the answers that it asks for'));
    this.#backlog = new Backlog({
      limits,
      clock,
      pauseReading: () => {
        if (!this.#over) link.pause();
      },
      resumeReading: () => {
        if (!this.#over) link.resume();
      },
      stalled: (stream) => {
        const waited = `took nothing for ${limits.stalledMs} ms while ${stream.incomingBytes} bytes waited for it`;
        this.#note('target.stalled', `the service of ${stream.name} ${waited}`, stream.port);
        stream.cutLocal();
      },
      lingered: (stream) => stream.cutLocal(),
    });
    const phase = v1 ? (role === 'agent' ? 'v1' : 'offered') : 'legacy';
    this.#decoder = new FrameDecoder(
      {
        dataBegin: (id, length) => this.#dataBegin(id, length),
        data: (slice) => this.#data(slice),
        control: (type, id, payload) => this.#control(type, id, payload),
        violation: (sentence) => this.#violation(sentence),
      },
      knownTypes(role, phase),
    );
    if (phase === 'v1') {
      this.#sender.control(encodeSettings({ maxStreams: limits.maxStreams, window: limits.windowBytes }));
      this.#startV1();
    }
  }

  // What the link says -----------------------------------------------------------------------------------------------

  /** Bytes from the peer, lent for the call; what is needed longer is retained. */
  receive(lease: Lease): void {
    if (this.#over) return;
    this.#bytesReceived += lease.bytes.length;
    this.#keepalive?.received();
    this.#chunk = lease;
    this.#sender.together(() => this.#decoder.push(lease.bytes));
    this.#chunk = null;
    this.#endLinkWhenDone();
  }

  /** The link has handed all its bytes to the kernel. */
  drained(): void {
    this.#sender.pump();
    this.#endLinkWhenDone();
  }

  /** The link is gone: null after an orderly end by the peer or by us. */
  linkEnded(error: Error | null): void {
    this.#linkEnded = true;
    if (this.#over) return;
    if (this.#goingAway !== null || this.#ending || this.#leaving !== null) {
      this.#finish(this.#goingAway, error === null || this.#ending);
      return;
    }
    const inside = this.#decoder.insideFrame ? ' in the middle of a frame' : '';
    this.#finish(
      error === null
        ? new Failure('session.closed', `the peer closed the session${inside}`)
        : new Failure('session.reset', `the connection broke${inside}: ${error.message}`, { cause: error }),
      error === null,
    );
  }

  // What the owner says ----------------------------------------------------------------------------------------------

  /**
   * Gateway: opens a stream to a local port of the device; its data may follow at once. Gives the id, or null where the
   * session takes no further stream (see `refusal`).
   */
  openStream(port: number, local: (events: LocalEvents) => LocalEnd): number | null {
    if (this.refusal() !== null) return null;
    const { limits } = this.#options;
    const id = this.#nextId;
    this.#nextId += 1;
    const peer = this.#peerSettings;
    this.#sender.together(() => {
      this.#sender.control(encodeOpen(id, port, peer === null ? null : limits.windowBytes));
      this.#addStream(id, port, peer === null ? null : peer.window, (_port, events) => local(events));
    });
    return id;
  }

  /** Why no stream is opened now, or null. */
  refusal(): string | null {
    const { limits, clock } = this.#options;
    const most = Math.min(limits.maxStreams, this.#peerSettings?.maxStreams ?? limits.maxStreams);
    if (this.#over || this.#ending || this.#leaving !== null) return 'the session is ending';
    // A gateway opens nothing that the peer would have to finish; an agent is told to open by a peer that knows best.
    if (this.#options.role === 'gateway' && this.#goingAway !== null) return 'the device is going away';
    // Ids are never used twice in a session (README 3.2): when they are exhausted, no stream is opened any more.
    if (this.#nextId > U32_MAX) return 'the session has used up its stream numbers';
    if (this.#streams.size >= most) return `${most} streams are open`;
    if (this.#closing.size >= CLOSING_MAX_STREAMS)
      return `${CLOSING_MAX_STREAMS} closed streams are still being written`;
    if (!this.#rapidResets.available(clock.nowMs())) return 'too many streams were reset before they opened';
    return null;
  }

  /**
   * Goes away without haste: nothing new is opened, what is open may finish, and with the last stream the link ends,
   * then comes `ended(null)`. `close` and `destroy` may shorten it.
   *
   * @param text one of README 4.8; with it a v1 peer is told to come back after a random time of the range
   */
  leave(text: string, minSeconds: number, maxSeconds: number): void {
    if (this.#over || this.#ending || this.#leaving !== null) return;
    this.#leaving = text;
    if (this.v1) this.#sender.control(encodeGoingAway(minSeconds, maxSeconds, text));
    this.#endLinkWhenDone();
  }

  /**
   * Ends the session in order: no new streams, what the services have sent is written, each stream is closed, the link
   * ends. `ended(null)` follows within `closeMs`; services still get what came for them.
   *
   * @param reasonText told to a v1 peer in G, one of the texts of README 4.8; what `leave` has said is not said again
   */
  close(reasonText?: string): void {
    if (this.#over || this.#ending) return;
    this.#ending = true;
    // Our own end counts, whatever the peer has announced.
    this.#goingAway = null;
    this.#cancelClose ??= this.#options.clock.after(this.#options.limits.closeMs, () => this.#finish(null, true));
    this.#sender.together(() => {
      const news = reasonText !== undefined && reasonText !== this.#leaving;
      if (news && this.v1) this.#sender.control(encodeGoingAway(0, 0, reasonText));
      for (const stream of [...this.#streams.values()]) stream.close();
    });
    this.#endLinkWhenDone();
  }

  /** Ends everything at once, local ends that are still writing included. `ended(null)` comes before it returns. */
  destroy(): void {
    this.#finish(null, false);
    for (const stream of [...this.#closing]) stream.cutLocal();
  }

  /** Whether v1 is in use: X was sent, or read. */
  get v1(): boolean {
    return this.#keepalive !== null;
  }

  stats(): MuxStats {
    const streams = [...this.#streams.values(), ...this.#closing];
    return {
      v1: this.v1,
      reading: this.#backlog.reading,
      streams: this.#streams.size,
      closing: this.#closing.size,
      opened: this.#opened,
      bytesReceived: this.#bytesReceived,
      incomingBytes: streams.reduce((sum, stream) => sum + stream.incomingBytes, 0),
      outgoingBytes: streams.reduce((sum, stream) => sum + stream.outgoingBytes, 0),
      ignoredFrames: this.#ignoredFrames,
      unknownFrames: this.#decoder.unknownFrames,
      suppressedNotes: this.#suppressedNotes,
    };
  }

  // Frames -----------------------------------------------------------------------------------------------------------

  #dataBegin(id: number, length: number): void {
    const stream = this.#find(id);
    stream?.peerDataBegin(length);
    this.#dataStream = stream;
  }

  #data(slice: Buffer): void {
    if (this.#chunk !== null) this.#dataStream?.peerData(slice, this.#chunk);
  }

  /** Only types that `knownTypes` lists for our role and phase arrive here. */
  #control(type: number, id: number, payload: Buffer): void {
    switch (type) {
      case TYPE.N:
        this.#peerOpens(id, payload);
        break;
      case TYPE.C:
        this.#find(id)?.peerClose();
        break;
      case TYPE.X:
        this.#peerKnowsV1(payload);
        break;
      case TYPE.P:
        if (payload.length === 8) this.#sender.control(encodePing(TYPE.p, payload));
        else this.#violation(`P of ${payload.length} bytes, it must have 8`);
        break;
      case TYPE.p:
        // Its bytes have answered the ping already (README 4.7).
        break;
      case TYPE.G:
        this.#peerGoesAway(payload);
        break;
      default: {
        const stream = this.#find(id);
        // A, W, F and R exist on v1 streams only (README 4.2).
        if (stream?.v1) this.#v1Control(stream, type, payload);
        else if (stream !== null) this.#ignoredFrames += 1;
      }
    }
  }

  #v1Control(stream: Stream, type: number, payload: Buffer): void {
    switch (type) {
      case TYPE.F:
        stream.peerEnd();
        break;
      case TYPE.W:
        if (payload.length === 4) stream.peerCredit(payload.readUInt32BE(0));
        else stream.reset(RESET.protocolError, `W of ${payload.length} bytes, it must have 4`);
        break;
      case TYPE.A: {
        const { code, text } = decodeCode(payload, OPEN_RESULT.refused);
        if (!stream.peerAnswer(code, text)) this.#ignoredFrames += 1;
        break;
      }
      case TYPE.R:
        this.#peerResets(stream, payload);
        break;
    }
  }

  #peerResets(stream: Stream, payload: Buffer): void {
    const { code, text } = decodeCode(payload, RESET.unspecified);
    if (!stream.answered) this.#rapidResets.take(this.#options.clock.nowMs());
    const reason = `${codeName(RESET, code)}${text === '' ? '' : ` (${text})`}`;
    this.#note('stream.reset', `the peer reset ${stream.name}: ${reason}`);
    stream.peerReset();
  }

  /** N (README 3.1–3.3). */
  #peerOpens(id: number, payload: Buffer): void {
    // A live id is opened anew: the old stream gets what came for it and ends. No C for it, which would hit the new one.
    this.#streams.get(id)?.peerClose();
    if (payload.length < 2) {
      this.#sender.control(encodeClose(id));
      return;
    }
    const port = payload.readUInt16BE(0);
    const v1 = this.v1 && payload.length === 6;
    const refusal = this.refusal();
    if (refusal !== null) {
      this.#note('stream.limit', `stream ${id} to port ${port} was not opened: ${refusal}`);
      this.#sender.control(v1 ? encodeAnswer(id, OPEN_RESULT.limit, refusal) : encodeClose(id));
      return;
    }
    // N is unknown to a gateway and never gets here.
    if (this.#options.role !== 'agent') return;
    this.#addStream(id, port, v1 ? payload.readUInt32BE(2) : null, this.#options.openLocal);
  }

  #peerKnowsV1(payload: Buffer): void {
    if (this.#peerSettings !== null) {
      this.#violation('a second X');
      return;
    }
    this.#peerSettings = decodeSettings(payload);
    if (this.#peerSettings === null) {
      this.#violation(`a malformed X: ${cleanText(payload.toString('latin1'), 100)}`);
      return;
    }
    this.#decoder.known = knownTypes('gateway', 'v1');
    this.#startV1();
  }

  #peerGoesAway(payload: Buffer): void {
    if (payload.length < 4) {
      this.#violation(`G of ${payload.length} bytes, it has at least 4`);
      return;
    }
    if (this.#ending) return;
    const minMs = payload.readUInt16BE(0) * 1000;
    const maxMs = Math.max(minMs, payload.readUInt16BE(2) * 1000);
    const text = cleanText(payload.toString('utf8', 4));
    this.#goingAway = new Failure('session.going-away', `the peer is going away: ${text === '' ? 'no reason' : text}`);
    this.#options.events.goingAway(minMs, maxMs, text);
  }

  #violation(sentence: string): void {
    this.#finish(new Failure('session.protocol-error', `the peer broke the protocol: ${sentence}`), false);
  }

  // Streams ----------------------------------------------------------------------------------------------------------

  #find(id: number): Stream | null {
    const stream = this.#streams.get(id);
    if (stream === undefined) this.#ignoredFrames += 1;
    return stream ?? null;
  }

  #addStream(id: number, port: number, sendBytes: number | null, open: OpenLocal): void {
    const stream = new Stream({
      id,
      port,
      credit: sendBytes === null ? null : { sendBytes, windowBytes: this.#options.limits.windowBytes },
      answersOpen: this.#options.role === 'agent',
      host: this.#streamHost,
    });
    this.#opened += 1;
    this.#streams.set(id, stream);
    stream.start(open);
  }

  readonly #streamHost = {
    control: (frame: Buffer) => this.#sender.control(frame),
    ready: (stream: Stream) => this.#sender.ready(stream),
    incomingChanged: (stream: Stream, bytes: number) => this.#backlog.changed(stream, bytes),
    note: (code: FailureCode, sentence: string, port?: number) => this.#note(code, sentence, port),
    released: (stream: Stream) => {
      this.#streams.delete(stream.id);
      this.#closing.add(stream);
      // The frame that released it may be collected but not yet written: the link is ended from `drained`.
      this.#backlog.linger(stream);
    },
    over: (stream: Stream) => {
      this.#closing.delete(stream);
      this.#backlog.forget(stream);
    },
  };

  #note(code: FailureCode, sentence: string, port?: number): void {
    if (this.#notes.take(this.#options.clock.nowMs())) this.#options.events.note(code, sentence, port);
    else this.#suppressedNotes += 1;
  }

  // The session as a whole -------------------------------------------------------------------------------------------

  /** X was sent or read: from here both sides may use v1 types, pings included. */
  #startV1(): void {
    const { clock, limits } = this.#options;
    this.#keepalive = new Keepalive({
      clock,
      pingAfterMs: limits.pingAfterMs,
      pingDeadlineMs: limits.pingDeadlineMs,
      sendPing: (nonce) => this.#sender.control(encodePing(TYPE.P, nonce)),
      isReading: () => this.#backlog.reading,
      peerDead: (silentMs) => {
        const silence = `nothing came for ${Math.round(silentMs / 1000)} s, not even an answer to a ping`;
        this.#finish(new Failure('session.peer-dead', silence), false);
      },
    });
  }

  /**
   * After our close, or a G of either side: once nothing is open, the link ends behind what it was given. Every end of a
   * stream comes with bytes received or written, so it is enough to look after these.
   */
  #endLinkWhenDone(): void {
    const leaving = this.#ending || this.#leaving !== null || this.#goingAway !== null;
    if (this.#over || this.#linkEnding || !leaving) return;
    if (this.#streams.size > 0 || !this.#sender.idle) return;
    this.#linkEnding = true;
    this.#sender.stop();
    this.#cancelClose ??= this.#options.clock.after(this.#options.limits.closeMs, () => {
      this.#finish(this.#goingAway, true);
    });
    this.#options.link.end();
  }

  /** @param inOrder services get what came for them before they are closed; else they are cut off at once */
  #finish(failure: Failure | null, inOrder: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.#decoder.stop();
    this.#sender.stop();
    this.#keepalive?.stop();
    this.#cancelClose?.();
    for (const stream of [...this.#streams.values()]) {
      if (inOrder) stream.peerClose();
      else stream.peerReset();
    }
    if (!inOrder) for (const stream of [...this.#closing]) stream.cutLocal();
    if (!this.#linkEnded) this.#options.link.destroy();
    this.#options.events.ended(failure);
  }
}
