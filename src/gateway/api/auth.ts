import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Secret } from '../../config/secret.ts';
import { type Clock, pause } from '../../support/clock.ts';
import type { Log } from '../../support/log.ts';
import type { Operations } from '../operations.ts';
import { DEVICE_KEY } from './contract/fields.ts';
import type { Who } from './contract/route.ts';
import { Refusal } from './refusal.ts';

export interface AuthParts {
  readonly adminToken: Secret;
  readonly operations: Pick<Operations, 'isTokenOf' | 'status'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Who asks, as far as it matters. */
export interface Claim {
  readonly headers: IncomingHttpHeaders;
  readonly source: string;
  /** The device that the path names; empty where it names none. */
  readonly deviceKey: string;
  /** Aborted when the sender has gone. */
  readonly gone: AbortSignal;
}

/** A wrong token takes its time: with each that is under way from the same source, longer. */
const WRONG_MS = 500;
const WRONG_MAX_MS = 5_000;

/** Decides who may make which call. */
export class Auth {
  readonly #adminToken: Buffer;
  readonly #parts: AuthParts;
  /** Wrong tokens of the operator that wait for their answer, by source. */
  readonly #waiting = new Map<string, number>();

  constructor(parts: AuthParts) {
    this.#parts = parts;
    this.#adminToken = digest(parts.adminToken.reveal());
  }

  /**
   * Resolves where the call may be made. A device is known by the path alone: its token opens its own calls and no other.
   *
   * @throws Refusal 401, 403, 404
   */
  async check(who: Who, claim: Claim): Promise<void> {
    if (who === 'anyone') return;
    const { authorization, 'x-token-code': tokenCode } = claim.headers;
    if (authorization !== undefined) return this.#checkOperator(authorization, claim);
    if (typeof tokenCode !== 'string') throw unauthorized('Send Authorization: Bearer, with the token of the operator');
    if (who === 'operator') {
      throw new Refusal('Forbidden', 'The token of a device opens its own calls only; this one is of the operator');
    }
    await this.#checkDevice(tokenCode, claim);
  }

  /** The right one is never kept waiting: strangers behind the same address must not lock the operator out. */
  async #checkOperator(authorization: string, { source, gone }: Claim): Promise<void> {
    const [, token] = /^bearer +([\x21-\x7e]+) *$/i.exec(authorization) ?? [];
    if (token !== undefined && timingSafeEqual(digest(token), this.#adminToken)) return;
    const waiting = (this.#waiting.get(source) ?? 0) + 1;
    this.#waiting.set(source, waiting);
    if (waiting === 1) this.#parts.log.warn({ source }, 'somebody showed a wrong token of the operator');
    await pause(this.#parts.clock, Math.min(WRONG_MS * waiting, WRONG_MAX_MS), gone);
    const left = (this.#waiting.get(source) ?? 1) - 1;
    if (left === 0) this.#waiting.delete(source);
    else this.#waiting.set(source, left);
    throw unauthorized('This is not the token of the operator');
  }

  /**
   * An unknown device is told so (wire 2: our own agent and deployed ones show "not provisioned" and wait), after the same
   * delay as a wrong token. Who tries keys learns which ones are here, and nothing else: docs/gateway-design.md.
   */
  async #checkDevice(tokenCode: string, { deviceKey, source }: Claim): Promise<void> {
    // No device can have it, and what is remembered of wrong tokens stays small.
    if (!DEVICE_KEY.test(deviceKey)) throw noDevice();
    // A header holds bytes, and Node shows them as latin1; a token beyond ASCII was sent as UTF-8.
    const token = Buffer.from(tokenCode, 'latin1').toString('utf8');
    if (await this.#parts.operations.isTokenOf(deviceKey, token, source)) return;
    this.#parts.operations.status(deviceKey); // throws where there is no such device
    throw unauthorized('This is not the token of the device');
  }
}

/** Of one length, so that comparing takes the same time whatever was sent. */
const digest = (token: string): Buffer => createHash('sha256').update(token, 'utf8').digest();

export const noDevice = () => new Refusal('Device not found', 'There is no such device');

const unauthorized = (sentence: string) =>
  new Refusal('Unauthorized', sentence, { headers: { 'WWW-Authenticate': 'Bearer realm="zeroforce gateway"' } });
