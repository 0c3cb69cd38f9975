/** systemd as the one that started this process and waits to hear of it (sd_notify(3), sd_watchdog_enabled(3)). */
export interface Manager {
  /** Where it listens: NOTIFY_SOCKET. */
  readonly socket: string;
  /** Longer than this without a word, and it ends the process and starts another; null without a watchdog. */
  readonly watchdogMs: number | null;
}

/** What systemd says to a service by its environment. No child of the service has any business with it. */
export const MANAGER_VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'] as const;

/** Null where nobody waits to hear of process `pid`. Pure. */
export function managerOf(env: Readonly<Record<string, string | undefined>>, pid: number): Manager | null {
  const { NOTIFY_SOCKET: socket = '', WATCHDOG_USEC: microseconds = '', WATCHDOG_PID: watched } = env;
  if (socket === '') return null;
  const isWatched = /^[1-9]\d{0,17}$/.test(microseconds) && (watched === undefined || watched === String(pid));
  return { socket, watchdogMs: isWatched ? Number(microseconds) / 1000 : null };
}
