import { pause } from '../support/clock.ts';
import type { Facts } from './facts.ts';

/** As long as a check can wait for the next look of the monitor, which comes every 5 s by default. */
const LONGEST_MS = 5_300;
/** What a look takes, and the reading of what it left. */
const SLACK_MS = 400;
const AGAIN_MS = 200;

/**
 * What two parts say may differ for a moment, until the monitor looks again. Looks until there is no problem or that
 * moment is surely over; gives the last problem, and whether the time was long enough to believe it.
 *
 * @param withinMs how soon the difference must be gone on a healthy device
 */
export async function settled<T>(
  facts: Facts,
  withinMs: number,
  look: () => Promise<T | null>,
): Promise<{ problem: T | null; sure: boolean }> {
  const { clock, signal } = facts;
  const wantedMs = withinMs + SLACK_MS;
  const endMs = clock.nowMs() + Math.min(wantedMs, LONGEST_MS);
  let problem = await look();
  while (problem !== null && clock.nowMs() < endMs && !signal.aborted) {
    await pause(clock, AGAIN_MS, signal);
    problem = await look();
  }
  return { problem, sure: wantedMs <= LONGEST_MS + SLACK_MS && !signal.aborted };
}
