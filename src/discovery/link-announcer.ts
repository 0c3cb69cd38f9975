import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Clock, pause } from '../support/clock.ts';
import { asFailure, Failure, systemCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { goodbyeFor, type Identity, isUnique, probeFor, recordsOf } from './announcement.ts';
import { isConflict, losesTieBreak } from './conflict.ts';
import type { Link } from './links.ts';
import type { DnsRecord, Packet } from './packet.ts';
import { answerTo, legacyAnswerTo } from './responder.ts';
import { type Family, familiesOf, MDNS_PORT, type MdnsSocket, openMdns, type Sender } from './socket.ts';

/** RFC 6762 8.1: three questions, a quarter of a second apart, the first after a random part of that. */
const PROBES = 3;
const PROBE_MS = 250;
/** RFC 6762 8.2: who steps back from a name asks again after so long. */
const STEP_BACK_MS = 1_000;
/** RFC 6762 8.3: until the second announcement; the pauses double from there, for ever, up to the longest. */
const FIRST_PAUSE_MS = 1_000;
/** Below half the life of what is announced, so that those who only listen never lose the device. */
const LONGEST_PAUSE_MS = 30 * 60_000;
/** RFC 6762 6: nothing is said twice to everybody within so long; to those who probe, within a quarter of it. */
const SILENCE_MS = 1_000;
const SILENCE_TO_PROBES_MS = 250;
/** RFC 6762 6: before an answer that others give, too. */
const SHARED_DELAY_MS = { least: 20, spread: 100 };
/** Somebody may send conflicts without end: a name that is held is probed again only so often, and kept meanwhile. */
const REPROBE_MS = 10_000;
/** In a second: the address that such an answer goes to may be made up. */
const MAX_LEGACY_ANSWERS = 20;

export interface LinkAnnouncerOptions {
  link: Link;
  clock: Clock;
  random: () => number;
  log: Log;
  /** Somebody else has the name. */
  onConflict: () => void;
  /** Whether an address belongs to this machine; with or without zone. */
  isOwnAddress: (address: string) => boolean;
  /** Another network, for tests that take hours. */
  open?: typeof openMdns;
}

/** Announces the device on one link, with the addresses that it has there, and answers for it. */
export class LinkAnnouncer {
  readonly #options: LinkAnnouncerOptions;
  #identity: Identity | null = null;
  #records: DnsRecord[] = [];
  #state: 'claiming' | 'probing' | 'announced' | 'failed' = 'claiming';
  /** In a row, since the name was last announced. */
  #failedSends = 0;
  readonly #failures: { open: Failure | null; send: Failure | null } = { open: null, send: null };
  #sockets: MdnsSocket[] = [];
  /** Aborted when another claim follows, or the end. */
  #claim = new AbortController();
  #claiming: Promise<void> = Promise.resolve();
  #announceAtMs = 0;
  #pauseMs = FIRST_PAUSE_MS;
  #reprobeAtMs = 0;
  /** When a record was last said to everybody. */
  readonly #saidAtMs: Record<Family, WeakMap<DnsRecord, number>> = { IPv4: new WeakMap(), IPv6: new WeakMap() };
  #legacy = { sinceMs: 0, answers: 0 };

  constructor(options: LinkAnnouncerOptions) {
    this.#options = options;
  }

  get link(): Link {
    return this.#options.link;
  }

  status(): { state: 'claiming' | 'announced' | 'failed'; failure: Failure | null } {
    const failure = this.#failures.open ?? this.#failures.send;
    if (this.#state === 'announced') return { state: 'announced', failure };
    return { state: this.#state === 'failed' && failure !== null ? 'failed' : 'claiming', failure };
  }

  /**
   * Takes the name and announces it; or only tells the change where the name stays.
   *
   * @param waitMs before the name is asked for
   */
  async announce(identity: Identity, waitMs = 0): Promise<void> {
    const before = this.#records;
    const hadName = this.#state === 'announced';
    const sameName = this.#identity?.name === identity.name;
    this.#identity = identity;
    this.#records = recordsOf(identity, this.link);
    if (!hadName || !sameName) this.#begin(waitMs);
    if (hadName && sameName) {
      this.#pauseMs = FIRST_PAUSE_MS;
      await this.#tell();
    }
    if (hadName && !sameName) await this.#send(goodbyeFor(before), 'response').catch(() => undefined);
  }

  /** The name was lost to somebody on this link: it is theirs, so nothing is taken back. */
  lose(): void {
    this.#claim.abort();
    this.#state = 'claiming';
  }

  /** Regularly: announces again when it is time, and tries again what failed. */
  async look(): Promise<void> {
    if (this.#state === 'failed') this.#begin(0);
    if (this.#state !== 'announced') return;
    const grown = await this.#open().catch(() => false);
    if (grown || this.#options.clock.nowMs() >= this.#announceAtMs) await this.#tell();
  }

  /** Ends; a goodbye makes others forget the device at once, without it what they know stays valid for a while. */
  async stop({ goodbye }: { goodbye: boolean }): Promise<void> {
    const hadName = this.#state === 'announced';
    this.#claim.abort();
    this.#state = 'claiming';
    await this.#claiming;
    if (hadName && goodbye) await this.#send(goodbyeFor(this.#records), 'response').catch(() => undefined);
    await this.#close();
  }

  #begin(waitMs: number): void {
    this.#claim.abort();
    const claim = new AbortController();
    this.#claim = claim;
    this.#state = 'claiming';
    this.#claiming = this.#claiming.then(() => this.#take(waitMs, claim.signal));
  }

  /** Probes for the name, and announces it when nobody objects. Never rejects. */
  async #take(waitMs: number, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    try {
      await this.#open();
      if (signal.aborted) return;
      // From here on: what was said a moment before our question need not be said again as its answer (RFC 6762 7.4).
      this.#state = 'probing';
      await pause(clock, waitMs + random() * PROBE_MS, signal);
      for (let sent = 0; sent < PROBES && !signal.aborted; sent += 1) {
        await this.#send(probeFor(this.#records), 'query');
        await pause(clock, PROBE_MS, signal);
        // On a machine that is busy with its start the time may be up before the answers that came have been read.
        await nextTurn();
      }
      if (signal.aborted) return;
      this.#state = 'announced';
      this.#failures.send = null;
      this.#failedSends = 0;
      this.#pauseMs = FIRST_PAUSE_MS;
      await this.#tell();
      await pause(clock, FIRST_PAUSE_MS, signal);
      if (!signal.aborted) await this.#tell();
    } catch (error) {
      await this.#fail(error);
    }
  }

  async #tell(): Promise<void> {
    this.#announceAtMs = this.#options.clock.nowMs() + this.#pauseMs;
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
    await this.#send({ answers: this.#records }, 'response').catch((error: unknown) => this.#fail(error));
  }

  /** One family is enough: a link with IPv4 is not to fail over an IPv6 address that is not ready yet. */
  async #send(packet: Packet, kind: 'query' | 'response'): Promise<void> {
    const results = await Promise.allSettled(this.#sockets.map((socket) => socket.send(packet, kind)));
    const failed = results.filter((result) => result.status === 'rejected');
    if (failed.length === 0 || failed.length < results.length) return;
    const reason: unknown = failed[0]?.reason;
    throw new Failure('mdns.send', `mDNS cannot send on ${this.link.name}: ${systemCode(reason) ?? String(reason)}`, {
      cause: reason,
    });
  }

  /** Opens what is not open yet, and tells whether that was anything. One family is enough to go on with. */
  async #open(): Promise<boolean> {
    const missing = familiesOf(this.link).filter((family) => this.#socket(family) === undefined);
    if (missing.length === 0) return false;
    const results = await Promise.allSettled(
      missing.map((family) =>
        (this.#options.open ?? openMdns)(this.link, family, {
          onQuery: (packet, from) => this.#hearQuery(packet, from, family),
          onResponse: (packet) => this.#hearResponse(packet),
        }),
      ),
    );
    const opened = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    this.#sockets = [...this.#sockets, ...opened];
    const failed = results.find((result) => result.status === 'rejected');
    const failure = failed === undefined ? null : asFailure(failed.reason, 'mdns.socket');
    this.#report('open', failure);
    if (this.#sockets.length === 0 && failure !== null) throw failure;
    return opened.length > 0;
  }

  async #close(): Promise<void> {
    const sockets = this.#sockets;
    this.#sockets = [];
    await Promise.all(sockets.map((socket) => socket.close()));
  }

  async #fail(error: unknown): Promise<void> {
    if (error !== this.#failures.open) {
      this.#failedSends += 1;
      // Once is no news: an IPv6 address that is new cannot be used for a second or two (RFC 4862 5.4).
      if (this.#failedSends > 1) this.#report('send', asFailure(error, 'mdns.send'));
    }
    this.#state = 'failed';
    await this.#close();
  }

  /** In the log once, not at each try. */
  #report(at: 'open' | 'send', failure: Failure | null): void {
    if (failure !== null && this.#failures[at] === null) {
      this.#options.log.warn({ code: failure.code, remedy: failure.remedy }, failure.message);
    }
    this.#failures[at] = failure;
  }

  #hearResponse(packet: Packet): void {
    const { clock, isOwnAddress, onConflict } = this.#options;
    if (this.#state !== 'announced' && this.#state !== 'probing') return;
    if (!isConflict(packet, this.#records, isOwnAddress)) return;
    if (this.#state === 'probing') {
      onConflict();
      return;
    }
    // What was heard may be old, from a cache or a reflector; who really has the name answers the probe (RFC 6762 9).
    if (clock.nowMs() < this.#reprobeAtMs) return;
    this.#reprobeAtMs = clock.nowMs() + REPROBE_MS;
    this.#begin(0);
  }

  #hearQuery(packet: Packet, from: Sender, family: Family): void {
    if (this.#state === 'announced') {
      if (from.port === MDNS_PORT) void this.#answer(packet, family);
      else void this.#answerLegacy(packet, from, family);
    } else if (this.#state === 'probing' && packet.authorities?.length) {
      if (!this.#options.isOwnAddress(from.address) && losesTieBreak(packet, this.#records)) this.#begin(STEP_BACK_MS);
    }
  }

  /** Nothing that is heard may harm the service, and a lost answer is asked for again: errors end here. */
  async #answer(query: Packet, family: Family): Promise<void> {
    const { clock, random } = this.#options;
    const answer = answerTo(query, this.#records);
    if (answer === null) return;
    const isProbe = (query.authorities?.length ?? 0) > 0;
    const nowMs = clock.nowMs();
    const saidAtMs = this.#saidAtMs[family];
    const silentSinceMs = nowMs - (isProbe ? SILENCE_TO_PROBES_MS : SILENCE_MS);
    const answers = answer.answers.filter((record) => (saidAtMs.get(record) ?? silentSinceMs) <= silentSinceMs);
    if (answers.length === 0) return;
    for (const record of answers) saidAtMs.set(record, nowMs);
    if (!isProbe && !answers.every(isUnique)) {
      const { signal } = this.#claim;
      await pause(clock, SHARED_DELAY_MS.least + random() * SHARED_DELAY_MS.spread, signal);
      if (signal.aborted) return;
    }
    await this.#socket(family)
      ?.send({ ...answer, answers }, 'response')
      .catch(() => undefined);
  }

  async #answerLegacy(query: Packet, from: Sender, family: Family): Promise<void> {
    const answer = legacyAnswerTo(query, this.#records);
    if (answer === null) return;
    const nowMs = this.#options.clock.nowMs();
    if (nowMs - this.#legacy.sinceMs >= 1_000) this.#legacy = { sinceMs: nowMs, answers: 0 };
    this.#legacy.answers += 1;
    if (this.#legacy.answers > MAX_LEGACY_ANSWERS) return;
    await this.#socket(family)
      ?.send(answer, 'response', from)
      .catch(() => undefined);
  }

  #socket(family: Family): MdnsSocket | undefined {
    return this.#sockets.find((socket) => socket.family === family);
  }
}
