import { setImmediate } from 'node:timers/promises';
import type { Config } from '../../src/config/types.ts';
import { type Check, defineCheck, type Outcome } from '../../src/diagnose/check.ts';
import { DEFAULT_OPTIONS, type Facts, type Subject } from '../../src/diagnose/facts.ts';
import type { CheckId } from '../../src/diagnose/ids.ts';
import type { CheckReport, Report } from '../../src/diagnose/report.ts';
import type { Tools } from '../../src/diagnose/tools.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** A subject that nothing is known of. */
export function subject(change: Partial<Subject> = {}, config: Partial<Config> = {}): Subject & { clock: FakeClock } {
  return {
    version: '1.2.3',
    settings: {
      config: { meeting: null, ssh: null, meetingApi: null, ...config } as Config,
      ...{ faults: [], notices: [], file: '/etc/zeroforce/config.json', origin: 'file' },
      ...{ identity: { faults: [], set: [], missing: [] }, isReadable: true },
    },
    options: DEFAULT_OPTIONS,
    tools: {} as Tools,
    ...change,
    clock: new FakeClock(),
  };
}

export const FINDINGS = {
  broken: { status: 'fail', symptom: 'It does not work.', meaning: 'it is broken: {why}', remedy: 'mend {why}' },
} as const;

type Rest = Partial<Pick<Check, 'dependsOn' | 'explainedBy' | 'network'>>;

/** A check that says it is fine, or what `run` says. */
export function check(id: CheckId, rest: Rest & { run?: (facts: Facts) => Promise<Outcome> | Outcome } = {}): Check {
  const { run, ...others } = rest;
  return defineCheck({
    ...{ id, title: `${id} works`, findings: FINDINGS, ...others },
    run: (facts, say) => run?.(facts) ?? say.ok('fine', 'looked'),
  });
}

export const outcome = (status: Outcome['status'], summary: string = status): Outcome => ({
  ...{ status, summary, evidence: `saw ${summary}`, remedy: `mend ${summary}` },
});
export const fails = () => outcome('fail', 'broken');
export const skips = () => outcome('skip', 'nothing there');
export const hangs = () => new Promise<Outcome>(() => undefined);

/** Lets everything happen that waits for nothing but its turn. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await setImmediate();
}

/** A check as a report has it. */
export function checkReport(id: CheckId, status: Outcome['status'], change: Partial<CheckReport> = {}): CheckReport {
  return {
    ...{ id, title: `${id} works`, status, summary: `${id} is ${status}`, evidence: null, remedy: null },
    ...{ dependsOn: [], durationMs: 3, ...change },
  };
}

export function report(checks: readonly CheckReport[], change: Partial<Report> = {}): Report {
  const cause = checks.find(({ status }) => status === 'fail')?.id ?? null;
  return {
    ...{ ok: cause === null, version: '1.2.3', device: 'beamer-1', startedAt: '2026-11-21T10:00:00.000Z' },
    ...{ durationMs: 1_234, cause, checks, ...change },
  };
}
