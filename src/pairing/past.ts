import { asFailure, type FailureCode } from '../support/failures.ts';
import type { Log } from '../support/log.ts';

/**
 * Whether the device was paired before it started: by the marker, or by a valid key in the key file
 * (pairing: state machine 4). Never rejects: where nobody can tell it counts as paired, and a stranger waits for the
 * timeout.
 */
export async function readPast(
  keyFile: { current(): Promise<object | null> },
  everPaired: { read(): Promise<boolean> },
  log: Log,
): Promise<{ everPaired: boolean; markerWritten: boolean }> {
  const marked = await ask(() => everPaired.read(), 'state.unreadable', log);
  if (marked !== 'no') return { everPaired: true, markerWritten: marked === 'yes' };
  const holdsKey = await ask(async () => (await keyFile.current()) !== null, 'key.unreadable', log);
  return { everPaired: holdsKey !== 'no', markerWritten: false };
}

async function ask(wasPaired: () => Promise<boolean>, code: FailureCode, log: Log): Promise<'yes' | 'no' | 'unknown'> {
  try {
    return (await wasPaired()) ? 'yes' : 'no';
  } catch (error) {
    const failure = asFailure(error, code);
    log.error({ code: failure.code, remedy: failure.remedy }, `the device counts as paired: ${failure.message}`);
    return 'unknown';
  }
}
