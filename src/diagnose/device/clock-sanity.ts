// What can be known of a clock without asking anybody else. Times are milliseconds since 1970 of the wall clock.

/** 2026-01-01: no device had this program before. */
export const WRITTEN_MS = 1_767_225_600_000;
const DAY_MS = 24 * 60 * 60 * 1000;
/** No certificate and no device of today is in use by then. */
const FAR_MS = WRITTEN_MS + 20 * 365 * DAY_MS;

export type ClockState = 'sane' | 'past' | 'future' | 'behind';

/**
 * @param fileMs when files of this device were last changed: a clock that is well before one of them is behind, unless
 * that file is from a time that cannot be
 */
export function judgeClock(nowMs: number, fileMs: readonly number[]): ClockState {
  if (nowMs < WRITTEN_MS) return 'past';
  if (nowMs > FAR_MS) return 'future';
  const newest = Math.max(...fileMs.filter((ms) => ms >= WRITTEN_MS && ms <= FAR_MS));
  return newest - nowMs > DAY_MS ? 'behind' : 'sane';
}
