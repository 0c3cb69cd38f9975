import { abortScope } from '../support/abort-scope.ts';
import type { Clock } from '../support/clock.ts';
import type { Check, Outcome } from './check.ts';
import { Facts, type Subject } from './facts.ts';
import { CHECK_IDS, type CheckId } from './ids.ts';
import { type CheckReport, causeOf, type Report } from './report.ts';

/** For one check, its programs and connections included. */
export const DEADLINE_MS = 6_000;
/** For the whole run; what is not finished by then is not known. */
export const RUN_DEADLINE_MS = 13_000;

export interface RunOptions {
  checks: readonly Check[];
  subject: Subject;
  /** The device key, or a name for it. */
  device: string;
  /** Wall clock, for people: ISO 8601. */
  startedAt: string;
  /** Ends the run early; what is not finished is then told as unknown. */
  signal: AbortSignal;
  /** Called as each check begins and ends, in the order in which that happens. */
  onProgress?: (progress: { id: CheckId; title: string; ended: CheckReport | null }) => void;
}

/** Makes all checks, those that do not wait for each other at the same time. Never rejects, and never takes longer than `RUN_DEADLINE_MS`. */
export async function runChecks(options: RunOptions): Promise<Report> {
  const { subject, device, startedAt, signal, onProgress } = options;
  const { clock, version } = subject;
  const startMs = clock.nowMs();
  const { scope, release } = abortScope(signal);
  const cancelDeadline = clock.after(RUN_DEADLINE_MS, () => scope.abort(new Error('the run took too long')));
  const facts = new Facts(subject, scope.signal);
  const order = (id: CheckId) => CHECK_IDS.indexOf(id);
  const checks = options.checks.toSorted((a, b) => order(a.id) - order(b.id));

  const running = new Map<CheckId, Promise<CheckReport>>();
  const start = (check: Check): Promise<CheckReport> => {
    const known = running.get(check.id);
    if (known !== undefined) return known;
    const report = make(
      check,
      facts,
      (id) => {
        const other = checks.find((each) => each.id === id);
        return other === undefined ? null : start(other);
      },
      onProgress,
    );
    running.set(check.id, report);
    return report;
  };
  const reports = await Promise.all(checks.map(start));

  cancelDeadline();
  release();
  scope.abort(new Error('the run has ended'));
  const cause = causeOf(reports);
  return {
    ok: cause === null,
    version,
    device,
    startedAt,
    durationMs: Math.round(clock.nowMs() - startMs),
    cause: cause?.id ?? null,
    checks: reports,
  };
}

/** @param reportOf of another check; null where it is not part of this run, and says nothing then */
async function make(
  check: Check,
  facts: Facts,
  reportOf: (id: CheckId) => Promise<CheckReport> | null,
  onProgress: RunOptions['onProgress'],
): Promise<CheckReport> {
  const { id, title, dependsOn, explainedBy } = check;
  const { clock } = facts;
  const waited = async (ids: readonly CheckId[]) =>
    (await Promise.all(ids.map(async (id) => reportOf(id)))).filter((report) => report !== null);
  await Promise.resolve(); // so that whoever depends on whom is known by then

  const blocking = (await waited(dependsOn)).find(({ status }) => status === 'fail' || status === 'skip');
  const startMs = clock.nowMs();
  onProgress?.({ id, title, ended: null });
  const outcome = await outcomeOf(check, facts, blocking);
  const durationMs = Math.round(clock.nowMs() - startMs);
  const reason =
    outcome.status === 'fail' ? (await waited(explainedBy)).find(({ status }) => status === 'fail') : undefined;
  const told: Outcome =
    reason === undefined
      ? outcome
      : { ...outcome, status: 'skip', summary: `because of ${reason.id}: ${outcome.summary}`, remedy: null };
  const report = { id, title, ...told, dependsOn: [...dependsOn, ...explainedBy], durationMs };
  onProgress?.({ id, title, ended: report });
  return report;
}

function outcomeOf(check: Check, facts: Facts, blocking: CheckReport | undefined): Promise<Outcome> | Outcome {
  const skipped = (summary: string): Outcome => ({ status: 'skip', summary, evidence: null, remedy: null });
  if (blocking?.status === 'fail') return skipped(`not looked at, because ${blocking.id} failed`);
  if (blocking !== undefined) return skipped(`not looked at, because ${blocking.id} was skipped`);
  if (check.network && !facts.options.network) return skipped('left out by --no-network');
  return bounded(check, facts, facts.clock);
}

/** Whatever the check does: its outcome, or that it could not look. */
function bounded(check: Check, facts: Facts, clock: Clock): Promise<Outcome> {
  const { signal } = facts;
  return new Promise((resolve) => {
    const unknown = (summary: string) => {
      cancel();
      signal.removeEventListener('abort', onAbort);
      resolve({ status: 'unknown', summary, evidence: null, remedy: null });
    };
    const onAbort = () => unknown('was not finished when the run ended');
    const cancel = clock.after(DEADLINE_MS, () => unknown(`was not finished within ${DEADLINE_MS / 1000} s`));
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort);
    check.run(facts).then(
      (outcome) => {
        cancel();
        signal.removeEventListener('abort', onAbort);
        resolve(outcome);
      },
      (error: unknown) => unknown(`could not be looked at: ${error instanceof Error ? error.message : String(error)}`),
    );
  });
}
