import type { CheckReport, Report } from '../diagnose/report.ts';
import type { Clock } from '../support/clock.ts';
import { asFailure } from '../support/failures.ts';
import type { Log } from '../support/log.ts';
import type { Trouble } from './troubles.ts';

/** The cause that the service found by itself, fit for JSON; its texts as the runner gives them, fit for a terminal. */
export interface Diagnosis {
  /** The id of the check that failed, and what it looks at. */
  check: string;
  title: string;
  summary: string;
  /** Lines. */
  evidence: string | null;
  remedy: string | null;
  /** Since it was found. */
  agoMs: number;
  /** The trouble that it was looked for is over. */
  over: boolean;
}

export interface SelfDiagnosisOptions {
  troubles: () => readonly Trouble[];
  /** Makes the checks, also those that need no trouble to be made. */
  examine: (signal: AbortSignal) => Promise<Report>;
  clock: Clock;
  log: Log;
}

/** A trouble that lasts so long is looked into, one that was absent for so long is over; in between is a hiccup. */
export const SETTLE_MS = 10_000;
/** Between two runs. */
export const APART_MS = 60_000;
/** Between two runs for the same troubles; doubled each time, for a check may write a file, and an offline site stays so. */
export const AGAIN_MS = { first: 10 * 60_000, most: 60 * 60_000 };
/** Kinds of troubles come from peers, too. */
const REMEMBERED = 32;

interface Seen {
  readonly code: string;
  readonly sinceMs: number;
  readonly atMs: number;
}

/**
 * Makes the checks of `diagnose` when somebody is kept out, and remembers the cause. It has no timer: whoever wakes up
 * anyway calls `look`, which costs nothing while there is no trouble.
 */
export class SelfDiagnosis {
  readonly #options: SelfDiagnosisOptions;
  readonly #stopping = new AbortController();
  /** By what they are about; those that passed a moment ago, too. */
  readonly #seen = new Map<string, Seen>();
  /** When each combination of troubles was looked into last. */
  readonly #examined = new Map<string, number>();
  #lastCombination = '';
  #lastRunAtMs = Number.NEGATIVE_INFINITY;
  #againMs = AGAIN_MS.first;
  /** What happened until then was looked into, and nothing is wrong any more. */
  #clearedAtMs = Number.NEGATIVE_INFINITY;
  #found: { cause: CheckReport; about: ReadonlySet<string>; atMs: number; refuted: boolean } | null = null;
  #run: Promise<void> | null = null;

  constructor(options: SelfDiagnosisOptions) {
    this.#options = options;
  }

  /** Sees what is wrong now, and looks into it where it is time. Returns at once. */
  look(): void {
    const nowMs = this.#options.clock.nowMs();
    this.#see(nowMs);
    const lasting = [...this.#seen].filter(([, { sinceMs, atMs }]) => atMs === nowMs && nowMs - sinceMs >= SETTLE_MS);
    if (this.#seen.size === 0) this.#againMs = AGAIN_MS.first;
    if (lasting.length === 0 || this.#run !== null || this.#stopping.signal.aborted) return;
    const combination = lasting
      .map(([what, { code }]) => `${what}: ${code}`)
      .sort()
      .join(', ');
    if (combination !== this.#lastCombination) this.#againMs = AGAIN_MS.first;
    const lastMs = this.#examined.get(combination);
    if (nowMs - this.#lastRunAtMs < APART_MS || (lastMs !== undefined && nowMs - lastMs < this.#againMs)) return;

    if (lastMs !== undefined) this.#againMs = Math.min(2 * this.#againMs, AGAIN_MS.most);
    if (this.#examined.size >= REMEMBERED) this.#examined.clear();
    this.#examined.set(combination, nowMs);
    this.#lastCombination = combination;
    this.#lastRunAtMs = nowMs;
    const about = new Set(lasting.map(([what]) => what));
    this.#run = this.#examine(about, combination, nowMs).finally(() => {
      this.#run = null;
    });
  }

  /** The last cause that was found; null where none was since the start. */
  status(): Diagnosis | null {
    if (this.#found === null) return null;
    const { cause, about, atMs, refuted } = this.#found;
    const { id, title, summary, evidence, remedy } = cause;
    return {
      check: id,
      title,
      summary,
      evidence,
      remedy,
      agoMs: this.#options.clock.nowMs() - atMs,
      over: refuted || ![...about].some((what) => this.#seen.has(what)),
    };
  }

  /** Ends a run that is under way, and begins no other. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error('the service is being stopped'));
    await this.#run;
  }

  #see(nowMs: number): void {
    for (const { what, code, agoMs } of this.#options.troubles()) {
      const atMs = nowMs - agoMs;
      if (atMs <= this.#clearedAtMs) continue;
      this.#seen.set(what, { code, sinceMs: this.#seen.get(what)?.sinceMs ?? atMs, atMs: nowMs });
    }
    for (const [what, { atMs }] of this.#seen) {
      if (nowMs - atMs >= SETTLE_MS) this.#seen.delete(what);
    }
  }

  async #examine(about: ReadonlySet<string>, combination: string, startMs: number): Promise<void> {
    const { examine, clock, log } = this.#options;
    const { signal } = this.#stopping;
    try {
      log.debug({ troubles: combination }, 'looking for the cause');
      const report = await examine(signal);
      if (signal.aborted) return;
      const cause = report.checks.find(({ id }) => id === report.cause);
      if (cause === undefined) {
        this.#clearedAtMs = startMs;
        if (this.#found !== null) this.#found.refuted = true;
        return;
      }
      const known = this.#found?.refuted === false && this.#found.cause.summary === cause.summary;
      this.#found = { cause, about, atMs: clock.nowMs(), refuted: false };
      const { id, summary, evidence, remedy } = cause;
      log[known ? 'debug' : 'warn']({ check: id, evidence, remedy }, `the cause: ${summary}`);
    } catch (error) {
      if (signal.aborted) return;
      const { code, remedy, message } = asFailure(error);
      log.error({ code, remedy, err: error }, `the cause could not be looked for: ${message}`);
    }
  }
}
