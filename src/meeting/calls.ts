import { Failure, type FailureCode } from '../support/failures.ts';
import {
  type Availability,
  type DeviceAnswer,
  type HeartbeatAnswer,
  type HostKeyLine,
  readAvailability,
  readDevice,
  readHeartbeat,
  readHostKeys,
  readKeyTaken,
  readServerKey,
} from './answers.ts';
import type { Lan } from './lan.ts';
import type { Answer, Call, MeetingApi } from './request.ts';
import type { SshKey } from './ssh-key.ts';

/** What a server answered stands behind this in a sentence. It may differ each time. */
export const SAYS = '; it says: ';

/** The device's part of the Meeting API (wire 2), call by call. Each throws a Failure of `meeting.*`. */
export class MeetingCalls {
  readonly #api: MeetingApi;
  readonly #device: string;

  constructor(api: MeetingApi, deviceKey: string) {
    this.#api = api;
    this.#device = `/api/devices/${encodeURIComponent(deviceKey)}`;
  }

  /** `services` is never sent: the server owns them. Nor is `note`, which is for people to write. */
  heartbeat(lan: (localAddress: string | null) => Lan, signal: AbortSignal): Promise<HeartbeatAnswer> {
    return this.#ask({ method: 'POST', path: `${this.#device}/online`, body: lan }, readHeartbeat, signal);
  }

  device(signal: AbortSignal): Promise<DeviceAnswer> {
    return this.#ask({ method: 'GET', path: this.#device }, readDevice, signal);
  }

  availability(signal: AbortSignal): Promise<Availability> {
    return this.#ask({ method: 'GET', path: `${this.#device}/availability` }, readAvailability, signal);
  }

  publishKey(pubkey: string, signal: AbortSignal): Promise<void> {
    const call: Call = { method: 'PUT', path: `${this.#device}/ssh-key`, body: () => ({ pubkey }) };
    return this.#ask(call, readKeyTaken, signal, { 400: 'meeting.key-refused' });
  }

  hostKeys(signal: AbortSignal): Promise<HostKeyLine[]> {
    return this.#ask({ method: 'GET', path: '/api/ssh-hostkey' }, readHostKeys, signal);
  }

  serverKey(signal: AbortSignal): Promise<SshKey> {
    return this.#ask({ method: 'GET', path: '/api/ssh/pubkey' }, readServerKey, signal);
  }

  async #ask<T>(
    call: Call,
    read: (text: string) => T,
    signal: AbortSignal,
    meanings: Readonly<Record<number, FailureCode>> = {},
  ): Promise<T> {
    const answer = await this.#api.call(call, signal);
    const fail = (code: FailureCode, what: string, words: string) => {
      const said = this.#api.excerpt(words);
      return new Failure(code, `${call.method} ${call.path}: ${what}${said === '' ? '' : `${SAYS}${said}`}`);
    };
    if (answer.status < 200 || answer.status > 299) {
      const { code, what } = refusal(answer, call.path.startsWith(this.#device), meanings);
      throw fail(code, what, answer.location ?? answer.text);
    }
    try {
      return read(answer.text);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      throw fail(error.code, error.message, answer.text);
    }
  }
}

function refusal(
  { status, location }: Answer,
  aboutDevice: boolean,
  meanings: Readonly<Record<number, FailureCode>>,
): { code: FailureCode; what: string } {
  const meaning = meanings[status];
  if (meaning !== undefined) return { code: meaning, what: `the server declined (${status})` };
  if (status === 401) return { code: 'meeting.token-refused', what: 'the server does not accept the token (401)' };
  if (status === 404 && aboutDevice) {
    return { code: 'meeting.not-provisioned', what: 'the server does not know this device (404)' };
  }
  if (status === 403 && aboutDevice) {
    return { code: 'meeting.forbidden', what: 'the server declines this device (403)' };
  }
  if (location !== null && status >= 300 && status < 400) {
    const what = `the server points to another address (${status}), which is not followed`;
    return { code: 'meeting.api-redirect', what };
  }
  return { code: status >= 500 ? 'meeting.api-error' : 'meeting.api-answer', what: `status ${status}` };
}
