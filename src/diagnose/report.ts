import type { Outcome } from './check.ts';
import type { CheckId } from './ids.ts';

/** A check that was made, as `diagnose --json` prints it. */
export interface CheckReport extends Outcome {
  readonly id: CheckId;
  readonly title: string;
  readonly dependsOn: readonly CheckId[];
  readonly durationMs: number;
}

/** What `diagnose --json` prints. */
export interface Report {
  /** Nothing failed. */
  readonly ok: boolean;
  readonly version: string;
  /** The device key, or the host name of a device that has none. */
  readonly device: string;
  /** ISO 8601, by the device's own clock. */
  readonly startedAt: string;
  readonly durationMs: number;
  /** The id of the root failure, or null. */
  readonly cause: CheckId | null;
  readonly checks: readonly CheckReport[];
}

/** The failed check that stands first; those that it has brought about are skipped. Pure. */
export function causeOf(checks: readonly CheckReport[]): CheckReport | null {
  return checks.find(({ status }) => status === 'fail') ?? null;
}
