import type { CheckId } from '../diagnose/ids.ts';
import type { CheckReport } from '../diagnose/report.ts';
import type { Clock } from '../support/clock.ts';
import { progressLine } from './diagnose-text.ts';
import type { Style } from './style.ts';

/** What happens as the checks begin and end. */
export interface Progress {
  on(progress: { id: CheckId; ended: CheckReport | null }): void;
  /** Leaves nothing of it on the terminal. */
  end(): void;
}

export const NO_PROGRESS: Progress = { on: () => undefined, end: () => undefined };

/** A line as each check ends. */
export function linesProgress(write: (text: string) => void, style: Style): Progress {
  return { on: ({ ended }) => ended !== null && write(`${progressLine(ended, style)}\n`), end: () => undefined };
}

/** As much of a terminal as is needed to draw on it. */
export interface Terminal {
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

/** Whether what is written can be drawn over: not in a file or a pipe, and not by a terminal that knows no more than text. */
export function isDrawable(
  { isTTY }: { isTTY?: boolean },
  { TERM = 'dumb' }: Readonly<Record<string, string | undefined>>,
): boolean {
  return isTTY === true && TERM !== 'dumb';
}

/** Where a terminal does not know its width, as on a serial line. */
export const ASSUMED_COLUMNS = 80;
/** The seconds that it shows go on. */
const REDRAW_MS = 1_000;
/** Erase in Line of ECMA-48: to its end. */
const ERASE = '\u001b[K';

/** How many of `total` have ended and what is under way, on one line that is drawn over itself. */
export function liveProgress(terminal: Terminal, total: number, clock: Clock): Progress {
  const startMs = clock.nowMs();
  const underWay = new Set<CheckId>();
  let done = 0;
  let cancel = () => {};
  const draw = () => {
    cancel();
    const seconds = Math.floor((clock.nowMs() - startMs) / 1_000);
    const line = `${done} of ${total}, ${seconds} s: ${[...underWay].join(', ')}`;
    // Not the last column: some terminals go on to the next line there.
    const room = Math.max(1, (terminal.columns || ASSUMED_COLUMNS) - 1);
    terminal.write(`\r${line.length > room ? `${line.slice(0, room - 1)}…` : line}${ERASE}`);
    cancel = clock.after(REDRAW_MS, draw);
  };
  return {
    on({ id, ended }) {
      if (ended === null) underWay.add(id);
      else if (underWay.delete(id)) done += 1;
      draw();
    },
    end() {
      cancel();
      terminal.write(`\r${ERASE}`);
    },
  };
}
