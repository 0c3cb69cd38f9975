import { type Failure, type FailureCode, systemCode } from '../../support/failures.ts';
import { cleanText } from '../../support/text.ts';

// What the failures of the Meeting client mean to the checks api.*.

/** Which check tells a failure, under which of its findings. */
export type ApiMeaning =
  | { readonly check: 'api.reachable'; readonly finding: ReachableFinding }
  | { readonly check: 'api.device'; readonly finding: DeviceFinding };

export type ReachableFinding =
  | 'dns'
  | 'refused'
  | 'noWay'
  | 'closed'
  | 'slow'
  | 'certificate'
  | 'notTls'
  | 'needsTls'
  | 'redirect'
  | 'error'
  | 'notApi';
export type DeviceFinding = 'tokenRefused' | 'notProvisioned' | 'forbidden';

const reachable = (finding: ReachableFinding): ApiMeaning => ({ check: 'api.reachable', finding });
const device = (finding: DeviceFinding): ApiMeaning => ({ check: 'api.device', finding });

const MEANINGS: Partial<Record<FailureCode, ApiMeaning>> = {
  'meeting.api-timeout': reachable('slow'),
  'meeting.api-tls': reachable('certificate'),
  'meeting.api-tls-not-spoken': reachable('notTls'),
  'meeting.api-tls-required': reachable('needsTls'),
  'meeting.api-redirect': reachable('redirect'),
  'meeting.api-error': reachable('error'),
  'meeting.api-answer': reachable('notApi'),
  'meeting.token-refused': device('tokenRefused'),
  'meeting.not-provisioned': device('notProvisioned'),
  'meeting.forbidden': device('forbidden'),
};

/** Why there was no connection, or none that lasted, by the system's name for it. */
const UNREACHABLE: Readonly<Record<string, ReachableFinding>> = {
  ENOTFOUND: 'dns',
  EAI_AGAIN: 'dns',
  ECONNREFUSED: 'refused',
  ECONNRESET: 'closed',
  EPIPE: 'closed',
};

/** Null for a failure that nobody has thought of: it says nothing about the device. */
export function meaningOf(failure: Failure): ApiMeaning | null {
  if (failure.code !== 'meeting.api-unreachable') return MEANINGS[failure.code] ?? null;
  return reachable(UNREACHABLE[systemCode(failure.cause) ?? ''] ?? 'noWay');
}

/** Whether a server that answers 404 speaks of the device; else the path may be unknown to it. */
export function speaksOfDevice({ message }: Failure): boolean {
  return /; it says: .*\bdevice\b/i.test(message);
}

const EVIDENCE_CHARACTERS = 400;

/** `GET https://…/api/devices/KEY → 401: the server does not accept the token (12 ms)`. */
export function evidenceOf(
  api: { url: string; deviceKey: string },
  path: string,
  came: string,
  tookMs: number,
): string {
  const request = `GET ${baseOf(api.url)}/api/devices/${encodeURIComponent(api.deviceKey)}${path}`;
  return `${request} → ${cleanText(withStatusFirst(whatOf(came)), EVIDENCE_CHARACTERS)} (${Math.round(tookMs)} ms)`;
}

/** The address that `/api` follows. */
export function baseOf(url: string): string {
  return url.replace(/\/+$/, '').replace(/\/api$/, '');
}

/** A sentence of the Meeting client without the call that it begins with. */
export function whatOf(sentence: string): string {
  return cleanText(sentence.replace(/^(?:GET )?\S*\/\S*:? /, ''), EVIDENCE_CHARACTERS);
}

function withStatusFirst(what: string): string {
  const inBrackets = / \(([1-5]\d\d)\)/.exec(what);
  if (inBrackets !== null) return `${inBrackets[1]}: ${what.replace(inBrackets[0], '')}`;
  return what.replace(/^status ([1-5]\d\d)(?:; )?/, (_, status: string) => `${status}: `).replace(/: $/, '');
}
