/** Ends a timer; calling it again, or after the timer fired, does nothing. */
export type Cancel = () => void;

/**
 * Monotonic time and the timers that follow it. Every decision of the product uses this clock: a Pi has no clock
 * battery, so the wall clock steps by years at the first NTP answer and must neither open pairing nor end a session.
 */
export interface Clock {
  /** Milliseconds since an arbitrary start, never going back. */
  nowMs(): number;
  /** Calls `fn` once after `delayMs`. */
  after(delayMs: number, fn: () => void): Cancel;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  after(delayMs, fn) {
    const timer = setTimeout(fn, delayMs);
    return () => clearTimeout(timer);
  },
};

/** Resolves after `delayMs`, or at once when `signal` is aborted; never rejects, so that a stop needs no catch. */
export function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const finish = () => {
      cancel();
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = clock.after(delayMs, finish);
    signal.addEventListener('abort', finish);
  });
}
