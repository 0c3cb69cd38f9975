import { writeFile } from 'node:fs/promises';
import { setPriority } from 'node:os';
import { createInterface } from 'node:readline';
import { readSettings } from '../device/diagnosis-tools.ts';
import { examine } from '../device/examination.ts';
import { systemClock } from '../support/clock.ts';
import { createLog } from '../support/log.ts';
import { EXIT } from './common.ts';
import { leave, SIGNALS } from './guard.ts';
import type { Order } from './self-diagnosis.ts';

/** Whoever works through the tunnel comes first. */
const NICE = 5;

/** The process that self-diagnosis.ts starts: takes its order, makes the checks, and writes the report as one line. */
export async function selfDiagnosisProcess(version: string): Promise<void> {
  const scope = new AbortController();
  const abort = () => scope.abort(new Error('the service ends'));
  for (const signal of SIGNALS) process.on(signal, abort);
  process.stdout.on('error', abort);
  // The checks go on without the one that met it, which ends at its deadline.
  process.on('uncaughtException', ({ message }) =>
    process.stderr.write(`a check met a fault of its own: ${message}\n`),
  );
  await stepBack();

  const lines = createInterface({ input: process.stdin });
  lines.once('close', abort); // the service is gone
  const line = new Promise<string | null>((resolve) => {
    lines.once('line', resolve);
    scope.signal.addEventListener('abort', () => resolve(null));
  });
  leave(await answer(await line, version, scope.signal).catch(complain));
  lines.close();
  process.stdin.destroy();
}

async function answer(line: string | null, version: string, signal: AbortSignal): Promise<number> {
  if (line === null) return EXIT.failed;
  const { source, status } = JSON.parse(line) as Order;
  const settings = await readSettings(source);
  const startedAt = new Date().toISOString();
  const about = { settings, status, version, startedAt, clock: systemClock, log: createLog('silent') };
  const report = await examine(about, signal);
  if (signal.aborted) return EXIT.failed;
  process.stdout.write(`${JSON.stringify(report)}\n`);
  return EXIT.ok;
}

/** The service hears of it when this process has ended without a report. */
function complain(error: unknown): number {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  return EXIT.failed;
}

/** Where memory or time is short this process has to give way, not the service. A sandbox may forbid the one or the other. */
async function stepBack(): Promise<void> {
  await writeFile('/proc/self/oom_score_adj', '1000').catch(() => undefined);
  try {
    setPriority(NICE);
  } catch {
    // then it does without
  }
}
