import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits until `probe` gives something other than null, undefined or false, and returns it. For states of other
 * processes, which send no event; inside one process wait for the event itself.
 */
export async function until<T>(
  what: string,
  probe: () => T | null | undefined | false | Promise<T | null | undefined | false>,
  timeoutMs = 60_000,
): Promise<T> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const value = await probe();
    if (value !== null && value !== undefined && value !== false) return value;
    if (performance.now() > endMs) throw new Error(`waited ${timeoutMs} ms in vain for: ${what}`);
    await sleep(20);
  }
}
