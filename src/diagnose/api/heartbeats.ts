import { cleanText } from '../../support/text.ts';
import type { ServiceStatus } from '../tools.ts';

/** What the service says of its heartbeats, where the server does not list the device as available. */
export interface Judged {
  /** Of the check api.availability; null where nothing is the matter. */
  readonly finding: 'unheard' | 'seldom' | 'failing' | 'recovering' | 'otherService' | null;
  readonly values: Readonly<Record<string, string | number>>;
  readonly evidence: string;
}

/** Both ends may have been asked a moment before a heartbeat. */
const FRESH_MS = 5_000;
/** Servers count a device as gone after some missed minutes. */
const SELDOM_MS = 100_000;
/** Codes of what the server itself answered to a heartbeat; others may be over, since it answers now. */
const ANSWERED = /^meeting\.(?:api-answer|api-error|api-redirect|token-refused|not-provisioned|forbidden)$/;

/** @param url the address of the API that was asked just now */
export function judgeHeartbeats({ meetingApi }: ServiceStatus, url: string): Judged {
  if (meetingApi === null) {
    return { finding: 'otherService', values: { where: 'nowhere' }, evidence: 'sends no heartbeats' };
  }
  const { state, lastHeartbeat, lastFailure, nextHeartbeatInMs } = meetingApi;
  if (meetingApi.url !== url) {
    const where = `to ${meetingApi.url}`;
    return { finding: 'otherService', values: { where }, evidence: `sends heartbeats ${where}` };
  }
  if (state === 'starting') return { finding: null, values: {}, evidence: 'its first heartbeat is under way' };
  if (state === 'online' && lastHeartbeat !== null) {
    const { agoMs } = lastHeartbeat;
    const ago = Math.round(agoMs / 1000);
    const finding = agoMs < FRESH_MS ? null : agoMs > SELDOM_MS ? 'seldom' : 'unheard';
    return { finding, values: { ago }, evidence: `its last heartbeat was answered ${ago} s ago` };
  }
  const why = lastFailure === null ? 'no reason is known' : cleanText(lastFailure.sentence, 300);
  const next = nextHeartbeatInMs === null ? '' : `; the next follows in ${Math.round(nextHeartbeatInMs / 1000)} s`;
  const refused = lastFailure !== null && ANSWERED.test(lastFailure.code);
  return {
    finding: refused ? 'failing' : 'recovering',
    values: { why },
    evidence: `its last heartbeat failed: ${why}${next}`,
  };
}
