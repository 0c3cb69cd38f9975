import { type Clock, pause } from '../support/clock.ts';
import { asFailure, Failure } from '../support/failures.ts';
import { inverse } from './change.ts';
import type { OurStatus, Tools } from './facts.ts';
import type { FlagState } from './flag.ts';
import { type Journal, type Taken, writeJournal } from './journal.ts';
import type { Change, InitSystem, Part } from './model.ts';

/** How often states of other programs are looked at, which send no event. */
const LOOK_MS = 250;
/** A program that was asked to end has this long before it is killed, and that one again. */
const END_MS = 5_000;
/** A session that stands so long was not thrown out by another of the same identity. */
const HELD_MS = 3_000;
/** A service of Python on a slow card. */
const START_MS = 20_000;

/** What the steps do to the machine. Each can be done twice, and is done once then. */
export interface Effects {
  /** @throws where the file is somebody else's now */
  make(change: Change): Promise<void>;
  /** After files of the init system have changed. */
  reread(init: InitSystem): Promise<void>;
  /** Starts our service at every boot, or no more. @throws what the init system says */
  enableOurs(init: InitSystem, on: boolean): Promise<void>;
  /** Starts or stops it now, and waits for that. @throws what the init system says */
  startOurs(init: InitSystem, on: boolean): Promise<void>;
  /** A command of an entry; one that is left running is not waited for. */
  act(argv: readonly string[], leave?: 'leave running'): Promise<void>;
  /** The programs of these parts that run, but for sshd. */
  running(parts: readonly Part[]): readonly { readonly pid: number; readonly startTicks: number }[];
  kill(program: { readonly pid: number; readonly startTicks: number }, signal: NodeJS.Signals): void;
  readFlag(runDir: string): FlagState;
  keepFlag(runDir: string, state: FlagState): Promise<void>;
  /** Whether an application answers for pairing on the port of the deployed software. */
  pairingAnswers(): Promise<boolean>;
}

export interface Surroundings {
  readonly stateDir: string;
  readonly effects: Effects;
  readonly tools: Tools;
  readonly clock: Clock;
  /** Each thing that was done, as it is. */
  readonly say: (sentence: string) => void;
}

/**
 * Brings what the journal says to its end, from wherever it was cut off: every step finds out by itself whether it was
 * made. Ours is enabled before theirs is disabled, and theirs before ours when it is put back, so that a power cut at any
 * moment leaves one that starts; `run` of ours dials only when theirs has given way.
 *
 * @throws Failure `state.unwritable`: without a journal nothing is done
 */
export async function proceed(journal: Journal, around: Surroundings): Promise<Journal> {
  let now = journal;
  const write = async (next: Partial<Journal>, ...sentences: string[]) => {
    for (const sentence of sentences) around.say(sentence);
    now = { ...now, ...next, done: [...now.done, ...sentences] };
    await writeJournal(around.stateDir, now);
  };
  try {
    if (now.phase === 'moving') await give(now, around, write);
    if (now.phase === 'proving') await prove(now, around, write);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    await write({ phase: 'undoing', failure: why }, `It did not work: ${why}. What was there before is put back`);
  }
  if (now.phase === 'undoing') await putBack(now, around, write);
  return now;
}

type Write = (next: Partial<Journal>, ...sentences: string[]) => Promise<void>;

/** Theirs gives way: configuration, marker, then one service for the other. */
async function give(journal: Journal, { tools, effects, clock, stateDir }: Surroundings, write: Write): Promise<void> {
  const { init, entries, config, runDir } = journal;
  if (config !== null) {
    await effects.make(config);
    await write({}, `The configuration is in ${config.path}`);
  }
  if (journal.markPaired) {
    await tools.markPaired(stateDir);
    await write({}, 'The device is remembered as paired');
  }
  const flag = effects.readFlag(runDir);
  // Where it runs, it has not read the configuration; after a power cut it waits for this very moment, and a unit of theirs
  // that is stopped may take the run folder away from under it.
  await effects.startOurs(init, false).catch(() => undefined);
  await effects.enableOurs(init, true);
  for (const entry of entries) for (const change of entry.disable) await effects.make(change);
  await effects.reread(init);
  await write(
    {},
    ...entries.filter(({ enabled }) => enabled).map(({ name }) => `${name} does not start at boot any more`),
  );

  // The tunnel last: somebody may have come in through it.
  for (const entry of inOrder(entries, ['sshd', 'monitor', 'pairing', 'agent'])) {
    for (const argv of entry.stop) await effects.act(argv);
    await endAll(entry, effects, clock);
  }
  await effects.keepFlag(runDir, flag); // stopping a unit may have removed its run folder
  await write(
    { phase: 'proving' },
    ...entries.filter(({ running }) => running).map(({ name }) => `${name} was stopped`),
  );
}

/** Ours runs, and shows that it does what theirs did. */
async function prove(journal: Journal, { tools, effects, clock }: Surroundings, write: Write): Promise<void> {
  const { init, runDir, expect, httpPort, withinMs } = journal;
  // A start that fails is not the end of it: every init system starts it again.
  const failed = await effects.startOurs(init, true).then(
    () => null,
    (error: unknown) => asFailure(error).message,
  );
  const endMs = clock.nowMs() + withinMs;
  for (;;) {
    const status = await tools.status(runDir).catch((error: unknown) => asFailure(error));
    const lacks = status instanceof Failure ? status.message : lacking(status, expect, httpPort);
    if (lacks === null) break;
    if (clock.nowMs() >= endMs) {
      const why = [failed, lacks].filter((each) => each !== null).join('; ');
      throw new Error(`within ${Math.round(withinMs / 1000)} s zeroforce did not prove itself: ${why}`);
    }
    await pause(clock, LOOK_MS, new AbortController().signal);
  }
  const what = expect.session ? 'it holds the tunnel' : 'it runs';
  await write({ phase: 'done' }, `zeroforce has taken over: ${what}, pairing is on port ${httpPort}`);
}

/** What ours does not do yet; null where it does all. Pure. */
export function lacking(
  { tunnel, http, faults }: OurStatus,
  expect: Journal['expect'],
  httpPort: number,
): string | null {
  if (expect.http && http?.port !== httpPort) {
    const fault = faults.find(({ code }) => code.startsWith('http.'));
    return `pairing does not listen on port ${httpPort}${fault === undefined ? '' : ` (${fault.sentence})`}`;
  }
  if (!expect.session) return null;
  if (tunnel === null) return 'it has no tunnel configured';
  if (tunnel.state === 'up' && tunnel.inStateMs >= HELD_MS) return null;
  const why = tunnel.lastFailure === null ? '' : `: ${tunnel.lastFailure.sentence}`;
  return `it has no session with the other end (${tunnel.state}${why})`;
}

/** The state before: first theirs starts at boot again, then ours stops, then theirs starts. */
async function putBack(journal: Journal, around: Surroundings, write: Write): Promise<void> {
  const { init, entries, config, runDir } = journal;
  const { clock, effects } = around;
  const problems: string[] = [];
  const attempt = async (action: () => Promise<unknown>) => {
    await action().catch((error: unknown) => problems.push(error instanceof Error ? error.message : String(error)));
  };
  for (const entry of entries.toReversed()) {
    for (const change of entry.disable.toReversed()) await attempt(() => effects.make(inverse(change)));
  }
  await effects.reread(init);
  const flag = effects.readFlag(runDir);
  await attempt(() => effects.startOurs(init, false));
  if (config !== null) await attempt(() => effects.make(inverse(config)));
  await effects.keepFlag(runDir, flag);
  for (const entry of inOrder(entries, ['agent', 'sshd', 'pairing', 'monitor'])) {
    if (entry.running) await attempt(() => startAgain(entry, journal, effects, clock));
  }
  await write({}, ...problems.splice(0).map((problem) => `Not put back: ${problem}`));

  const agents = entries.filter(({ parts }) => parts.some(({ role }) => role === 'agent'));
  const lost = agents.filter((entry) => entry.running && effects.running(entry.parts).length === 0);
  if (lost.length > 0) {
    // Better the one that may work than none; and one of the two alone, at the next boot, too.
    if (config !== null) await attempt(() => effects.make(config));
    await attempt(() => effects.enableOurs(init, true));
    for (const entry of agents) for (const change of entry.disable) await attempt(() => effects.make(change));
    await effects.reread(init);
    await attempt(() => effects.startOurs(init, true));
    const names = lost.map(({ name }) => name).join(', ');
    await write({ phase: 'done' }, `${names} does not run any more, so zeroforce goes on in its place`);
    return;
  }
  // Beside their agent ours would hold the same identity.
  const on = agents.length === 0 && journal.ours.enabled;
  await attempt(() => effects.enableOurs(init, on));
  if (agents.length === 0 && journal.ours.running) await attempt(() => effects.startOurs(init, true));
  const back = entries.map(({ name, running }) => `${name} is as it was${running ? ', and runs' : ''}`);
  await write({ phase: 'undone' }, ...problems.map((problem) => `Not put back: ${problem}`), ...back);
}

/** Starts theirs, unless it runs already: a script may start a second one. */
async function startAgain(entry: Taken, { runDir, paired }: Journal, effects: Effects, clock: Clock): Promise<void> {
  const isPairing = entry.parts.some(({ role }) => role === 'pairing');
  // Their application knows nothing of the past: with no flag at its start it would open to anybody at once.
  if (isPairing && paired) await effects.keepFlag(runDir, 'present');
  const runs = () => effects.running(entry.parts).length > 0;
  if (!runs() || entry.kind === 'systemd') {
    const isLine = entry.kind === 'cron' || entry.kind === 'rc.local';
    for (const argv of entry.start) await effects.act(argv, isLine ? 'leave running' : undefined);
  }
  const endMs = clock.nowMs() + START_MS;
  const seen = async () => runs() && (!isPairing || (await effects.pairingAnswers()));
  while (entry.parts.some(({ role }) => role !== 'sshd') && !(await seen())) {
    if (clock.nowMs() >= endMs) throw new Error(`${entry.name} was started and does not run`);
    await pause(clock, LOOK_MS, new AbortController().signal);
  }
}

/** Ends what the init system has left of it; by its number, as long as it is the same program. */
async function endAll(entry: Taken, effects: Effects, clock: Clock): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const endMs = clock.nowMs() + END_MS;
    let left = effects.running(entry.parts);
    for (const program of left) effects.kill(program, signal);
    while (left.length > 0 && clock.nowMs() < endMs) {
      await pause(clock, LOOK_MS, new AbortController().signal);
      left = effects.running(entry.parts);
    }
    if (left.length === 0) return;
  }
  const pids = effects.running(entry.parts).map(({ pid }) => pid);
  throw new Error(`${entry.name} was stopped and still runs (process ${pids.join(', ')}); something starts it again`);
}

/** By what they do, in this order; those that do several things by the last of them. */
function inOrder(entries: readonly Taken[], roles: readonly Part['role'][]): Taken[] {
  const place = ({ parts }: Taken) => Math.max(...parts.map(({ role }) => roles.indexOf(role)));
  return entries.toSorted((a, b) => place(a) - place(b));
}
