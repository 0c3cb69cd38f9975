/** How a call ended, as far as the next one depends on it. */
export type Outcome =
  | 'done'
  /** The server was not reached, or answered nonsense: it may be back at any moment. */
  | 'failed'
  /** The server understood and declined: until a person acts, nothing will change. */
  | 'refused';

/** The first retry after a failure; a server that restarts is back by then. */
const FIRST_FAILED_MS = 10_000;
/** A server that was away for hours hears again of every device within this time, or the usual one if that is longer. */
const LONGEST_FAILED_MS = 2 * 60_000;
/** Minutes (wire 2): who provisions a device looks at it a little later. */
const FIRST_REFUSED_MS = 4 * 60_000;
const LONGEST_REFUSED_MS = 10 * 60_000;

/**
 * Milliseconds until the next call. Pure: `random` gives a number in [0, 1). After a success `usualMs`; else a range
 * whose upper end doubles with each failure in a row, drawn from its upper half, so that a fleet does not come at once.
 *
 * @param failures in a row, this one included
 */
export function nextDelayMs(outcome: Outcome, failures: number, usualMs: number, random: () => number): number {
  if (outcome === 'done') return usualMs;
  const [first, longest] =
    outcome === 'refused'
      ? [FIRST_REFUSED_MS, LONGEST_REFUSED_MS]
      : [Math.min(FIRST_FAILED_MS, usualMs), Math.max(LONGEST_FAILED_MS, usualMs)];
  const ceiling = Math.min(first * 2 ** (failures - 1), longest);
  return ceiling * (0.5 + random() / 2);
}
