import { asFailure, Failure } from '../../support/failures.ts';
import type { Facts, Probe } from '../facts.ts';
import { settled } from '../settle.ts';
import type { ServiceStatus } from '../tools.ts';

/** What the running service said, or why it said nothing. */
export type Asked = { status: ServiceStatus; failure: null } | { status: null; failure: Failure };

/** A healthy service answers in milliseconds, on a Pi that is busy too. */
const ANSWER_MS = 4_000;

/** The status of the running service, asked for once a run. Never rejects. */
export const service: Probe<Asked> = async ({ tools, clock, signal }) => {
  try {
    const status = await new Promise<unknown>((resolve, reject) => {
      const late = () => reject(new Failure('service.no-answer', `no answer within ${ANSWER_MS} ms`));
      const cancel = clock.after(ANSWER_MS, late);
      tools.service(signal).then(resolve, reject).finally(cancel);
    });
    if (!isStatus(status)) throw new Failure('service.no-answer', 'the answer is not the status of a service');
    return { status, failure: null };
  } catch (error) {
    return { status: null, failure: asFailure(error) };
  }
};

/** What it says now, for what may change from one moment to the next; what it said before where it does not answer. */
export async function serviceAgain(facts: Facts, before: ServiceStatus): Promise<ServiceStatus> {
  const now = await facts.tools.service(facts.signal).catch(() => null);
  return isStatus(now) ? now : before;
}

/**
 * The status as soon as it is free of what passes by itself on a healthy device, or as it still is when that takes longer.
 * @param withinMs how soon it must be gone
 */
export async function settledStatus(
  facts: Facts,
  first: ServiceStatus,
  withinMs: number,
  passes: (status: ServiceStatus) => boolean | Promise<boolean>,
): Promise<ServiceStatus> {
  let status: ServiceStatus | null = null;
  await settled(facts, withinMs, async () => {
    status = status === null ? first : await serviceAgain(facts, status);
    return (await passes(status)) ? status : null;
  });
  return status ?? first;
}

/** Whatever listens at the socket may answer whatever it likes. */
function isStatus(answer: unknown): answer is ServiceStatus {
  if (typeof answer !== 'object' || answer === null) return false;
  const { version, pid, pairing } = answer as Partial<Record<keyof ServiceStatus, unknown>>;
  return typeof version === 'string' && Number.isInteger(pid) && typeof pairing === 'object' && pairing !== null;
}
