import type { PageView } from './view.ts';
import type { Span } from './words.ts';

/** A browser that counts for itself is right to within a second or two; beyond that it is told. */
const TOLERANCE_SECONDS = 2;

/** Whether `after` says something that a browser which was sent `before` does not show by counting on. Pure. */
export function isNews(before: PageView, after: PageView, elapsedSeconds: number): boolean {
  const old = split(before);
  const fresh = split(after);
  if (old.shape !== fresh.shape) return true;
  return fresh.spans.some(({ seconds }, index) => {
    const shown = old.spans[index];
    return shown === undefined || Math.abs(seconds - countedOn(shown, elapsedSeconds)) > TOLERANCE_SECONDS;
  });
}

function countedOn({ count, seconds }: Span, elapsedSeconds: number): number {
  return count === 'up' ? seconds + elapsedSeconds : Math.max(0, seconds - elapsedSeconds);
}

/** What stands on the page without its times, and the times. */
function split(view: PageView): { shape: string; spans: Span[] } {
  const spans: Span[] = [];
  const shape = JSON.stringify(view, (_name, value: unknown) => {
    if (!isSpan(value)) return value;
    spans.push(value);
    return { count: value.count };
  });
  return { shape, spans };
}

function isSpan(value: unknown): value is Span {
  return typeof value === 'object' && value !== null && 'count' in value && 'seconds' in value;
}
