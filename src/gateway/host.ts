import { setMaxListeners } from 'node:events';
import { type Clock, pause } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import { cleanText } from '../support/text.ts';
import type { Attempts } from './attempts.ts';
import type { Audit } from './audit.ts';
import type { Counters } from './counters.ts';
import type { Authentication, EntryHost, Place, Refusal } from './entry.ts';
import type { Fleet } from './fleet.ts';
import type { Gate } from './gate.ts';
import type { KnownAddresses } from './known-addresses.ts';
import type { PublicPorts } from './public-ports.ts';
import type { Session } from './session.ts';
import type { Sessions } from './sessions.ts';
import { plainAddress } from './source.ts';
import type { Device, EndReason, EntryName, Service } from './types.ts';

const TOKEN_WRONG = 'the device is unknown, or its token is wrong';

/** Longer keys exist nowhere. */
const SHOWN_KEY_CHARACTERS = 64;

const GATE_REASONS = {
  rate: 'too many new connections',
  pending: 'too many unfinished handshakes',
  queue: 'too many connections wait',
} as const;

export interface HostParts {
  readonly fleet: Fleet;
  readonly sessions: Sessions;
  readonly ports: PublicPorts;
  readonly gates: Readonly<Record<EntryName, Gate>>;
  readonly attempts: Attempts;
  readonly addresses: KnownAddresses;
  readonly audit: Audit;
  readonly counters: Counters;
  readonly clock: Clock;
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly log: Log;
}

/** Where a token is shown: a device over REST has an answer to wait for, too. */
type Door = EntryName | 'rest';

/** The answer to a token that was shown. */
export type TokenCheck = { readonly right: true } | { readonly right: false; readonly unlooked: boolean };

/** What both entries share: who may come in, and what follows from it. */
export class Host implements EntryHost {
  readonly #parts: HostParts;
  readonly #stop = new AbortController();

  constructor(parts: HostParts) {
    this.#parts = parts;
    setMaxListeners(0, this.#stop.signal); // one for each wrong answer that takes its time
  }

  /** From now on nobody is let in, and wrong answers no longer take their time. */
  stopAccepting(): void {
    this.#stop.abort();
  }

  async admit(entry: EntryName, address: string, signal: AbortSignal): Promise<Place | null> {
    const admission = await this.#parts.gates[entry].admit(address, signal);
    if ('place' in admission) return admission.place;
    if (admission.refused !== 'gone') this.#record(entry, null, address, GATE_REASONS[admission.refused]);
    return null;
  }

  async authenticateAgent(claim: { deviceKey: string; token: string; address: string }): Promise<Authentication> {
    const { deviceKey, address } = claim;
    const { fleet, counters } = this.#parts;
    const check = await this.checkTokenCode('agent', deviceKey, claim.token, address);
    const device = fleet.get(deviceKey);
    if (check.right && device !== null) return this.#letIn('agent', device, address);
    counters.count('agent', check.right || !check.unlooked ? 'invalid' : 'unlooked');
    return { refusal: { code: 'invalid', reason: TOKEN_WRONG } };
  }

  async authenticateToken({ token, address }: { token: string; address: string }): Promise<Authentication> {
    const { fleet, attempts, counters, clock } = this.#parts;
    const device = fleet.byTunnelToken(token);
    if (device !== null) {
      this.#sawAddress(device.key, address);
      return this.#letIn('ssh', device, address);
    }
    counters.count('ssh', 'invalid');
    const { delayMs } = attempts.wrongTunnelToken(address);
    this.#record('ssh', null, address, 'the tunnel token is wrong');
    await pause(clock, delayMs, this.#stop.signal);
    return { refusal: { code: 'invalid', reason: TOKEN_WRONG } };
  }

  /** Whether that is the Meeting token of that device; a wrong one is counted, and its answer takes its time. */
  async checkTokenCode(by: Door, deviceKey: string, tokenCode: string, address: string): Promise<TokenCheck> {
    const { fleet, attempts, addresses, clock } = this.#parts;
    const { right, hash } = fleet.checkTokenCode(deviceKey, tokenCode);
    const device = fleet.get(deviceKey);
    const guessable = device !== null && !device.tokenCodeStrong;
    const isOwnAddress = addresses.isOf(deviceKey, address);
    const verdict = attempts.judge({ deviceKey, address, hash, right, guessable, isOwnAddress });
    if (verdict.pass) {
      this.#sawAddress(deviceKey, address);
      return { right: true };
    }
    const reason = verdict.unlooked ? 'too many wrong tokens: not looked at' : TOKEN_WRONG;
    this.#record(by, device, address, reason, device === null ? deviceKey : null);
    await pause(clock, verdict.delayMs, this.#stop.signal);
    return { right: false, unlooked: verdict.unlooked };
  }

  rejected(entry: EntryName, address: string, reason: string): void {
    this.#parts.counters.count(entry, 'broken');
    this.#record(entry, null, address, reason);
  }

  started(session: Session, authenticated: Device): boolean {
    const { fleet, sessions, ports, audit, counters, nowMs, log } = this.#parts;
    const { deviceKey, entry } = session;
    const device = fleet.get(deviceKey);
    if (device === null || this.#refusal(device) !== null) return false;
    if (!hasSameToken(device, authenticated, entry)) return false;
    const address = plainAddress(session.address);
    const replaced = sessions.set(session);
    if (replaced !== null) {
      const detail = { entry: replaced.entry, address: plainAddress(replaced.address), by: address };
      audit.record({ deviceKey, event: 'replaced', reason: 'session_replaced', detail });
    }
    ports.online(session);
    counters.started(entry);
    this.#saw(deviceKey, { lastConnectedAtMs: nowMs(), lastSeenAtMs: nowMs() });
    // An agent tells what it speaks a moment later: what stands there now would be wrong. The end tells of both.
    const facts = { entry, address, ...(entry === 'ssh' && { client: session.facts().client }) };
    audit.record({ deviceKey, event: 'connect', reason: null, detail: facts });
    log.info({ deviceKey, ...facts, replaced: replaced !== null }, 'the device is online');
    return true;
  }

  ended(session: Session, reason: EndReason, detail: string | null): void {
    const { sessions, ports, audit, counters, nowMs, log } = this.#parts;
    const { deviceKey, entry } = session;
    counters.ended(reason);
    if (!sessions.remove(session)) return;
    ports.offline(session);
    this.#saw(deviceKey, { lastConnectedAtMs: nowMs(), lastSeenAtMs: nowMs() });
    const { client, opened } = session.facts();
    const facts = { entry, client, seconds: Math.max(0, Math.round((nowMs() - session.connectedAtMs) / 1000)) };
    const more = detail === null ? {} : { detail: cleanText(detail) };
    audit.record({ deviceKey, event: 'disconnect', reason, detail: { ...facts, streams: opened, ...more } });
    log.info({ deviceKey, ...facts, reason, ...more }, 'the device is offline');
  }

  async forward(session: Session, service: Service): Promise<number> {
    const { sessions, ports } = this.#parts;
    if (sessions.current(session.deviceKey) !== session) {
      throw new Failure('gateway.session-over', `The session of ${session.deviceKey} is over`);
    }
    return ports.forward(session, service);
  }

  cancelForward(session: Session, service: Service): void {
    this.#parts.ports.cancelForward(session, service);
  }

  assignedPort(deviceKey: string, service: string): number | null {
    return this.#parts.ports.portOf(deviceKey, service);
  }

  /** The token was right: what follows may be told precisely. */
  #letIn(entry: EntryName, device: Device, address: string): Authentication {
    const refusal = this.#refusal(device);
    this.#parts.counters.count(entry, refusal?.code ?? 'accepted');
    if (refusal === null) return { device };
    this.#record(entry, device, address, refusal.reason);
    return { refusal };
  }

  #refusal(device: Device): Refusal | null {
    if (this.#stop.signal.aborted) return { code: 'busy', reason: 'the gateway stops' };
    if (!device.authorized) return { code: 'unauthorized', reason: 'the device is not authorized' };
    if (!this.#parts.fleet.isPaused(device)) return null;
    return {
      code: 'paused',
      reason: `the device is paused until ${new Date(device.pausedUntilMs ?? 0).toISOString()}`,
    };
  }

  #saw(key: string, seen: { lastConnectedAtMs: number; lastSeenAtMs: number }): void {
    this.#parts.fleet.saw(key, seen);
    this.#parts.audit.saw(key, seen);
  }

  #sawAddress(deviceKey: string, address: string): void {
    const { addresses, audit } = this.#parts;
    const found = addresses.saw(deviceKey, address);
    if (found !== null) audit.sawAddress(found);
  }

  #record(entry: Door, device: Device | null, address: string, reason: string, claimed: string | null = null) {
    const facts = { entry, address: plainAddress(address) };
    const detail = claimed === null ? facts : { ...facts, claimed: cleanText(claimed, SHOWN_KEY_CHARACTERS) };
    this.#parts.audit.record({ deviceKey: device?.key ?? null, event: 'rejected', reason: cleanText(reason), detail });
  }
}

/** Of one device at two times. */
function hasSameToken(a: Device, b: Device, entry: EntryName): boolean {
  return entry === 'ssh' ? a.tunnelTokenHash === b.tunnelTokenHash : a.tokenCodeHash === b.tokenCodeHash;
}
