import { asFailure, Failure } from '../../support/failures.ts';
import type { Probe } from '../facts.ts';
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

/** Whatever listens at the socket may answer whatever it likes. */
function isStatus(answer: unknown): answer is ServiceStatus {
  if (typeof answer !== 'object' || answer === null) return false;
  const { version, pid, pairing } = answer as Partial<Record<keyof ServiceStatus, unknown>>;
  return typeof version === 'string' && Number.isInteger(pid) && typeof pairing === 'object' && pairing !== null;
}
