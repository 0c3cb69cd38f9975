import { join } from 'node:path';
import { fileErrorReason, makeFolder, removeLeftovers, replaceFile } from '../support/atomic-file.ts';
import { Failure, systemCode } from '../support/failures.ts';
import { readSmallFile } from '../support/small-file.ts';
import type { Change, Entry, InitSystem, Plan } from './model.ts';

/**
 * How far it is. `moving`: theirs gives way; `proving`: ours runs and has to show that it works; `undoing`: theirs is put
 * back. The others are ends.
 */
export type Phase = 'moving' | 'proving' | 'done' | 'undoing' | 'undone';

/** An entry as it was before, with all that brings it back. */
export type Taken = Pick<Entry, 'kind' | 'name' | 'parts' | 'enabled' | 'running' | 'disable' | 'stop' | 'start'>;

export interface Journal {
  readonly version: 1;
  readonly phase: Phase;
  readonly init: InitSystem;
  readonly entries: readonly Taken[];
  /** With the content of our file, which has the token in it, until it is written and proved. */
  readonly config: (Change & { change: 'text' }) | null;
  readonly configFile: string;
  readonly runDir: string;
  readonly httpPort: number;
  readonly markPaired: boolean;
  readonly paired: boolean;
  readonly expect: Plan['expect'];
  readonly withinMs: number;
  /** What our service was before. */
  readonly ours: { readonly enabled: boolean; readonly running: boolean };
  /** Why theirs was put back; null where nobody had to. */
  readonly failure: string | null;
  /** What was done, in words, the last last. */
  readonly done: readonly string[];
}

export const JOURNAL_NAME = 'migration.json';
/** Tables of cron and the configuration stand in it whole. */
const MAX_BYTES = 4 * 1024 * 1024;
const MAX_LINES = 200;

/** @throws Failure `state.unreadable` where it is damaged: then nobody knows what has to be put back */
export async function readJournal(stateDir: string): Promise<Journal | null> {
  const path = join(stateDir, JOURNAL_NAME);
  try {
    const { bytes } = await readSmallFile(path, MAX_BYTES);
    return parse(bytes.toString('utf8'));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw new Failure('state.unreadable', `${path} could not be read: ${fileErrorReason(error)}`, { cause: error });
  }
}

/** When it resolves, the journal survives a power cut. @throws Failure `state.unwritable`; the old one is in place then */
export async function writeJournal(stateDir: string, journal: Journal): Promise<void> {
  const path = join(stateDir, JOURNAL_NAME);
  try {
    await makeFolder(stateDir);
    await removeLeftovers(path);
    const text = JSON.stringify({ ...journal, done: journal.done.slice(-MAX_LINES) });
    const { durable } = await replaceFile(path, `${text}\n`, { mode: 0o600 });
    if (!durable) throw new Error('it is written, but a power cut may undo it');
  } catch (error) {
    throw new Failure('state.unwritable', `${path} could not be written: ${fileErrorReason(error)}`, { cause: error });
  }
}

/** Whether somebody has to bring it to an end. */
export function isUnderWay({ phase }: Pick<Journal, 'phase'>): boolean {
  return phase === 'moving' || phase === 'proving' || phase === 'undoing';
}

const PHASES: ReadonlySet<unknown> = new Set<Phase>(['moving', 'proving', 'done', 'undoing', 'undone']);

function parse(text: string): Journal {
  try {
    const journal = JSON.parse(text) as Journal;
    if (journal.version === 1 && PHASES.has(journal.phase) && Array.isArray(journal.entries)) return journal;
  } catch {
    // the words of JSON.parse would repeat the file
  }
  throw new Error('it is damaged, or of a later version');
}
