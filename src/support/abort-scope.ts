/**
 * A controller that is aborted with `signal`, and by whoever holds it. `release` lets the signal go: not AbortSignal.any,
 * of which a signal that lives for months keeps 60 bytes each (Node 20.20).
 */
export function abortScope(signal: AbortSignal): { scope: AbortController; release: () => void } {
  const scope = new AbortController();
  const abort = () => scope.abort(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort);
  return { scope, release: () => signal.removeEventListener('abort', abort) };
}
