import { setMaxListeners } from 'node:events';
import { abortScope } from '../support/abort-scope.ts';
import { Failure } from '../support/failures.ts';
import type { Check, Outcome } from './check.ts';
import { Facts, type Subject } from './facts.ts';
import { CHECK_IDS, type CheckId } from './ids.ts';
import { printableOutcome, secretsOf } from './printable.ts';
import { type CheckReport, causeOf, type Report } from './report.ts';

/** For one check, its programs and connections included. */
export const DEADLINE_MS = 6_000;
/** For the whole run; what is not finished by then is not known. A slow board starts Node twice besides, within 15 s in all. */
export const RUN_DEADLINE_MS = 12_000;
const TRY_AGAIN = 'Look at it alone, the machine may be busy: tunnel-agent diagnose --only ID';

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

/** How a check went: what is told of it, and what that means for those that depend on it. */
interface Made {
  readonly report: CheckReport;
  /** It failed by itself, also where another check is told as the reason. */
  readonly failed: boolean;
  /** The check that is the reason why this one is told as skipped; itself where there is none. */
  readonly origin: CheckReport;
}

/** Makes all checks, those that do not wait for each other at the same time. Never rejects, and never takes longer than `RUN_DEADLINE_MS`. */
export async function runChecks(options: RunOptions): Promise<Report> {
  const { subject, device, startedAt, signal, onProgress = () => undefined } = options;
  const { clock, version } = subject;
  const startMs = clock.nowMs();
  const { scope, release } = abortScope(signal);
  const cancelDeadline = clock.after(RUN_DEADLINE_MS, () => scope.abort(new Error('the run took too long')));
  setMaxListeners(0, scope.signal); // every check hears of the end, and every program and connection of it
  const facts = new Facts(subject, scope.signal);
  const secrets = secretsOf(facts.config);
  const order = (id: CheckId) => CHECK_IDS.indexOf(id);
  const checks = options.checks.toSorted((a, b) => order(a.id) - order(b.id));

  const made = new Map<CheckId, Promise<Made>>();
  // A check that is not part of the run says nothing.
  const others = async (ids: readonly CheckId[]) => Promise.all(ids.flatMap((id) => made.get(id) ?? []));
  const make = async (check: Check): Promise<Made> => {
    const { id, title, dependsOn, explainedBy } = check;
    await Promise.resolve(); // all are known then
    const blocking = (await others(dependsOn)).filter(
      ({ report: { status } }) => status === 'fail' || status === 'skip',
    );
    const origins = blocking.map(({ origin }) => origin);
    const origin = origins.find(({ status }) => status === 'fail') ?? origins[0] ?? null;
    const startMs = clock.nowMs();
    onProgress({ id, title, ended: null });
    const found = await outcomeOf(check, facts, origin);
    const durationMs = Math.round(clock.nowMs() - startMs);
    const failed = found.status === 'fail';
    const reason = failed ? ((await others(explainedBy)).find((other) => other.failed)?.origin ?? null) : null;
    const outcome: Outcome =
      reason === null
        ? found
        : { ...found, status: 'skip', summary: `because of ${reason.id}: ${found.summary}`, remedy: null };
    const report: CheckReport = {
      ...{ id, title, ...printableOutcome(outcome, secrets) },
      dependsOn: [...dependsOn, ...explainedBy],
      durationMs,
    };
    onProgress({ id, title, ended: report });
    return { report, failed, origin: reason ?? origin ?? report };
  };
  for (const check of checks) made.set(check.id, make(check));
  const reports = (await Promise.all(made.values())).map(({ report }) => report);

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

/** @param origin of what keeps it from being looked at */
async function outcomeOf(check: Check, facts: Facts, origin: CheckReport | null): Promise<Outcome> {
  const skipped = (summary: string): Outcome => ({ status: 'skip', summary, evidence: null, remedy: null });
  if (origin !== null) {
    return skipped(`not looked at, because ${origin.id} ${origin.status === 'fail' ? 'failed' : 'was skipped'}`);
  }
  if (check.network && !facts.options.network) return skipped('left out by --no-network');
  const outcome = await bounded(check, facts);
  const { isReadable, file } = facts.settings;
  if (isReadable || (outcome.status !== 'fail' && outcome.status !== 'warn')) return outcome;
  // It was looked for where a device has it that nobody has configured. This one may have it elsewhere.
  const why = `not known, since this user may not read ${file}; by the defaults: ${outcome.summary}`;
  return { ...outcome, status: 'unknown', summary: why, remedy: 'Run it as root: sudo tunnel-agent diagnose' };
}

/** Whatever the check does: its outcome, or that it could not look. */
function bounded(check: Check, facts: Facts): Promise<Outcome> {
  const { signal, clock } = facts;
  return new Promise((resolve) => {
    const settle = (outcome: Outcome) => {
      cancel();
      signal.removeEventListener('abort', onAbort);
      resolve(outcome);
    };
    const unknown = (summary: string, remedy: string | null = TRY_AGAIN) =>
      settle({ status: 'unknown', summary, evidence: null, remedy });
    const onAbort = () => unknown('not finished when the run ended');
    const cancel = clock.after(DEADLINE_MS, () => unknown(`not finished within ${DEADLINE_MS / 1_000} s`));
    if (signal.aborted) return unknown('not begun when the run ended');
    signal.addEventListener('abort', onAbort);
    Promise.resolve()
      .then(() => check.run(facts))
      .then(settle, (error: unknown) =>
        unknown(
          `could not be looked at: ${error instanceof Error ? error.message : String(error)}`,
          error instanceof Failure ? error.remedy : null,
        ),
      );
  });
}
