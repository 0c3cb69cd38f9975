import { type DestinationStream, type Logger, pino } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** JSON lines; call with an object of facts first, then one sentence: `log.warn({ port }, 'the port is in use')`. */
export type Log = Logger;

/** Keys whose values never reach a log line, whatever object they stand in. */
const SECRET_KEYS = ['token', 'password', 'pin', 'authorization', 'privateKey'];

/** What waits in memory for a reader that does not read; further lines are dropped. */
const MAX_BACKLOG_BYTES = 1024 * 1024;

/**
 * Standard output. A log that cannot be written (the disk is full, its reader hangs or has gone) must not stop the
 * device, so lines are lost then: pino's own destination would try again for ever.
 */
const standardOutput: DestinationStream = {
  write(line: string) {
    if (process.stdout.writableLength > MAX_BACKLOG_BYTES) return;
    try {
      process.stdout.write(line);
    } catch {
      // As above.
    }
  },
};

/** A log to standard output, or to `destination`. No worker transports: they would not survive bundling. */
export function createLog(level: LogLevel, destination: DestinationStream = standardOutput): Log {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: SECRET_KEYS.flatMap((key) => [key, `*.${key}`]), censor: '[secret]' },
  };
  return pino(options, destination);
}
