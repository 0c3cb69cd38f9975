import { requestControl } from '../control/client.ts';
import { createTools, nameOf, readSettings } from '../device/diagnosis-tools.ts';
import { checkBundlePath, writeBundle } from '../diagnose/bundle.ts';
import { CHECKS } from '../diagnose/checks.ts';
import type { DiagnoseOptions, Subject } from '../diagnose/facts.ts';
import type { Report } from '../diagnose/report.ts';
import { runChecks } from '../diagnose/runner.ts';
import type { ServiceStatus } from '../diagnose/tools.ts';
import { pause, systemClock } from '../support/clock.ts';
import { createLog } from '../support/log.ts';
import { type CommonOptions, configSource, EXIT } from './common.ts';
import { changesText, known } from './diagnose-changes.ts';
import type { Request } from './diagnose-options.ts';
import {
  ASSUMED_COLUMNS,
  isDrawable,
  linesProgress,
  liveProgress,
  NO_PROGRESS,
  type Progress,
} from './diagnose-progress.ts';
import { reportText, type TextOptions } from './diagnose-text.ts';
import { interruptedCode, SIGNALS } from './guard.ts';
import type { Style } from './style.ts';

/** Between two rounds of --watch. */
const WATCH_PAUSE_MS = 5_000;
const WATCH_NOTE = '\nLooking again every 5 s; what changes is told. Ctrl-C ends it.\n';
/** A healthy service answers in milliseconds, and a check ends before its deadline. */
const SERVICE_TIMEOUT_MS = 4_000;
/** A wider terminal is not filled: long lines are hard to read. */
const MAX_COLUMNS = 100;

export interface Run {
  source: CommonOptions;
  request: Request;
  version: string;
  style: Style;
  signal: AbortSignal;
}

/** `diagnose`: finds out what is the matter with this device. @returns the exit code */
export async function diagnose(
  source: CommonOptions,
  request: Request,
  { version, style }: { version: string; style: Style },
): Promise<number> {
  const { watch, options, json, bundle } = request;
  if (options.dial === 'always') {
    process.stderr.write(
      'tunnel-agent: --dial replaces a session that the service holds, and whoever works through it\n',
    );
  }
  const interruption = interruptions();
  // The checks go on without the one that met it, and their report is needed all the more.
  process.on('uncaughtException', ({ message }) =>
    process.stderr.write(`tunnel-agent: a check met a fault of its own: ${message}\n`),
  );
  const run: Run = { source, request, version, style, signal: interruption.signal };
  if (watch) return (await watchRounds(run)) ?? interruption.code();
  if (bundle !== null) await checkBundlePath(bundle);
  const { report, subject } = await look(run, options, progressFor(request, style));
  if (run.signal.aborted) return interruption.code();
  await print(json ? `${JSON.stringify(report, null, 2)}\n` : wholeText(report, run));
  if (bundle === null) return exitOf(report);
  const text = reportText(report, { others: 'told' });
  await writeBundle(bundle, { report, text, subject, source: configSource(source), signal: run.signal });
  process.stderr.write(`tunnel-agent: everything for support is in ${bundle}\n`);
  return exitOf(report);
}

/** Goes on until it is interrupted, or nobody reads it any more, and tells what changes. @returns the exit code of the last round; null without one */
async function watchRounds(run: Run): Promise<number | null> {
  const { request, style, signal } = run;
  let code: number | null = null;
  let before: Report | null = null;
  let isRead = true;
  process.stdout.once('error', () => {
    isRead = false;
  });
  while (isRead && !signal.aborted) {
    const first = before === null;
    // The attempts of the service must not be disturbed time and again.
    const options =
      first || request.options.dial === 'always' ? request.options : { ...request.options, dial: 'never' as const };
    const { report } = await look(run, options, progressFor(request, style, !first));
    if (signal.aborted) break;
    if (request.json) await print(`${JSON.stringify(report)}\n`);
    else
      await print(
        before === null
          ? `${wholeText(report, run)}${WATCH_NOTE}`
          : changesText(before, report, { style, width: width() }),
      );
    code = exitOf(report);
    before = before === null ? report : known(before, report);
    await pause(systemClock, WATCH_PAUSE_MS, signal);
  }
  return code;
}

/** One run of the checks, with the configuration of this moment. */
export async function look(
  { source, request, version, signal }: Run,
  options: DiagnoseOptions,
  progress: Progress,
): Promise<{ report: Report; subject: Subject }> {
  const settings = await readSettings(configSource(source));
  const { config } = settings;
  const clock = systemClock;
  const service = async () =>
    (await requestControl(config.runDir, 'GET /status', { timeoutMs: SERVICE_TIMEOUT_MS })) as ServiceStatus;
  const tools = createTools(config, { service, clock, log: createLog('silent') });
  const subject: Subject = { version, settings, options, tools, clock };
  const report = await runChecks({
    checks: chosen(request),
    subject,
    device: nameOf(config),
    startedAt: new Date().toISOString(),
    signal,
    onProgress: progress.on,
  });
  progress.end();
  return { report, subject };
}

function chosen({ only }: Request): typeof CHECKS {
  return only === null ? CHECKS : CHECKS.filter(({ id }) => only.includes(id));
}

/** Drawn on a terminal, else a line for each check; what is read by a program has nothing of it. */
function progressFor(request: Request, style: Style, again = false): Progress {
  const { stdout, stderr } = process;
  const terminal = [...(request.json ? [] : [stdout]), stderr].find((stream) => isDrawable(stream, process.env));
  if (terminal !== undefined) return liveProgress(terminal, chosen(request).length, systemClock);
  return request.json || again ? NO_PROGRESS : linesProgress((text) => stdout.write(text), style);
}

function wholeText(report: Report, { request, style }: Run): string {
  const { stdout, stderr } = process;
  const listed = ![stdout, stderr].some((stream) => isDrawable(stream, process.env));
  const others: TextOptions['others'] = request.only !== null ? 'told' : listed ? 'omitted' : 'named';
  return `${listed ? '\n' : ''}${reportText(report, { style, width: width(), others })}`;
}

function width(): number | null {
  const { isTTY, columns } = process.stdout;
  return isTTY ? Math.min(columns || ASSUMED_COLUMNS, MAX_COLUMNS) : null;
}

function exitOf({ ok }: Report): number {
  return ok ? EXIT.ok : EXIT.failed;
}

/** Resolves when it was written; where nobody reads it, too. */
function print(text: string): Promise<void> {
  return new Promise((resolve) => void process.stdout.write(text, () => resolve()));
}

/** Ends the run at the first signal, or when the process that guards this one is gone. */
function interruptions(): { signal: AbortSignal; code: () => number } {
  const scope = new AbortController();
  let code: number = EXIT.failed;
  const end = (signal: NodeJS.Signals) => {
    code = interruptedCode(signal);
    scope.abort();
  };
  for (const signal of SIGNALS) process.on(signal, end);
  process.once('disconnect', () => scope.abort());
  process.channel?.unref();
  return { signal: scope.signal, code: () => code };
}
