import { abortScope } from '../../support/abort-scope.ts';
import { Failure } from '../../support/failures.ts';
import { evidenceOf } from '../api/answer.ts';
import type { Facts, Probe } from '../facts.ts';
import type { ApiTool } from '../tools.ts';

/** One call to the Meeting API, asked as the service asks it. */
export type Asked<T> = {
  /** The call and what came of it: `GET https://…/api/devices/KEY → 401: …`. */
  readonly evidence: string;
} & ({ readonly answer: T; readonly failure: null } | { readonly answer: null; readonly failure: Failure });

type DeviceAnswer = Awaited<ReturnType<ApiTool['device']>>;
type Availability = Awaited<ReturnType<ApiTool['availability']>>;

/** Together with the first call it stays below what a check may take. */
const SERVED_TIMEOUT_MS = 1_500;

/** What the Meeting API says of this device; null where no API is configured. */
export const deviceAnswer: Probe<Asked<DeviceAnswer> | null> = ({ tools: { api }, clock, signal }) =>
  ask(api, '', () => api?.device(signal), describeDevice, clock);

/** How the Meeting API lists this device; null where no API is configured. */
export const availabilityAnswer: Probe<Asked<Availability> | null> = ({ tools: { api }, clock, signal }) =>
  ask(api, '/availability', () => api?.availability(signal), String, clock);

/** Whether the API is there although it knows nothing of this device; null where that could not be found out. */
export const apiServed: Probe<boolean | null> = async ({ tools: { api }, clock, signal }) => {
  const { scope, release } = abortScope(signal);
  const cancel = clock.after(SERVED_TIMEOUT_MS, () => scope.abort(new Error('it took too long')));
  try {
    return (await api?.isServed(scope.signal)) ?? null;
  } catch {
    return null;
  } finally {
    cancel();
    release();
  }
};

async function ask<T>(
  api: ApiTool | null,
  path: string,
  call: () => Promise<T> | undefined,
  describe: (answer: T) => string,
  clock: Facts['clock'],
): Promise<Asked<T> | null> {
  const asked = call();
  if (api === null || asked === undefined) return null;
  const startMs = clock.nowMs();
  const evidence = (came: string) => evidenceOf(api, path, came, clock.nowMs() - startMs);
  try {
    const answer = await asked;
    return { answer, failure: null, evidence: evidence(describe(answer)) };
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    return { answer: null, failure, evidence: evidence(failure.message) };
  }
}

function describeDevice({ authorized, services }: DeviceAnswer): string {
  const named = services === null ? 'nothing about services' : `services ${JSON.stringify(services)}`;
  return `${authorized ? 'authorized' : 'not authorized'}, ${named}`;
}
