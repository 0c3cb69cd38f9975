import { type Clock, pause } from '../support/clock.ts';
import type { Session } from './session.ts';

/** A device that is held finishes what it does within this time, or is cut off. */
export const DRAIN_MS = 30_000;
/** As many as the gateway takes in a second without a queue, after it was measured (docs/performance.md). */
const COME_BACK_PER_SECOND = 200;
const COME_BACK_MIN_MS = 1_000;
const COME_BACK_MAX_MS = 60_000;
const LOOK_MS = 50;

/** When the devices are to come back, so that not all come at once: one at once, 5,000 within 25 s. */
export function comeBackRange(devices: number): { minMs: number; maxMs: number } {
  const spreadMs = (devices / COME_BACK_PER_SECOND) * 1000;
  return { minMs: 0, maxMs: Math.min(COME_BACK_MAX_MS, Math.max(COME_BACK_MIN_MS, Math.ceil(spreadMs))) };
}

/**
 * Ends all sessions: those with nothing open at once, the others when that is finished, all after `graceMs`. Nobody may
 * be let in any more. Gives how many had to be cut off.
 *
 * @param hurry aborted when it is to happen at once
 */
export async function drain(
  sessions: { all(): Session[] },
  { graceMs, hurry, clock }: { graceMs: number; hurry: AbortSignal; clock: Clock },
): Promise<number> {
  const all = sessions.all();
  const comeBack = comeBackRange(all.length);
  for (const session of all) session.drain(comeBack);
  const endMs = clock.nowMs() + graceMs;
  while (sessions.all().length > 0 && clock.nowMs() < endMs && !hurry.aborted) await pause(clock, LOOK_MS, hurry);
  const left = sessions.all();
  for (const session of left) session.end('shutdown');
  return left.length;
}
