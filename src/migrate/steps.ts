import type { Journal, Taken } from './journal.ts';

/**
 * A further migration of the same device: what the one before has taken stays known as it was before that, so that one
 * undo puts back everything. Pure.
 */
export function merged(before: Journal | null, next: Journal): Journal {
  if (before?.phase !== 'done') return next;
  const again = new Set(next.entries.map(({ name }) => name));
  const kept: Taken[] = before.entries.filter(({ name }) => !again.has(name));
  const config = next.config === null ? before.config : joined(before.config, next.config);
  return { ...next, entries: [...kept, ...next.entries], config, ours: before.ours };
}

function joined(before: Journal['config'], next: NonNullable<Journal['config']>): Journal['config'] {
  return before !== null && before.after === next.before ? { ...next, before: before.before } : next;
}
