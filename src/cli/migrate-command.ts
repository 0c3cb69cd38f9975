import { resolve } from 'node:path';
import { CONFIG_FILE, faultsOfText, loadConfig } from '../config/load.ts';
import { gatherFacts } from '../migrate/facts.ts';
import { isUnderWay, type Journal, readJournal, writeJournal } from '../migrate/journal.ts';
import { type Facts, isDue, type Plan } from '../migrate/model.ts';
import { plan } from '../migrate/plan.ts';
import { merged } from '../migrate/steps.ts';
import { launch, takeLock, workerOf } from '../migrate/worker.ts';
import { pause, systemClock } from '../support/clock.ts';
import { Failure } from '../support/failures.ts';
import { type CommonOptions, EXIT } from './common.ts';
import { journalText, journalView, planText, planView } from './migrate-text.ts';
import { workerWords } from './migration-words.ts';
import { TOOLS } from './migration-worker.ts';
import { ask, canAsk } from './prompts.ts';
import type { Style } from './style.ts';

export interface MigrateOptions extends CommonOptions {
  dryRun?: true;
  quiet?: true;
  json?: true;
  status?: true;
  undo?: true;
  within: string;
  yes?: true;
}

/** `--dry-run`: there is something to be done. `--status`: it is being done. For scripts; documented in docs/cli.md. */
const DUE = 3;
const LOOK_MS = 300;
/** A worker that was killed is started again within a moment. */
const LOST_MS = 10_000;
const WITHIN_SECONDS = { min: 5, max: 3600 };

/** @param refuse ends the command as a wrong command line */
export async function migrateCommand(
  options: MigrateOptions,
  style: Style,
  refuse: (sentence: string) => never,
): Promise<number> {
  const withinMs = Number(options.within) * 1000;
  if (!(withinMs >= WITHIN_SECONDS.min * 1000 && withinMs <= WITHIN_SECONDS.max * 1000)) {
    refuse(`error: option '--within' takes ${WITHIN_SECONDS.min} to ${WITHIN_SECONDS.max} seconds`);
  }
  const configFile = resolve(options.config ?? CONFIG_FILE);
  const { stateDir, runDir } = await places(configFile);
  const print = (text: string, view: unknown) => {
    if (!options.quiet) process.stdout.write(options.json ? `${JSON.stringify(view, null, 2)}\n` : text);
  };
  const journal = await readJournal(stateDir);
  if (options.status) return tellStatus(journal, stateDir, print, style);
  const before = { stateDir, options, style, print, refuse };

  if (options.undo) {
    if (journal === null || journal.phase === 'undone') {
      print('There is no migration to undo.\n', { undone: false });
      return EXIT.ok;
    }
    await agree(before, 'This stops zeroforce and starts the software that it took the place of.');
    return begin({ ...journal, phase: 'undoing', failure: null }, before);
  }
  if (journal !== null && isUnderWay(journal)) {
    if (options.dryRun) return tellStatus(journal, stateDir, print, style);
    return workerOf(stateDir) === null ? begin(journal, before) : follow(before, journal.done.length);
  }

  const facts = await gatherFacts(configFile, TOOLS);
  const planned = await checked(plan(facts), configFile);
  const due = isDue(planned);
  if (options.dryRun) {
    if (!facts.isRoot && facts.init !== null) {
      throw new Failure('service.not-permitted', 'only root sees which programs run and what their files hold');
    }
    print(planText(planned, style), planView(planned));
    return due ? DUE : EXIT.ok;
  }
  if (planned.blocked.length > 0) {
    print(planText(planned, style), planView(planned));
    throw new Failure('migrate.blocked', `nothing was changed: ${planned.blocked.join('. ')}`);
  }
  if (!due || facts.init === null) {
    print(planText(planned, style), planView(planned));
    return EXIT.ok;
  }
  if (!options.json) print(planText(planned, style), null);
  await agree(before, 'This exchanges the services of this device, as told above.');
  return begin(merged(journal, newJournal(planned, facts, { runDir, withinMs, init: facts.init })), before);
}

interface Before {
  readonly stateDir: string;
  readonly options: MigrateOptions;
  readonly style: Style;
  readonly print: (text: string, view: unknown) => void;
  readonly refuse: (sentence: string) => never;
}

function newJournal(
  planned: Plan,
  { configuration, pairing, ours }: Facts,
  { runDir, withinMs, init }: { runDir: string; withinMs: number; init: NonNullable<Facts['init']> },
): Journal {
  const taken = planned.entries.map(({ kind, name, parts, enabled, running, disable, stop, start }) => {
    return { kind, name, parts, enabled, running, disable, stop, start };
  });
  const { config, httpPort, markPaired, expect } = planned;
  return {
    version: 1,
    phase: 'moving',
    init,
    entries: taken,
    config,
    configFile: configuration.path,
    runDir,
    httpPort,
    markPaired,
    paired: pairing.marked || pairing.keys !== 'none' || pairing.flag,
    expect,
    withinMs,
    ours: { enabled: ours.enabled, running: ours.running },
    failure: null,
    done: [],
  };
}

/** What our service would say to the file that is to be written. */
async function checked(planned: Plan, path: string): Promise<Plan> {
  const after = planned.config?.after;
  if (after === null || after === undefined) return planned;
  const faults = await faultsOfText(Buffer.from(after, 'base64').toString('utf8'), path);
  if (faults.length === 0) return planned;
  return {
    ...planned,
    blocked: [...planned.blocked, `What the deployed files say is no configuration: ${faults.join(' | ')}`],
  };
}

/** Writes the journal, starts the worker, and follows it. Everything else is the worker's. */
async function begin(journal: Journal, before: Before): Promise<number> {
  const { stateDir } = before;
  const release = await takeLock(stateDir);
  await writeJournal(stateDir, journal).finally(release);
  await launch(workerWords('guard', stateDir));
  return follow(before, journal.done.length);
}

/** Prints what is done as it is done. When this process ends, the worker goes on. */
async function follow({ stateDir, options, print, style }: Before, told: number): Promise<number> {
  if (!options.json)
    print('It goes on by itself when this connection ends; its end: tunnel-agent migrate --status\n', null);
  let printed = told;
  let aliveAtMs = systemClock.nowMs();
  for (;;) {
    await pause(systemClock, LOOK_MS, new AbortController().signal);
    const worker = workerOf(stateDir);
    const journal = await readJournal(stateDir);
    if (journal === null) throw new Failure('migrate.cut-off', 'the journal of the migration is gone');
    if (!options.json) for (const line of journal.done.slice(printed)) print(`  ${line}\n`, null);
    printed = Math.max(printed, journal.done.length);
    if (!isUnderWay(journal)) {
      if (options.json) print('', journalView(journal, worker));
      else
        print(`${style.strong(journal.phase === 'done' ? 'Done.' : 'What was there before is there again.')}\n`, null);
      if (journal.failure === null) return EXIT.ok;
      throw new Failure('migrate.put-back', journal.failure);
    }
    if (worker !== null) aliveAtMs = systemClock.nowMs();
    if (systemClock.nowMs() - aliveAtMs > LOST_MS) {
      throw new Failure('migrate.cut-off', 'no process works on the migration any more');
    }
  }
}

function tellStatus(journal: Journal | null, stateDir: string, print: Before['print'], style: Style): number {
  if (journal === null) {
    print('There was no migration on this device.\n', { phase: null });
    return EXIT.ok;
  }
  const worker = workerOf(stateDir);
  print(journalText(journal, worker, style), journalView(journal, worker));
  if (isUnderWay(journal)) return DUE;
  return journal.failure === null ? EXIT.ok : EXIT.failed;
}

async function agree({ options, refuse }: Before, sentence: string): Promise<void> {
  if (options.yes) return;
  if (!canAsk()) refuse("error: option '--yes' is needed where nobody can be asked");
  process.stderr.write(`${sentence}\n`);
  const answer = await ask('Type yes to go on: ', { hidden: false, signal: new AbortController().signal });
  if (answer?.trim().toLowerCase() !== 'yes')
    throw new Failure('migrate.blocked', 'nothing was changed: nobody said yes');
}

/** Where our service keeps its files; a configuration that is broken says nothing of them. */
async function places(configFile: string): Promise<{ stateDir: string; runDir: string }> {
  const loaded = await loadConfig({ env: {}, configFile }).catch(() => null);
  return loaded?.config ?? { stateDir: '/var/lib/zeroforce', runDir: '/run/zeroforce' };
}
