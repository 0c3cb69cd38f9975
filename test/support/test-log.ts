import { createLog, type Log } from '../../src/support/log.ts';

export interface LogLine {
  level: string;
  msg: string;
  [fact: string]: unknown;
}

/** A log that keeps its lines for the test to read. */
export function testLog(): { log: Log; lines: LogLine[]; has(pattern: RegExp): boolean } {
  const lines: LogLine[] = [];
  const log = createLog('trace', {
    write: (text: string) => {
      lines.push(JSON.parse(text) as LogLine);
    },
  });
  return { log, lines, has: (pattern) => lines.some((line) => pattern.test(JSON.stringify(line))) };
}
