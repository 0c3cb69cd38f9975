import { END_REASONS, type EndReason, type EntryName } from './types.ts';

/** How an authentication ended; `unlooked`: too many wrong ones came before; `broken`: the entry refused it itself. */
export const OUTCOMES = ['accepted', 'invalid', 'unlooked', 'paused', 'unauthorized', 'busy', 'broken'] as const;
export type Outcome = (typeof OUTCOMES)[number];

function zeros<K extends string>(names: readonly K[]): Record<K, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>;
}

/** Counts of what happened since the start, for the metrics. */
export class Counters {
  readonly authentications: Record<EntryName, Record<Outcome, number>> = {
    agent: zeros(OUTCOMES),
    ssh: zeros(OUTCOMES),
  };
  readonly sessionsStarted: Record<EntryName, number> = { agent: 0, ssh: 0 };
  /** By their reason; a session that was replaced, too. */
  readonly sessionsEnded: Record<EndReason, number> = zeros(END_REASONS);

  count(entry: EntryName, outcome: Outcome): void {
    this.authentications[entry][outcome] += 1;
  }

  started(entry: EntryName): void {
    this.sessionsStarted[entry] += 1;
  }

  ended(reason: EndReason): void {
    this.sessionsEnded[reason] += 1;
  }
}
