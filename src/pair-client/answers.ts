import { cleanText } from '../support/text.ts';
import type { Outcome } from './flow.ts';

/** An answer of whatever listens at the device's port: nothing in it is trusted. */
export interface Answer {
  status: number;
  headers: Readonly<Record<string, string | string[] | undefined>>;
  body: string;
}

/** What `/zeroforce/info` tells; null for what this firmware does not. */
export interface PeerInfo {
  version: string | null;
  hostname: string | null;
  policy: string | null;
  /** With the policy `pin`: whether a proof would be listened to now. */
  pinReady: boolean;
}

/** Without a Retry-After that makes sense. */
const BUSY_MS = 60_000;

/** The first firmware answers the bare word, later firmware `{"ready":…}`; null for anything else, such as a web page. */
export function readyOf({ status, body }: Answer): boolean | null {
  if (status !== 200) return null;
  const text = body.trim();
  const ready = text === 'true' || text === 'false' ? text === 'true' : objectOf(text)?.ready;
  return typeof ready === 'boolean' ? ready : null;
}

/** null where the firmware is too old to tell, or something else answers. */
export function infoOf({ status, body }: Answer): PeerInfo | null {
  const info = status === 200 ? objectOf(body) : null;
  if (info === null) return null;
  const text = (value: unknown) => (typeof value === 'string' && value !== '' ? cleanText(value, 64) : null);
  return {
    version: text(info.version),
    hostname: text(info.hostname),
    policy: text(info.policy),
    pinReady: info.pin_ready === true,
  };
}

/** What the answer to a key means, with or without a proof; a page that says 200 is no success. */
export function takenOf(answer: Answer): Outcome {
  const { status, body } = answer;
  if (status >= 200 && status < 300) {
    const said = objectOf(body);
    const taken = body.trim() === 'OK' || said?.ok === true || said?.status === 'ok';
    if (taken && said?.ok !== false) return { kind: 'taken' };
  }
  if (status === 403) return { kind: 'closed', pin: false };
  if (status === 429 || (status === 503 && answer.headers['retry-after'] !== undefined)) return busyOf(answer);
  if ([400, 413, 415, 422].includes(status)) {
    const sentence = `the device does not accept the key: ${wordsOf(answer)}`;
    return { kind: 'hopeless', reason: { code: 'pair.key-rejected', sentence } };
  }
  return { kind: 'no-answer', why: `setkey was answered as no device does: ${wordsOf(answer)}` };
}

export function busyOf({ headers }: Answer): Outcome {
  const seconds = String(headers['retry-after'] ?? '');
  // The other form of Retry-After is a date, and the clock of a device may stand in another year.
  return { kind: 'busy', afterMs: /^\d{1,6}$/.test(seconds) ? Number(seconds) * 1000 : BUSY_MS };
}

/** The sentence of a refusal, else its status and what kind of thing was sent, fit for a terminal. */
export function wordsOf({ status, headers, body }: Answer): string {
  const error = objectOf(body)?.error;
  if (typeof error === 'string' && error !== '') return cleanText(error);
  const type = cleanText(String(headers['content-type'] ?? 'no type'), 40);
  return `HTTP ${status}, ${body.length} characters (${type})`;
}

export function objectOf(body: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}
