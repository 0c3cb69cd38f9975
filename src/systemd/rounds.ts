/** What is known of the service at a look. */
export interface Look {
  /** Why only a restart would help, in words; null where all is well, or a restart would not help either. */
  readonly stuck: string | null;
  /** How the service is, in words. */
  readonly status: string;
}

export interface Round {
  /** Assignments of sd_notify(3); empty where there is nothing to say. */
  readonly say: readonly string[];
  /** Until the next look, when that was said, or nothing was to be; and where it could not be said. */
  readonly nextMs: number;
  readonly againMs: number;
}

/** How often the status is looked at without a watchdog. */
const STATUS_MS = 15_000;

/**
 * What systemd is told after a look. It is fed twice in its time, as sd_watchdog_enabled(3) advises; what went wrong is
 * tried again five times in the half that is left. Pure.
 *
 * @param told the status that it was told last
 */
export function nextRound(watchdogMs: number | null, told: string | null, { stuck, status }: Look): Round {
  const news = status === told ? [] : [`STATUS=${status}`];
  if (watchdogMs === null) return { say: news, nextMs: STATUS_MS, againMs: STATUS_MS };
  const [half, tenth] = [watchdogMs / 2, watchdogMs / 10];
  if (stuck === null) return { say: ['WATCHDOG=1', ...news], nextMs: half, againMs: tenth };
  return { say: news, nextMs: tenth, againMs: tenth };
}
